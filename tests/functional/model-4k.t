#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# vm: --smp 2 --mem 768 --timeout 300
#
# The model on 4096-byte sectors, and on devices whose sectors differ: the block
# is then the largest of them.

# shellcheck source=tests/lib/guest.sh
. "$(dirname "$0")/../lib/guest.sh"
# shellcheck source=tests/lib/verify.sh
. "$(dirname "$0")/../lib/verify.sh"

# disks ACTIVE HIDDEN SECONDARY: the logical block of each
disks()
{
	local role made=()

	for role in active hidden secondary; do
		[ ! -d "/sys/kernel/config/nullb/$role" ] || null_gone "$role"
		null_disk "$role" 12 blocksize="$1" discard=1
		made+=("$DISK")
		shift
	done
	use "${made[@]}"
}

disks 4096 4096 4096
model_runs "4096 everywhere, one thread" "hold_mib 1" --ops 250
model_runs "4096 everywhere, six threads" "hold_mib 1" --ops 250 --threads 6

# secondary keeps its sectors small, the overlay's devices do not
disks 4096 4096 512
model_runs "active and hidden 4096, secondary 512" "hold_mib 0" --ops 250
model_runs "active and hidden 4096, secondary 512, six threads" "hold_mib 0" --ops 250 --threads 6

disks 512 512 4096
model_runs "active and hidden 512, secondary 4096" "hold_mib 1" --ops 250

verify_total
plan_end
