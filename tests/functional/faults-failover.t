#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# vm: --smp 2 --mem 768 --timeout 180
#
# A failover that meets an error of any of the disks: failover_failed, the view
# goes on in full, and once the disk is mended a retry ends with the last
# checkpoint and every acknowledged write of the view.

# shellcheck source=tests/lib/guest.sh
. "$(dirname "$0")/../lib/guest.sh"
# shellcheck source=tests/lib/faults.sh
. "$(dirname "$0")/../lib/faults.sh"

view=/dev/mapper/p-view
origin=/dev/mapper/p-origin

three_faulty 4 cache_size=1 || bail "no disks"

# Something of all sorts in every MiB: written by the view, changed by the
# origin, both, neither.
prepare()
{
	fresh "$@"
	put origin 0x11 0 256k
	msg p checkpoint
	model_checkpoint
	put view 0x21 512k 64k
	put origin 0x12 0x88000 64k
	put view 0x22 1m 64k
	put origin 0x13 2m 64k
	put view 0x23 0x208000 512
	put view 0x24 3m 128k
	put origin 0x14 0x310000 128k
	put view 0x25 0x318000 4k
	as_they_must "$t, before"
}

fail_over()
{
	works "$t: failover" message p-view failover
	wait_stage p failover_failed 20
	is "$(stage p)" failover_failed "$t: it fails"
}

# The view's writes beside a failed failover, wherever they go.
view_writes()
{
	put view "$1" 0x208000 512
	put view $(($1 + 1)) 3m 64k
	put view $(($1 + 2)) 0x380000 64k
	put view $(($1 + 3)) 0x3f0000 64k
	# from blocks that only secondary has, over active and saved ones
	put view $(($1 + 4)) 0x2f0000 128k
}

refused()
{
	fails "$t: the origin cannot write" EIO write $origin 9 0 4k
	fails "$t: the origin cannot read" EIO read $origin 0 4k
	run_fails "$t: the view cannot be removed" EBUSY dmsetup remove p-view
	fails "$t: no checkpoint" EINVAL message p-view checkpoint
}

# After the disk is whole again.
retry()
{
	works "$t: failover again" message p-view failover
	wait_stage p "done" 20
	is "$(stage p)" "done" "$t: now it succeeds"
	no_error "$t, after it succeeded"
	model_failover
	as_they_must "$t, done"
	put view 0x77 0x208000 64k
	model_failover
	as_they_must "$t, done, written again"
	gone
}

# commit_error SECTOR TOTAL: what get_error says. With metadata the end of each
# leaf's commit flushes secondary: a disk that cannot be written fails there, too.
commit_error()
{
	if [ -z "${METADATA:-}" ]; then
		error_is "$t" commit "$1" "$2"
	else
		like "$(get_error p)" '^-5 commit sector [0-9]+ total [1-9][0-9]*$' \
			"$t: get_error says so"
	fi
}

# failed SECTOR: broken already
failed()
{
	fail_over
	commit_error "$1" 1
	refused
}

for hold in 0 32; do
	t="hold_mib $hold, secondary cannot be written"
	prepare hold_mib $hold
	# the end of what is saved there, and some that is not: the second of two
	# extents, as the view has written the sector between
	break_disk secondary writes 4200 104
	failed 4161
	holds $view view "$t: the view can be read in full"
	view_writes 0x31
	fails "$t: nor by the view, where it has no overlay" EIO write $view 0x41 0x210000 4k
	holds $view view "$t: what the view wrote can be read"
	t="$t, again"
	fail_over
	commit_error 4161 3
	view_writes 0x51
	mend secondary
	retry
done

t="hidden cannot be read"
prepare hold_mib 0
break_disk hidden reads 4096 8
failed 4096
fails "$t: nor can the view there" EIO read $view 2m 4k
part_holds $view view $((0x201000)) $((0x1ff000)) "$t: elsewhere it can"
view_writes 0x31
mend hidden
holds $view view "$t: mended, the view can be read in full"
retry

t="active cannot be read"
prepare
bad_sectors active 2048 8
failed 2048
fails "$t: nor can the view there" EIO read $view 1m 4k
fails "$t: nor written" EIO write $view 0x30 1m 4k
part_holds $view view $((0x101000)) $((0x2ff000)) "$t: elsewhere it can"
view_writes 0x31
all_well active 2048 8
retry

# Where nothing is to be copied a flush fails all the same.
t="secondary cannot be flushed"
prepare hold_mib 0
break_disk secondary writes 1024 8
fails "$t: it cannot" EIO flush "/dev/mapper/secondary"
break_disk secondary writes 8000 8
put view 0x30 0x3f0000 4k
fail_over
commit_error 0 1
# with metadata nothing is forgotten before a flush has said that it is durable
[ -n "${METADATA:-}" ] || is "$(st p active saved)" "0 0" "$t: all is copied"
fails "$t: nor can the view be" EIO flush $view
holds $view view "$t: the view can be read"
put view 0x31 0x208000 512
mend secondary
works "$t: mended, it can" flush $view
retry

# The error comes while a copy is under way and a view write waits for it.
# (With metadata it is the flush of an earlier leaf's end that would be held.)
copy_fails_late()
{
	t="a copy fails late"
	prepare
	break_disk secondary late-writes 4096 8
	msg p failover
	wait_held secondary 1
	is "$(stage p)" failover "$t: failover"
	put view 0x31 0x20000 64k
	begin parked blkio write $view 0x32 0x208000 512
	sleep 0.3
	is "$(outcome parked 0)" "under way" "$t: a write to the same MiB waits"
	holds $view view "$t: the view can be read"
	mend secondary
	wait_stage p failover_failed 20
	is "$(stage p)" failover_failed "$t: it fails"
	is "$(outcome parked)" OK "$t: the write that waited succeeds"
	stamp "${MODEL_DISK[view]}" 0x32 0x208000 512
	error_is "$t" commit 4096 1
	view_writes 0x33
	retry
}

[ -n "${METADATA:-}" ] || copy_fails_late

# After the failover, the view is secondary.
t="after the failover"
prepare
works "$t: failover" message p-view failover
wait_stage p "done" 20
model_failover
bad_sectors secondary 4096 8
fails "$t: a view read meets the disk's error" EIO read $view 2m 4k
error_is "$t" secondary 4096 1
fails "$t: a view write does" EIO write $view 0x31 2m 64k
is "$(stage p)" "done" "$t: it stays done"
all_well secondary 4096 8
as_they_must "$t, mended"
put view 0x32 2m 64k
model_failover
as_they_must "$t, a retry"
gone

plan_end
