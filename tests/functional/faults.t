#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# vm: --smp 2 --mem 768 --timeout 240
#
# Errors of each of the three disks while the pair runs, before, during and
# after a checkpoint: they belong to the request that met them, are recorded,
# hurt nothing else, and a retry succeeds.

# shellcheck source=tests/lib/guest.sh
. "$(dirname "$0")/../lib/guest.sh"
# shellcheck source=tests/lib/faults.sh
. "$(dirname "$0")/../lib/faults.sh"

view=/dev/mapper/p-view
origin=/dev/mapper/p-origin

three_faulty 4 cache_size=1 || bail "no disks"

# The place that breaks: the first page of the second MiB.
at=1m at_sector=2048

# --- secondary ------------------------------------------------------------------

# Old data that cannot be read fails the write that would have destroyed it.
capture_read()
{
	local t="hold_mib $1, old data cannot be read"

	fresh hold_mib "$1"
	put view 1 0 8k
	break_disk secondary reads $at_sector 8
	fails "$t: the origin write fails" EIO write $origin 2 $at 64k
	error_is "$t" capture $at_sector 1
	is "$(st p saved)" 0 "$t: nothing is saved"
	put origin 3 0x110000 64k
	works "$t: a checkpoint goes on" message p-view checkpoint
	model_checkpoint
	fails "$t: a retry fails like it" EIO write $origin 2 $at 64k
	error_is "$t, twice, with a checkpoint between" capture $at_sector 2
	mend secondary
	as_they_must "$t"
	put origin 4 $at 64k
	works "$t: clear_error" message p-view clear_error
	no_error "$t, cleared"
	as_they_must "$t, then a retry"
	gone
}

capture_read 0
capture_read 32

secondary_requests()
{
	local t="secondary's writes fail"

	fresh
	put view 1 0 8k
	break_disk secondary writes $at_sector 128
	fails "$t: the origin's does" EIO write $origin 2 $at 64k
	error_is "$t" secondary $at_sector 1
	as_they_must "$t"
	put origin 3 0x110000 64k
	mend secondary
	put origin 4 $at 64k
	as_they_must "$t, then a retry"
	gone

	t="secondary's reads fail"
	fresh
	put view 1 0x101000 4k
	break_disk secondary reads $at_sector 8
	fails "$t: the view's does" EIO read $view $at 4k
	error_is "$t" secondary $at_sector 1
	fails "$t: a longer one does" EIO read $view 0xf0000 128k
	fails "$t: the origin's does" EIO read $origin $at 4k
	is "$(st p errors)" 3 "$t: all are counted"
	part_holds $view view $((0x101000)) 65536 "$t: its neighbours can be read"
	mend secondary
	as_they_must "$t, mended"
	msg p stop
	msg p start
	model_checkpoint
	no_error "$t, started anew"
	gone
}

secondary_requests

# null_blk's own bad sectors, below everything, and a disk that is dead
dead_sectors()
{
	local t="bad sectors of secondary"

	fresh hold_mib 1
	bad_sectors secondary $at_sector 8
	fails "$t: the origin write fails" EIO write $origin 2 $at 4k
	error_is "$t" capture $at_sector 1
	fails "$t: the view read fails" EIO read $view $at 512
	put view 2 $at 4k
	put origin 2 0x101000 4k
	part_holds $view view $((0x100000)) 524288 "$t: what the view writes it reads"
	fails "$t: the origin write under it fails" EIO write $origin 2 $at 4k
	is "$(get_error p)" "-5 capture sector $at_sector total 3" \
		"$t: the first error, all counted"
	all_well secondary $at_sector 8
	put origin 5 $at 8k
	as_they_must "$t, mended"

	t="a dead secondary"
	msg p clear_error
	break_disk secondary all
	fails "$t: the origin write fails" EIO write $origin 2 2m 4k
	fails "$t: the view read fails" EIO read $view 2m 4k
	put view 6 2m 4k
	part_holds $view view $((0x100000)) 8192 "$t: what is saved can be read"
	mend secondary
	as_they_must "$t, mended"

	t="bad sectors of active"
	msg p clear_error
	bad_sectors active $at_sector 8
	fails "$t: the view read fails" EIO read $view $at 512
	fails "$t: the view write fails" EIO write $view 7 $at 512
	is "$(get_error p)" "-5 active sector $at_sector total 2" "$t: get_error says so"
	put origin 7 $at 4k
	all_well active $at_sector 8
	as_they_must "$t, mended"
	gone
}

