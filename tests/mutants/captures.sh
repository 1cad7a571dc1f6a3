#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# vm: --smp 2 --mem 768 --timeout 90
#
# Old data: read, published, spilled.

# shellcheck source=tests/mutants/case.sh
. "$(dirname "$0")/case.sh"

has_errors()
{
	[ "$(st p errors)" -gt 0 ]
}

is_spilled()
{
	[ "$(st p held)" -eq 0 ]
}

for name in "$@"; do
	t=$name
	case $name in
	capture-under-way)
		# Nobody reads the held page before it is filled; nor does another
		# write to this page go before it.
		fresh
		break_disk secondary hold-reads
		begin write stamp $origin 0x12 1m 512
		wait_held secondary
		begin other stamp $origin 0x13 $((0x100200)) 512
		under_way write other
		begin read blkio read $view 1m 4k
		under_way read
		mend secondary
		began_read $((0x100000)) 4096 view
		ended write other
		in_model secondary 0x12 1m 512
		in_model secondary 0x13 $((0x100200)) 512
		;;
	capture-fails)
		fresh
		break_disk secondary reads
		run_fails "$t: the write fails" EIO stamp $origin 0x12 1m 4k
		error_is capture 2048
		mend secondary
		;;
	joined-fails)
		fresh
		break_disk secondary late-reads
		begin write stamp $origin 0x12 1m 512
		wait_held secondary
		begin other stamp $origin 0x13 $((0x100200)) 512
		under_way write other
		mend secondary
		is "$(outcome write 8)" EIO "$t: the write that began the capture fails"
		ended other
		in_model secondary 0x13 $((0x100200)) 512
		;;
	spill-under-way)
		fresh hold_mib 1
		break_disk hidden hold-writes
		put origin 0x12 0 1m
		put origin 0x13 1m 1m
		wait_held hidden
		holds $view view "$t: the view reads what is on its way"
		mend hidden
		;;
	spill-fails)
		fresh hold_mib 1
		break_disk hidden writes
		put origin 0x12 0 1m
		put origin 0x13 1m 1m
		wait_until 5 has_errors
		holds $view view "$t: memory keeps what hidden does not take"
		mend hidden
		;;
	hidden-first)
		fresh hold_mib 0
		break_disk hidden hold-writes
		begin write stamp $origin 0x12 1m 4k
		wait_held hidden
		under_way write
		as_they_must "$t, before hidden has it"
		mend hidden
		ended write
		in_model secondary 0x12 1m 4k
		;;
	page-reads)
		# Reads of one page, of which the old data is held, then in hidden.
		fresh
		put origin 0x12 1m 8k
		for held in held spilled; do
			for size in 512 4k; do
				begin read blkio read $view 1m $size
				began_read $((0x100000)) 512 view
			done
			[ $held = spilled ] || msg p set hold_mib 0
			wait_until 5 is_spilled
			ok $? "$t: they are spilled"
		done
		;;
	scrambled-pages)
		# All pages of the pool come back to it in the order of the disk:
		# of the first sixteen those with even numbers in a row.
		fresh
		for ((i = 0; i < 16; i++)); do
			put origin 0x12 $(((i / 2 + i % 2 * 8) << 12)) 4k
		done
		put origin 0x12 1m 1m
		put origin 0x12 2m 960k
		msg p set hold_mib 0
		wait_until 5 is_spilled
		ok $? "$t: they are spilled"
		msg p set hold_mib 32
		msg p checkpoint
		now_view
		sleep 0.3	# a grace period
		put origin 0x13 0 64k
		;;
	discard)
		fresh
		run_ok "$t: the origin takes it" blkio discard $origin 1m 64k
		holds $view view "$t: its old data is kept"
		put origin 0x12 1m 64k
		;;
	short-page)
		# The device ends 5 sectors into its last page, for all cases after it.
		total=8189
		for disk in active hidden secondary; do
			break_disk $disk hold-reads
		done
		fresh
		put origin 0x12 8184s 5s
		put view 0x21 8187s 1s
		as_they_must "$t"
		msg p set hold_mib 0
		msg p checkpoint
		now_view
		put origin 0x13 8180s 9s
		as_they_must "$t, hold_mib 0"
		;;
	*)
		bail "no such case: $name"
		;;
	esac
	as_they_must "$t"
	gone
done
plan_end
