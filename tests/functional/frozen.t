#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# vm: --smp 2 --mem 768 --timeout 300
#
# Three hundred checkpoints, one every 50 ms, while the origin is written at
# queue depth 32 and never pauses: in each interval every place of the view
# keeps one stamp, and it lies between the last write acknowledged before the
# message and the last one submitted before its return.

# shellcheck source=tests/lib/guest.sh
. "$(dirname "$0")/../lib/guest.sh"
# shellcheck source=tests/lib/verify.sh
. "$(dirname "$0")/../lib/verify.sh"

disks=()
for disk in active hidden secondary; do
	null_disk "$disk" 32 blocksize=512
	disks+=("$DISK")
done
use "${disks[@]}"

# frozen TEXT "FEATURES" ARGS...
frozen()
{
	local text=$1 features=$2

	shift 2
	next_seed
	# shellcheck disable=SC2086 # the features are words
	fresh_pair f $features
	verify "$text" frozen --view /dev/mapper/f-view --origin /dev/mapper/f-origin \
		--qd 32 --interval-ms 50 "$@"
	is "$(stage f)" running "still running"
	is "$(st f errors)" 0 "no error counted"
	unpair f
}

frozen "300 checkpoints under load" "" --checkpoints 300
frozen "with captures spilled" "hold_mib 0" --checkpoints 100 --view-writers 1
frozen "with writers of the view" "hold_mib 1" --checkpoints 100 --view-writers 3

verify_total
plan_end