dead_sectors

# --- hidden -----------------------------------------------------------------------

hidden_write_through()
{
	local t="hold_mib 0, hidden's writes fail"

	fresh hold_mib 0
	put view 1 0 8k
	break_disk hidden writes $at_sector 8
	fails "$t: the origin write fails" EIO write $origin 2 $at 64k
	error_is "$t" spill $at_sector 1
	is "$(st p saved)" 0 "$t: nothing is saved"
	as_they_must "$t"
	# with metadata each capture needs a flush, which fails here, too
	[ -n "${METADATA:-}" ] || put origin 3 0x110000 64k
	mend hidden
	put origin 4 $at 64k
	as_they_must "$t, then a retry"

	t="hold_mib 0, hidden's reads fail"
	msg p clear_error
	bad_sectors hidden $at_sector 8
	fails "$t: the view's does" EIO read $view $at 8k
	error_is "$t" spill $at_sector 1
	part_holds $view view $((0x101000)) 524288 "$t: its neighbours can be read"
	put origin 5 $at 64k
	works "$t: a checkpoint needs no hidden" message p-view checkpoint
	model_checkpoint
	as_they_must "$t, after a checkpoint"
	all_well hidden $at_sector 8
	gone
}

hidden_write_through

# Origin writes of 128 KiB at these places; sets failed.
write_all()
{
	local i

	failed=()
	for i; do
		if stamp $origin $((i + 16)) $((i * 128))k 128k; then
			stamp "${MODEL_DISK[secondary]}" $((i + 16)) $((i * 128))k 128k
		else
			failed+=("$i")
		fi
	done
}

spilled()
{
	[ "$(st p spills)" -gt 0 ]
}

# Beyond what may be held, a spill that fails fails who waits for pages.
hidden_spills()
{
	local t="hold_mib 1, hidden's writes fail, $1" order=("${@:2}")

	fresh hold_mib 1
	break_disk hidden writes
	write_all "${order[@]}"
	isnt "${#failed[@]}" 0 "$t: some origin writes fail"
	isnt "${#failed[@]}" 32 "$t: not all do"
	like "$(get_error p)" '^-5 spill sector [0-9]+ total [1-9]' "$t: get_error says so"
	is "$(st p error spills)" "spill:-5 0" "$t: status says so"
	as_they_must "$t"
	mend hidden
	write_all "${failed[@]}"
	is "${#failed[@]}" 0 "$t: mended, all of them succeed"
	wait_until 5 spilled
	ok $? "$t: mended, there are spills"
	as_they_must "$t, mended"
	works "$t: checkpoint" message p-view checkpoint
	model_checkpoint
	as_they_must "$t, after a checkpoint"
	gone
}

# With metadata nothing is held, whatever hold_mib says.
if [ -z "${METADATA:-}" ]; then
	hidden_spills "in order" {0..31}
	mapfile -t order < <(shuf -i 0-31)
	hidden_spills "at random (${order[*]})" "${order[@]}"
fi

# With room in memory, hidden does not matter.
hidden_unused()
{
	local t="hold_mib 32, hidden is dead"

	fresh hold_mib 32
	put view 1 100k 8k
	break_disk hidden all
	write_all {0..31}
	is "${#failed[@]}" 0 "$t: every origin write succeeds"
	no_error "$t"
	as_they_must "$t"
	works "$t: failover" message p-view failover
	wait_stage p "done" 20
	model_failover
	as_they_must "$t, after failover"
	no_error "$t, after failover"
	gone
}

[ -n "${METADATA:-}" ] || hidden_unused

# --- active -----------------------------------------------------------------------

