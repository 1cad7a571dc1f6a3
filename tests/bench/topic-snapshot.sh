# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
#
# The kernel's own snapshots: dm-snapshot.

# snapshot CHUNK_SECTORS N|P: devices so and snap. An origin that is there before
# its snapshot must be suspended and resumed, or it lets small writes slip by.
snapshot()
{
	local origin=${DISKS[secondary]} cow=${DISKS[hidden]} length

	length=$(sectors "$origin")
	blkio write "$cow" 0 0 64k || return
	dm_make so "0 $length snapshot-origin $origin" &&
		dm_make snap "0 $length snapshot $origin $cow $2 $1" &&
		dmsetup suspend so && dmsetup resume so
}

snapshot_gone()
{
	dmsetup remove snap && dmsetup remove so
}

# snapshot_rows CHUNK_SECTORS N|P DEPTH
snapshot_rows()
{
	local peer=snapshot-$(($1 / 2))k-$2 depth=$3

	row()
	{
		io_row "$peer" "$1" "/dev/mapper/$2" "rand$3" 4k "$depth" "$COUNT"
	}
	snapshot "$1" "$2" || bail "no $peer"
	full row view-read-secondary snap read
	row origin-first-write so write
	full row origin-rewrite so write
	full row view-read-hidden snap read
	snapshot_gone
	snapshot "$1" "$2" || bail "no $peer"
	io_row "$peer" origin-first-write /dev/mapper/so write 4k "$depth" "$COUNT"
	snapshot_gone
	[ -z "$QUICK" ] || return 0
	snapshot "$1" "$2" || bail "no $peer"
	row view-first-write snap write
	row view-rewrite snap write
	snapshot_gone
}

topic_snapshot()
{
	local chunk kind depth chunks="8 128" kinds="N P"

	if [ -n "$QUICK" ]; then
		chunks=8 kinds=N
	fi
	for chunk in $chunks; do
		for kind in $kinds; do
			for depth in $DEPTHS; do
				snapshot_rows "$chunk" "$kind" "$depth"
			done
		done
	done
	full snapshot_refresh N
	snapshot_refresh P
}

# A view made new, after 16 MiB were written: what a checkpoint is to ours.
snapshot_refresh()
{
	local origin=${DISKS[secondary]} cow=${DISKS[hidden]} length

	length=$(sectors "$origin")
	snapshot 8 "$1" || bail "no snapshot"
	io_quiet /dev/mapper/so write 64k 256
	dm_batch "clock" "suspend so" "remove snap" "write $cow 0 0 4k" \
		"create snap 0 $length snapshot $origin $cow $1 8" "resume so" "clock"
	figure_row "snapshot-4k-$1" refresh "$(us $((ANSWER[6] - ANSWER[0])))" us
	snapshot_gone
}
