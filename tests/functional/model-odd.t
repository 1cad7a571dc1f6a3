#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# vm: --smp 2 --mem 768 --timeout 300
#
# The model on a length that is no multiple of 4 KiB, let alone of a leaf: the
# last page is short.

# shellcheck source=tests/lib/guest.sh
. "$(dirname "$0")/../lib/guest.sh"
# shellcheck source=tests/lib/verify.sh
. "$(dirname "$0")/../lib/verify.sh"

# short_disk NAME SECTORS: the first SECTORS of a disk
short_disk()
{
	null_disk "$1" 13 blocksize=512 discard=1
	dmsetup create "$1" --table "0 $2 linear $DISK 0"
	DISK=/dev/mapper/$1
}

for sectors in 24579 26623; do
	short_disk active "$sectors"
	active=$DISK
	short_disk hidden "$sectors"
	hidden=$DISK
	short_disk secondary "$sectors"
	use "$active" "$hidden" "$DISK"
	model_runs "$sectors sectors, one thread" "hold_mib 1" --ops 250
	model_runs "$sectors sectors, six threads" "hold_mib 0" --ops 250 --threads 6
	for disk in active hidden secondary; do
		dmsetup remove "$disk"
		null_gone "$disk"
	done
done

verify_total
plan_end
