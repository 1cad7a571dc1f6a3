#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# vm: --smp 2 --mem 768 --timeout 300
#
# Four writers on the view while the commit runs: it ends, every acknowledged
# write is on secondary, and the origin is refused until rejoin.

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

origin_refused()
{
	run_fails "the origin is refused $1" EIO dd if=/dev/zero \
		of=/dev/mapper/l-origin bs=4096 count=1 oflag=direct conv=notrunc
}

# failover_load TEXT FEATURES ARGS...: leaves the pair l as it then is
failover_load()
{
	local text=$1 features=$2

	shift 2
	next_seed
	# shellcheck disable=SC2086 # the features are words
	fresh_pair l $features
	verify "$text" failover-load --view /dev/mapper/l-view \
		--origin /dev/mapper/l-origin --secondary "${disks[2]}" \
		--view-writers 4 --bound-s 60 "$@"
	is "$(stage l)" "done" "the view is the disk"
}

for hold in 0 1 32; do
	failover_load "hold_mib $hold" "hold_mib $hold" --ops 1200
	unpair l
	failover_load "hold_mib $hold, a slow commit" "hold_mib $hold commit_rate_mib 4" --ops 500
	origin_refused "in done"
	run_fails "rejoin is refused while the promoted view is there" EBUSY \
		dmsetup message l-origin 0 rejoin
	dmsetup remove l-view
	origin_refused "also when the view is gone"
	like "$(dmsetup status l-origin)" ' origin done fenced$' "status says so"
	run_ok "rejoin lifts the fence" dmsetup message l-origin 0 rejoin
	run_ok "the origin writes again" dd if=/dev/zero of=/dev/mapper/l-origin \
		bs=4096 count=1 oflag=direct conv=notrunc
	dmsetup remove l-origin
done

# Writes to active take long: they are under way when the commit comes to them.
slow slow-active "${disks[0]}" 0 12
use "$DISK" "${disks[1]}" "${disks[2]}"
for hold in 0 32; do
	failover_load "hold_mib $hold, slow active" "hold_mib $hold commit_rate_mib 16" \
		--ops 400 --max-kib 256
	unpair l
done

verify_total
plan_end