active_requests()
{
	local t="active's writes fail"

	fresh
	put view 1 0x101000 8k
	put origin 2 0x104000 4k
	break_disk active writes $at_sector 64
	fails "$t: a new one" EIO write $view 3 $at 4k
	error_is "$t" active $at_sector 1
	fails "$t: one over written blocks" EIO write $view 3 0x101000 8k
	fails "$t: one over all sorts" EIO write $view 3 $at 32k
	is "$(st p active)" 16 "$t: they leave no mark"
	put view 4 0x110000 64k
	mend active
	as_they_must "$t"
	put view 5 $at 32k
	as_they_must "$t, then a retry"

	t="active's reads fail"
	msg p clear_error
	put origin 6 0x204000 4k
	put view 6 0x200000 4k
	break_disk active reads 4096 8
	fails "$t: the view's does" EIO read $view 2m 512
	error_is "$t" active 4096 1
	fails "$t: one of all sorts" EIO read $view 0x1ff000 64k
	part_holds $view view $((0x201000)) 262144 "$t: its neighbours can be read"
	put origin 7 2m 64k
	works "$t: a checkpoint needs no active" message p-view checkpoint
	model_checkpoint
	as_they_must "$t, after a checkpoint"
	gone
}

active_requests

flushes()
{
	local t="flushes fail"

	fresh
	works "$t: not yet the view's" flush $view
	works "$t: not yet the origin's" flush $origin
	break_disk active writes
	fails "$t: the view's" EIO flush $view
	error_is "$t" active 0 1
	fails "$t: a durable write of the view" EIO fua $view 1 $at 4k
	works "$t: not the origin's" flush $origin
	mend active
	break_disk secondary writes
	fails "$t: the origin's" EIO flush $origin
	works "$t: not the view's" flush $view
	is "$(stage p)" running "$t: the pair runs on"
	mend secondary
	as_they_must "$t, mended"
	gone
}

flushes

# --- during a checkpoint ------------------------------------------------------------

# late NAME KIND TEXT COMMAND...: the command's request fails while a checkpoint
# waits for it, and others wait for the checkpoint.
late()
{
	local disk=$1 kind=$2 t="$3, during a checkpoint" epoch

	shift 3
	epoch=$(st p epoch)
	break_disk "$disk" "$kind" $at_sector 128
	begin late "$@"
	wait_held "$disk" 1
	begin checkpoint dmsetup message p-view 0 checkpoint
	wait_until 5 deferring p
	begin parked_write blkio write $origin "$epoch" 3m 64k
	begin parked_read blkio read $view 3m 64k
	mend "$disk"
	is "$(outcome late)" EIO "$t: it fails"
	is "$(outcome checkpoint)" OK "$t: the checkpoint succeeds"
	is "$(st p epoch)" $((epoch + 1)) "$t: the epoch says so"
	is "$(outcome parked_write) $(outcome parked_read)" "OK OK" \
		"$t: who came meanwhile goes on"
	model_checkpoint
	# the parked write came after it
	stamp "${MODEL_DISK[secondary]}" "$epoch" 3m 64k
	as_they_must "$t"
}

during_checkpoints()
{
	local t="hold_mib $1" first

	fresh hold_mib "$1"
	put view 1 $at 8k
	put origin 2 0x104000 8k
	first=$((at_sector + 16))
	[ -z "${METADATA:-}" ] || first=$at_sector
	late secondary late-reads "$t, a capture fails" blkio write $origin 3 $at 64k
	# two runs: what lies between is saved; what comes before is covered,
	# which with metadata does not count, as it may not be durable
	error_is "$t, during a checkpoint" capture "$first" 2
	late active late-writes "$t, a view write fails" blkio write $view 3 $at 64k
	if [ "$1" -gt 0 ]; then
		late secondary late-reads "$t, a view read fails" blkio read $view $at 64k
		late secondary late-writes "$t, an origin write fails" blkio write $origin 3 $at 64k
	else
		late hidden late-writes "$t, saving fails" blkio write $origin 3 $at 64k
	fi
	put origin 4 $at 64k
	as_they_must "$t, after them all"
	gone
}

during_checkpoints 0
during_checkpoints 1

plan_end
