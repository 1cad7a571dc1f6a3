# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Snapshots of dm-thin volumes.

# A thin volume of half a pool that lies on hidden and secondary, its metadata on
# active. Its blocks are 64 KiB: a write of 4 KiB copies one.
thin_pool()
{
	local length

	length=$(sectors "${DISKS[secondary]}")

	linear_disk thin-meta "${DISKS[active]}" 32768 || return
	blkio write "$DISK" 0 0 64k
	dm_make thin-data "0 $length linear ${DISKS[secondary]} 0
$length $length linear ${DISKS[hidden]} 0" || return
	dm_make pool "0 $((2 * length)) thin-pool /dev/mapper/thin-meta /dev/mapper/thin-data 128 0 1 skip_block_zeroing" ||
		return
	dmsetup message pool 0 create_thin 0 || return
	dm_make thin "0 $((length - 4096)) thin /dev/mapper/pool 0" || return
	fill /dev/mapper/thin
}

thin_gone()
{
	local name

	for name in thin pool thin-data thin-meta; do
		dmsetup remove "$name"
	done
}

# thin_snap NUMBER: as LVM does it, with the origin suspended.
thin_snap()
{
	dmsetup suspend thin && dmsetup message pool 0 create_snap "$1" 0 &&
		dmsetup resume thin &&
		dm_make thin-snap "0 $(sectors /dev/mapper/thin) thin /dev/mapper/pool $1"
}

thin_snap_gone()
{
	dmsetup remove thin-snap && dmsetup message pool 0 delete "$1"
}

# Fewer writes than there are blocks to copy, so that most copy one.
thin_rows()
{
	local depth=$1 blocks

	blocks=$(($(sectors /dev/mapper/thin) * 3 / 512))
	if [ "$blocks" -gt "$COUNT" ]; then
		blocks=$COUNT
	fi
	thin_snap 1 || bail "no thin snapshot"
	io_row thin view-read-secondary /dev/mapper/thin-snap randread 4k "$depth" "$COUNT"
	io_row thin origin-first-write /dev/mapper/thin randwrite 4k "$depth" "$blocks" --blockalign=64k
	io_row thin origin-rewrite /dev/mapper/thin randwrite 4k "$depth" "$blocks" --blockalign=64k
	thin_snap_gone 1
	thin_snap 2 || bail "no thin snapshot"
	io_row thin view-first-write /dev/mapper/thin-snap randwrite 4k "$depth" "$blocks" --blockalign=64k
	io_row thin view-rewrite /dev/mapper/thin-snap randwrite 4k "$depth" "$blocks" --blockalign=64k
	thin_snap_gone 2
}

# A view made new, three times.
thin_refresh()
{
	local i length total=()

	length=$(sectors /dev/mapper/thin)
	thin_snap 3 || bail "no thin snapshot"
	for i in 4 5 6; do
		dm_batch "clock" "remove thin-snap" "message pool delete $((i - 1))" \
			"suspend thin" "message pool create_snap $i 0" "resume thin" \
			"create thin-snap 0 $length thin /dev/mapper/pool $i" "clock"
		total+=($((ANSWER[7] - ANSWER[0])))
	done
	figure_row thin refresh "$(us "$(median "${total[@]}")")" us
	dmsetup remove thin-snap
}

topic_thin()
{
	thin_pool || bail "no thin pool"
	thin_rows 1
	thin_rows 16
	thin_refresh
	thin_gone
}

