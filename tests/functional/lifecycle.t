#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# vm: --smp 2 --mem 768 --timeout 300
#
# Tables come and go: reload, suspend, removal of view and origin in each stage,
# under load; what a pair leaves behind is in lifecycle-leaks.t.

# shellcheck source=tests/lib/guest.sh
. "$(dirname "$0")/../lib/guest.sh"
# shellcheck source=tests/lib/faults.sh
. "$(dirname "$0")/../lib/faults.sh"

view=/dev/mapper/p-view
origin=/dev/mapper/p-origin

# With a cache, as flushes are what a failover is held by.
three_faulty 4 cache_size=1 || bail "no disks"
null_disk spare 4
spare=$DISK

# in_stage STAGE: a pair with something of all sorts in each MiB, there.
in_stage()
{
	fresh commit_rate_mib 1 on_capture_error drop_view
	put view 0x21 0 64k
	put origin 0x12 32k 64k
	put view 0x22 1m 64k
	put origin 0x13 2m 64k
	put view 0x24 3m 128k
	put origin 0x14 0x310000 128k
	case $1 in
	none)
		dmsetup remove p-view
		dm_make p-view "$(view_table /dev/mapper/{active,hidden,secondary})"
		;;
	running) ;;
	failover)
		# all of it twice, at 1 MiB/s; it does not end before ends() mends
		# the disk, however slow who looks is
		put origin 0x15 0 4m
		put view 0x25 0 4m
		break_disk secondary hold-flushes
		msg p failover
		;;
	failover_failed)
		break_disk secondary writes 4096 8
		msg p failover
		msg p set commit_rate_mib 0
		;;
	done) msg p promote ;;
	stopped) msg p stop ;;
	invalid)
		# this write fails, too: its own sectors are bad
		bad_sectors secondary 7000 8
		stamp $origin 0x15 3500k 4k
		all_well secondary 7000 8
		;;
	esac
	wait_stage p "$1" 10
	is "$(stage p)" "$1" "$t: the stage is $1"
}

# still_whole STAGE: what must be where in this stage.
still_whole()
{
	case $1 in
	none|invalid)
		fails "$t: the view cannot be read" EIO read $view 0 4k
		;;
	done|stopped)
		holds $view secondary "$t: the view is what it must be"
		;;
	*)
		holds $view view "$t: the view is what it must be"
		;;
	esac
}

# ends STAGE: takes the pair away, which needs a whole failover to go.
ends()
{
	case $1 in
	failover*)
		mend secondary
		msg p set commit_rate_mib 0
		msg p failover
		wait_stage p "done" 10
		model_failover
		as_they_must "$t, at the end"
		;;
	esac
	holds "${RAW_DISK[secondary]}" secondary "$t: secondary is what it must be"
	gone
	unpaired
}

unpaired()
{
	is "$(dmsetup ls --target replication)" "" "$t: both are gone"
}

# --- reload -------------------------------------------------------------------------

reload()
{
	local stage=$1 before

	t="reload in $stage"
	in_stage "$stage"
	before=$(st p stage epoch)
	run_ok "$t: the view's table" dmsetup load p-view \
		--table "$(dmsetup table p-view)"
	run_ok "$t: and resume" dmsetup resume p-view
	run_ok "$t: the origin's table" dmsetup load p-origin \
		--table "$(dmsetup table p-origin)"
	run_ok "$t: and resume" dmsetup resume p-origin
	is "$(st p stage epoch)" "$before" "$t: stage and epoch are kept"
	still_whole "$stage"
	case $stage in
	none|done|stopped)
		run_ok "$t: with another active device" dmsetup load p-view \
			--table "$(view_table "$spare" /dev/mapper/{hidden,secondary})"
		[ "$stage" = "done" ] || fails "$t: no start before it is resumed" \
			EBUSY message p-view start
		run_ok "$t: and resume" dmsetup resume p-view
		is "$(st p stage)" "$stage" "$t: it is still $stage"
		still_whole "$stage"
		if [ "$stage" = stopped ]; then
			works "$t: start" message p-view start
			model_checkpoint
			put view 0x31 0 64k
			put origin 0x32 32k 64k
			as_they_must "$t: on the other device"
			expect "$spare" 0x31 0 64k "$t: which is used"
		fi
		;;
	*)
		run_fails "$t: not with another active device" EBUSY dmsetup load p-view \
			--table "$(view_table "$spare" /dev/mapper/{hidden,secondary})"
		;;
	esac
	ends "$stage"
}

for stage in none running failover failover_failed "done" stopped invalid; do
	reload $stage
done

# --- removal --------------------------------------------------------------------------

is_open()
{
	[ "$(dmsetup info -c --noheadings -o open p-view)" -gt 0 ]
}

