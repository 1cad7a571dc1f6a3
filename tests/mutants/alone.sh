#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# vm: --icount --mem 768 --timeout 150
#
# First writes whose captures end while the processor is still busy with them,
# so that a newcomer is hoped for, and none comes.

# shellcheck source=tests/mutants/case.sh
. "$(dirname "$0")/case.sh"

null_disk at-once "$mib" irqmode=0 || bail "no disk"
dd if="$models/secondary" of="$DISK" bs=1M oflag=direct status=none
raw[secondary]=$DISK
broken[secondary]=1

for name in "$@"; do
	t=$name
	case $name in
	patience)
		# shellcheck disable=SC2119 # no features
		fresh
		for ((i = 0; i < 8; i++)); do
			begin write stamp $origin 0x12 $((i << 18)) 4k
			ended write
			in_model secondary 0x12 $((i << 18)) 4k
		done
		;;
	*)
		bail "no such case: $name"
		;;
	esac
	as_they_must "$t"
	gone
done
plan_end
