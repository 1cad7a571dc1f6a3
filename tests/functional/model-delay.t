#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# vm: --smp 2 --mem 768 --timeout 300
#
# The model with windows held open: secondary reads slowly, so that view reads
# and captures are under way while origin writes wait for them; hidden writes
# slowly, so that reads meet captures that are being spilled.

# shellcheck source=tests/lib/guest.sh
. "$(dirname "$0")/../lib/guest.sh"
# shellcheck source=tests/lib/verify.sh
. "$(dirname "$0")/../lib/verify.sh"

null_disk nactive 12 blocksize=512
active=$DISK
null_disk nhidden 12 blocksize=512
plain_hidden=$DISK
null_disk nsecondary 12 blocksize=512 discard=1
plain_secondary=$DISK

slow hidden "$plain_hidden" 0 10
slow_hidden=$DISK
slow secondary "$plain_secondary" 4 0
slow_secondary=$DISK

use "$active" "$plain_hidden" "$slow_secondary"
model_runs "slow secondary reads" "hold_mib 32" --ops 250 --threads 8
model_runs "slow secondary reads, hold_mib 0" "hold_mib 0" --ops 250 --threads 8

use "$active" "$slow_hidden" "$plain_secondary"
model_runs "slow hidden writes, hold_mib 0" "hold_mib 0" --ops 250 --threads 8
model_runs "slow hidden writes, hold_mib 1" "hold_mib 1" --ops 250 --threads 8

use "$active" "$slow_hidden" "$slow_secondary"
model_runs "both slow" "hold_mib 1" --ops 250 --threads 8 --overlap

verify_total
plan_end
