#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# vm: --smp 2 --mem 768 --timeout 300
#
# View and secondary against an exact model, 512-byte sectors, with old data in
# hidden at once, spilled behind the writer's back, and held in memory.

# shellcheck source=tests/lib/guest.sh
. "$(dirname "$0")/../lib/guest.sh"
# shellcheck source=tests/lib/verify.sh
. "$(dirname "$0")/../lib/verify.sh"

null_disk active 12 blocksize=512
active=$DISK
null_disk hidden 12 blocksize=512
hidden=$DISK
null_disk secondary 12 blocksize=512 discard=1
use "$active" "$hidden" "$DISK"

for hold in 0 1 32; do
	model_runs "hold_mib $hold, one thread" "hold_mib $hold" --ops 350
	model_runs "hold_mib $hold, six threads" "hold_mib $hold" --ops 300 --threads 6
done
model_runs "hold_mib changes, long requests" "" --ops 300 --vary-hold --max-kib 4096
model_runs "overlapping origin writes" "hold_mib 1" --ops 300 --threads 6 --overlap

verify_total
plan_end
