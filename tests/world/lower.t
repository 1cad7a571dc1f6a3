#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# vm: --smp 2 --mem 1024 --timeout 900
#
# The model with all three disks on one of what people have: logical volumes,
# thin volumes, loop, brd, nbd, zram; and on one of each at a time.

# shellcheck source=tests/lib/guest.sh
. "$(dirname "$0")/../lib/guest.sh"
# shellcheck source=tests/lib/verify.sh
. "$(dirname "$0")/../lib/verify.sh"

roles=(active hidden secondary)

# try WHAT [ARG]...: one thread, then six, with each of the ends.
try()
{
	model_runs "$1, one thread" "hold_mib 1" --ops 120
	model_runs "$1, six threads" "hold_mib 0" --ops 120 --threads 6 "${@:2}"
}

# stacked DISK...: none of them is written behind the pair's back.
stacked()
{
	local disk

	for disk in "$@"; do
		[ -b "$disk" ] || bail "no disk $disk"
	done
	use "$@"
}

volumes()
{
	local role

	null_disk pv 40 discard=1 || bail "no disk"
	vgcreate -qq vg "$DISK" || bail "no volume group"
	for role in "${roles[@]}"; do
		lvcreate -qq -L 8m -n "$role" vg || bail "no volume"
	done
	stacked "${roles[@]/#//dev/vg/}"
}

thin_volumes()
{
	local role

	null_disk thin 48 discard=1 || bail "no disk"
	vgcreate -qq tvg "$DISK" || bail "no volume group"
	lvcreate -qq -L 32m --thinpool pool tvg || bail "no thin pool"
	for role in "${roles[@]}"; do
		lvcreate -qq -V 8m --thin -n "$role" tvg/pool || bail "no thin volume"
	done
	stacked "${roles[@]/#//dev/tvg/}"
}

# of KIND: loop or brd
of()
{
	local role made=()

	for role in "${roles[@]}"; do
		"$1_disk" "$1-$role" 8 || bail "no $1"
		made+=("$DISK")
	done
	stacked "${made[@]}"
}

zrams()
{
	local i

	modprobe zram num_devices=3 || bail "no zram"
	for i in 0 1 2; do
		echo 8M >"/sys/block/zram$i/disksize" || bail "no zram"
	done
	stacked /dev/zram0 /dev/zram1 /dev/zram2
}

nbds()
{
	local role i=0

	modprobe nbd nbds_max=3 max_part=0 || bail "no nbd"
	printf '[generic]\nunixsock = /run/nbd.sock\n' >/tmp/nbd.conf
	for role in "${roles[@]}"; do
		truncate -s 8M "/dev/shm/nbd-$role"
		printf '[%s]\nexportname = /dev/shm/nbd-%s\nflush = true\ntrim = true\n' \
			"$role" "$role" >>/tmp/nbd.conf
	done
	nbd-server -C /tmp/nbd.conf -p /run/nbd.pid || bail "no nbd-server"
	for role in "${roles[@]}"; do
		wait_until 20 nbd-client -unix /run/nbd.sock -N "$role" -b 512 "/dev/nbd$i" ||
			bail "no nbd-client"
		i=$((i + 1))
	done
	stacked /dev/nbd0 /dev/nbd1 /dev/nbd2
}

volumes
try "LVM's volumes"
thin_volumes
try "LVM's thin volumes"
of loop
# Files and brd copy without a lock: who reads a sector that is being written has
# some of each.
try loop --torn
of brd
try brd --torn
zrams
try zram
nbds
try nbd --torn

# What a host of many kinds of storage may have.
stacked /dev/tvg/active /dev/zram1 /dev/nbd2
model_runs "thin active, zram hidden, secondary over the network" "hold_mib 0" \
	--ops 120 --threads 6 --torn
stacked /dev/nbd0 /dev/vg/hidden /dev/loop2
model_runs "active over the network, a volume as hidden, a file as secondary" "hold_mib 1" \
	--ops 120 --threads 6 --torn

verify_total
run_ok "the module goes" rmmod dm_repl
plan_end
