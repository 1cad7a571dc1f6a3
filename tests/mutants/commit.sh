#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# vm: --smp 2 --mem 768 --timeout 120
#
# Failover.

mib=8
# shellcheck source=tests/mutants/case.sh
. "$(dirname "$0")/case.sh"

fail_over()
{
	run_ok "$t: failover" msg p failover
}

# reads_held NAME N: so many wait at the disk.
reads_held()
{
	[ "$(dmsetup status "$1" | awk '$3 == "delay" { n += $4 } END { print n + 0 }')" -eq "$2" ]
}

for name in "$@"; do
	t=$name
	case $name in
	sources)
		# Blocks with both, with either, with none.
		for hold in 0 32; do
			fresh hold_mib $hold
			put origin 0x12 1m 64k
			put view 0x21 $((0x108000)) 64k
			put view 0x22 $((0x201000)) 512
			put origin 0x13 2m 64k
			fail_over
			is_done
		done
		;;
	reads-beside)
		fresh
		put origin 0x12 1m 4k
		put view 0x21 1m 4k
		fail_over
		for ((i = 0; i < 8; i++)); do
			expect $view 0x21 1m 4k "$t: the view's own data is read"
		done
		is_done
		;;
	writes-beside)
		fresh
		put view 0x20 0 4k
		put view 0x21 2m 64k
		break_disk secondary hold-writes 4096
		fail_over
		wait_held secondary
		# where its copy is under way, and where nothing is to be copied
		begin write stamp $view 0x22 2m 4k
		put view 0x23 64k 64k
		under_way write
		mend secondary
		ended write
		in_model view 0x22 2m 4k
		is_done
		;;
	many-small)
		# Scattered blocks are read at once, as slow disks need it.
		fresh
		for ((i = 0; i < 40; i++)); do
			put view 0x21 $((i << 13)) 4k
		done
		break_disk active hold-reads
		fail_over
		wait_until 10 reads_held active 40
		ok $? "$t: all are being read"
		mend active
		is_done
		;;
	reads-late)
		# All that is to be copied is being read: nobody else wakes the commit.
		fresh
		put view 0x21 2m 64k
		break_disk active hold-reads
		fail_over
		wait_held active
		sleep 0.5
		mend active
		is_done
		;;
	writes-before)
		# A write is under way to active when the commit comes there, which
		# takes 2 s.
		fresh commit_rate_mib 1
		put view 0x21 0 2m
		put view 0x22 2m 64k
		break_disk active hold-writes
		fail_over
		begin write stamp $view 0x23 2m 4k
		wait_held active
		sleep 2.5
		is "$(stage p)" failover "$t: it waits for the write"
		mend active
		ended write
		in_model view 0x23 2m 4k
		is_done
		;;
	few-locked)
		# 4 MiB of locked leaves at most: the seventh is not among them.
		# Held pages, as copies through memory are fewer anyway.
		fresh hold_mib 32
		put origin 0x12 0 7m
		break_disk secondary hold-writes
		fail_over
		wait_held secondary
		sleep 0.5
		begin write stamp $view 0x22 6m 4k
		ended write
		in_model view 0x22 6m 4k
		mend secondary
		is_done
		;;
	parked-in-running)
		# A view write parks beside the reclaimer, and comes back in the
		# failover, where another write has made a new leaf meanwhile.
		fresh discard_passdown commit_rate_mib 1
		put view 0x20 0 2m
		put view 0x20 3m 4k
		break_disk active hold-writes 6144
		run_ok "$t: checkpoint" msg p checkpoint
		now_view
		put view 0x21 0 2m
		wait_held active
		begin write stamp $view 0x22 $((0x380000)) 4k
		under_way write
		break_disk secondary hold-writes
		mend active
		sleep 0.3
		put view 0x22 $((0x380000)) 4k
		fail_over
		wait_held secondary
		ended write
		is "$(st p active)" $((4096 + 8)) "$t: what active has"
		mend secondary
		is_done
		;;
	retry)
		fresh
		put view 0x21 2m 64k
		put origin 0x12 $((0x208000)) 64k
		break_disk secondary writes
		fail_over
		wait_stage p failover_failed 15
		is "$(stage p)" failover_failed "$t: it fails"
		holds $view view "$t: the view is as it was"
		mend secondary
		fail_over
		is_done
		;;
	fence)
		fresh
		put origin 0x12 1m 64k
		put view 0x21 2m 64k
		break_disk secondary hold-writes 4096
		fail_over
		wait_held secondary
		run_fails "$t: in failover" EIO stamp $origin 0x13 0 4k
		mend secondary
		wait_stage p "done" 15
		run_fails "$t: in done" EIO stamp $origin 0x13 3m 4k
		dmsetup remove p-view
		run_fails "$t: with the view gone" EIO stamp $origin 0x13 3m 4k
		now_secondary
		holds "${raw[secondary]}" secondary "$t: secondary is the view's"
		dmsetup remove p-origin
		;;
	*)
		bail "no such case: $name"
		;;
	esac
done
plan_end
