# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
#
# A primary beside who else writes to two disks: dm-raid1, whose disks are both
# at hand, and DRBD, both of whose hosts are this one.

REPLICATED=64	# MiB

# replicated_rows PEER DEVICE
replicated_rows()
{
	io_row "$1" replicated-write "$2" randwrite 4k 1 "$COUNT" --size=60m
	io_row "$1" replicated-write "$2" randwrite 4k 16 "$COUNT" --size=60m
	io_row "$1" replicated-write "$2" write 1m 16 240 --size=60m
}

# resync_row PEER NANOSECONDS
resync_row()
{
	figure_row "$1" resync $((REPLICATED * 1000000000 / $2)) mib_s size_mib="$REPLICATED"
}

primary_peer()
{
	local total=$1

	dm_make p "0 $total replication primary ${DISKS[replica]} 4 autostart local ${DISKS[local]} in_sync" ||
		bail "no primary"
	# shellcheck disable=SC2153 # guest.sh's DISK, not DISKS
	replicated_rows ours "$DISK"
	dm_batch "clock" "message p start_resync full" \
		"until p *?none?0?$total/$total?0?0?* 60000" "clock"
	resync_row ours $((ANSWER[3] - ANSWER[0]))
	dmsetup remove p
}

raid1_peer()
{
	local total=$1 legs="2 ${DISKS[local]} 0 ${DISKS[replica]} 0" regions

	regions=$((total / 1024))
	dm_make p "0 $total mirror core 2 1024 nosync $legs" || bail "no dm-raid1"
	replicated_rows raid1 "$DISK"
	dmsetup remove p
	dm_batch "clock" "create p 0 $total mirror core 1 1024 $legs" \
		"until p *?$regions/$regions?* 60000" "clock"
	resync_row raid1 $((ANSWER[3] - ANSWER[0]))
	dmsetup remove p
}

# drbd_is STATE: minor 0's connection and disks, as /proc/drbd has them.
drbd_is()
{
	local line

	while read -r line; do
		if [[ $line == "0: $1 "* ]]; then
			return 0
		fi
	done </proc/drbd
	return 1
}

# drbd_comes_to STATE: looks each millisecond, without a process.
drbd_comes_to()
{
	local i

	for ((i = 0; i < 60000; i++)); do
		if drbd_is "$1"; then
			return
		fi
		read -r -t 0.001 -u "$DRBD_CLOCK"
	done
	bail "DRBD does not come to $1: $(</proc/drbd)"
}

# drbd_half N DISK: a resource that finds the other one by its port.
drbd_half()
{
	local n=$1 disk=$2

	drbdmeta --force "$n" v08 "$disk" internal create-md &&
		drbdsetup-84 new-resource "r$n" &&
		drbdsetup-84 new-minor "r$n" "$n" 0 &&
		drbdsetup-84 attach "$n" "$disk" "$disk" internal \
			--c-plan-ahead=0 --resync-rate=4G --c-min-rate=0 &&
		drbdsetup-84 connect "r$n" "ipv4:127.0.0.1:$((7789 + n))" \
			"ipv4:127.0.0.1:$((7790 - n))" --protocol=C \
			--max-buffers=20000 --max-epoch-size=20000
}

drbd_peer()
{
	local began DRBD_CLOCK

	exec {DRBD_CLOCK}<> <(:)
	ip link set lo up
	mkdir -p /var/lock
	modprobe drbd usermode_helper=/bin/true || bail "no DRBD"
	{
		drbd_half 0 "${DISKS[local]}" && drbd_half 1 "${DISKS[replica]}"
	} >/tmp/drbd.out 2>&1 || bail "DRBD: $(</tmp/drbd.out)"
	drbd_comes_to "cs:Connected ro:Secondary/Secondary ds:Inconsistent/Inconsistent"
	# Both are taken for equal.
	drbdsetup-84 new-current-uuid --clear-bitmap 0
	drbd_comes_to "cs:Connected ro:Secondary/Secondary ds:UpToDate/UpToDate"
	drbdsetup-84 primary 0
	replicated_rows drbd /dev/drbd0
	began=${EPOCHREALTIME/./}
	drbdsetup-84 invalidate-remote 0
	drbd_comes_to "cs:Connected ro:Primary/Secondary ds:UpToDate/UpToDate"
	resync_row drbd $(((${EPOCHREALTIME/./} - began) * 1000))
	exec {DRBD_CLOCK}>&-
	drbdsetup-84 secondary 0
	drbdsetup-84 down r0
	drbdsetup-84 down r1
	rmmod drbd
}

topic_primary()
{
	local name total=$((REPLICATED * 2048))
	# shellcheck disable=SC2034 # lib.sh's, for this topic
	local -A DISKS=() STAT=()

	for name in local replica; do
		null_disk "$name" "$REPLICATED" irqmode=2 completion_nsec=10000 max_sectors=2048 ||
			bail "no disks"
		fill "$DISK"
		counted "$name" "$DISK"
	done
	primary_peer "$total"
	raid1_peer "$total"
	drbd_peer
	null_gone local
	null_gone replica
}