remove_view()
{
	local stage=$1

	t="removal of the view in $stage"
	in_stage "$stage"
	case $stage in
	failover*)
		# a worker opens it, after the message
		wait_until 5 is_open
		run_fails "$t: EBUSY" EBUSY dmsetup remove p-view
		is "$(stage p)" "$stage" "$t: nothing has changed"
		still_whole "$stage"
		ends "$stage"
		return
		;;
	esac
	klog_mark
	run_ok "$t" dmsetup remove p-view
	case $stage in
	running)
		like "$(klog_since)" "the view is removed, 512 sectors" \
			"$t: the log says what is lost"
		;;
	done)
		is "$(ost p stage) $(ost p fence)" "done fenced" "$t: the fence stays"
		fails "$t: the origin is refused" EIO write $origin 1 0 4k
		works "$t: rejoin" message p-origin rejoin
		;;
	esac
	is "$(ost p stage) $(ost p fence)" "alone open" "$t: the origin is alone"
	put origin 0x41 0 64k
	holds "${RAW_DISK[secondary]}" secondary "$t: the origin goes on"
	run_ok "$t: then of the origin" dmsetup remove p-origin
	unpaired
}

for stage in none running failover failover_failed "done" stopped invalid; do
	remove_view $stage
done

new_origin()
{
	dm_make p-origin "$(origin_table /dev/mapper/secondary)"
}

remove_origin()
{
	local stage=$1

	t="removal of the origin in $stage"
	in_stage "$stage"
	run_ok "$t" dmsetup remove p-origin
	is "$(stage p)" "$stage" "$t: the stage stays"
	like "$(st p flags)" no_origin "$t: status says so"
	still_whole "$stage"
	run_ok "$t: a new one" new_origin
	is "$(ost p stage)" "$stage" "$t: the new one is of the pair"
	ends "$stage"
}

for stage in none failover_failed "done" stopped invalid; do
	remove_origin $stage
done

t="removal of the origin in running"
in_stage running
dmsetup remove p-origin
errors_are "$t" "-19 origin sector 0 total 1" "origin:-19 1"
for word in checkpoint stop promote; do
	fails "$t: no $word" ENODEV message p-view $word
done
put view 0x51 0x380000 64k
holds $view view "$t: the view stays frozen and writable"
run_ok "$t: a new one" new_origin
put origin 0x52 0x390000 64k
as_they_must "$t, a new one"
works "$t: checkpoint" message p-view checkpoint
model_checkpoint
as_they_must "$t, after a checkpoint"
put view 0x53 1m 64k
dmsetup remove p-origin
msg p set commit_rate_mib 0
works "$t: failover" message p-view failover
wait_stage p "done" 10
model_failover
as_they_must "$t, after failover"
dmsetup remove p-view
unpaired

# By force: another table in its place.
t="the view is replaced in failover"
in_stage failover
klog_mark
dmsetup load p-view --table "0 $DISK_SECTORS error"
begin replace dmsetup resume p-view
is "$(outcome replace 1)" "under way" "$t: it waits for the failover's end"
mend secondary
is "$(outcome replace 20)" OK "$t"
model_failover
holds "${RAW_DISK[secondary]}" secondary "$t: the failover has ended"
like "$(klog_since)" "failover is done" "$t: the log says so"
gone
unpaired

t="the view is replaced in failover_failed"
in_stage failover_failed
klog_mark
dmsetup load p-view --table "0 $DISK_SECTORS error"
run_ok "$t" dmsetup resume p-view
like "$(klog_since)" "lost 256 own, 256 saved sectors" "$t: the log says what is lost"
gone
unpaired
# half committed: what it was must not be compared any more
mend secondary
dd if="$SCRATCH/secondary" of="${RAW_DISK[secondary]}" bs=1M oflag=direct status=none

# --- suspend under load ------------------------------------------------------------------

# load VERB... : the same again and again, until told to end.
load()
{
	while [ -e "$SCRATCH/load" ]; do
		"$@" || return
	done
}

origin_load()
{
	blkio write $origin 0x62 1m 3m && blkio expect $origin 0x62 1m 3m
}

suspend_under_load()
{
	local first=$1 second=$2 round

	t="suspend under load, $first, then $second"
	fresh hold_mib 1
	touch "$SCRATCH/load"
	begin view_load load blkio write $view 0x61 0 2m
	begin origin_load load origin_load
	for round in 1 2 3; do
		dmsetup suspend "p-$first" || ok 1 "$t: suspend $first"
		[ "$first" = origin ] || put_origin_meanwhile
		dmsetup suspend "p-$second" || ok 1 "$t: suspend $second"
		dmsetup resume "p-$first" || ok 1 "$t: resume $first"
		dmsetup resume "p-$second" || ok 1 "$t: resume $second"
		works "$t: checkpoint $round" message p-view checkpoint
	done
	rm "$SCRATCH/load"
	is "$(outcome view_load 20) $(outcome origin_load 20)" "OK OK" \
		"$t: no request has failed"
	stamp "${MODEL_DISK[secondary]}" 0x62 1m 3m
	works "$t: a last checkpoint" message p-view checkpoint
	model_checkpoint
	as_they_must "$t"
	gone
	unpaired
}

# Captures and spills go on while the view is suspended.
put_origin_meanwhile()
{
	put origin $((0x70 + round)) 0 1m
}

suspend_under_load view origin
suspend_under_load origin view

run_ok "the module goes" rmmod dm_repl

plan_end
