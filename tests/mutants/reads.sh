#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# vm: --smp 2 --mem 768 --timeout 60
#
# View reads against origin writes.

# shellcheck source=tests/mutants/case.sh
. "$(dirname "$0")/case.sh"

for name in "$@"; do
	t=$name
	fresh hold_mib 32
	case $name in
	read-first)
		# The view's write leaves the origin's nothing to save: it waits
		# for the read alone, which is under way to both its stretches.
		break_disk secondary hold-reads
		begin read blkio read $view $((0xff000)) 8k
		wait_held secondary
		put view 0x21 1m 4k
		begin write stamp $origin 0x12 1m 4k
		under_way read write
		mend secondary
		began_read $((0xff000)) 8192 secondary
		ended write
		in_model secondary 0x12 1m 4k
		;;
	read-meets-write)
		begin read blkio read $view 1m 4k
		sleep 0.2
		put origin 0x12 1m 4k
		began_read $((0x100000)) 4096 view
		;;
	*)
		bail "no such case: $name"
		;;
	esac
	as_they_must "$t"
	gone
done
plan_end
