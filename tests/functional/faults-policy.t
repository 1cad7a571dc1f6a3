#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# vm: --smp 2 --mem 768 --timeout 120
#
# on_capture_error drop_view: where old data cannot be saved the origin goes on
# and the view is given up, until it is started anew, stopped or promoted.
# (The policy fail is in faults.t.)

# shellcheck source=tests/lib/guest.sh
. "$(dirname "$0")/../lib/guest.sh"
# shellcheck source=tests/lib/faults.sh
. "$(dirname "$0")/../lib/faults.sh"

view=/dev/mapper/p-view
origin=/dev/mapper/p-origin

three_faulty 4 || bail "no disks"

# Origin writes over all the disk; all must succeed.
write_all()
{
	local i

	for i in {0..15}; do
		put origin $((RANDOM % 256)) $((i * 256))k 256k
	done
	ok $((i < 15)) "$1: every origin write succeeds"
}

# What the view is once it was given up.
is_invalid()
{
	is "$(stage p)" invalid "$1: the view is invalid"
	fails "$1: it cannot be read" EIO read $view 0 4k
	fails "$1: it cannot be written" EIO write $view 9 0 4k
	put origin 10 0x120000 64k
	holds $origin secondary "$1: the origin has all its writes"
}

# drop_view TEXT CLASS HOLD DISK KIND: origin writes go on when that breaks.
drop_view()
{
	local t="$1" class=$2 hold=$3 disk=$4 kind=$5 next

	fresh hold_mib "$hold" on_capture_error drop_view
	for next in start stop promote; do
		put view 1 0 8k
		break_disk "$disk" "$kind"
		write_all "$t"
		like "$(get_error p)" "^-5 $class sector [0-9]+ total [1-9]" \
			"$t: get_error says why"
		mend "$disk"
		is_invalid "$t"
		works "$t: $next" message p-view $next
		model_checkpoint
		as_they_must "$t, $next"
		case $next in
		stop)
			put origin 11 0 64k
			model_checkpoint
			as_they_must "$t, stopped"
			works "$t: start" message p-view start
			;&
		start)
			no_error "$t, started anew"
			put origin 12 0 64k
			put view 13 32k 64k
			as_they_must "$t, started anew"
			works "$t: checkpoint" message p-view checkpoint
			model_checkpoint
			;;
		promote)
			put view 14 0 64k
			model_failover
			as_they_must "$t, promoted"
			fails "$t: promoted, the origin is refused" EIO write $origin 15 0 4k
			;;
		esac
	done
	gone
}

drop_view "old data cannot be read" capture 32 secondary reads
drop_view "old data cannot be written" spill 0 hidden writes
drop_view "old data cannot be spilled" spill 1 hidden writes

# Once a failover has begun the policy is to fail the write, not the view.
late_at_failover()
{
	local t="saving fails after failover was sent"

	fresh hold_mib 0 on_capture_error drop_view
	put view 1 0 64k
	put origin 2 32k 64k
	break_disk hidden late-writes 2048 128
	begin late blkio write $origin 3 1m 64k
	wait_held hidden 1
	works "$t: failover" message p-view failover
	fails "$t: the origin is refused at once" EIO write $origin 4 2m 4k
	is "$(stage p)" failover "$t: it waits for what is under way"
	mend hidden
	is "$(outcome late)" EIO "$t: the origin write fails"
	wait_stage p "done" 20
	is "$(stage p)" "done" "$t: the view is not lost"
	model_failover
	as_they_must "$t"
	gone
}

late_at_failover

plan_end
