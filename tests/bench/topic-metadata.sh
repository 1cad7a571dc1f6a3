# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
#
# What the feature metadata costs: requests beside those without it and beside
# dm-snapshot's persistent form, a checkpoint, a load.

metadata_disk()
{
	null_disk "$1" "$2" irqmode=2 completion_nsec=10000 max_sectors=2048 ||
		bail "no disk"
}

# metadata_rows PEER DEPTH [FEATURE]...
metadata_rows()
{
	local peer=$1 depth=$2

	shift 2
	row()
	{
		io_row "$peer" "$1" "$2" "rand$3" 4k "$depth" "$COUNT"
	}
	our_pair hold_mib "$SIZE" "$@"
	row view-read-secondary "$VIEW" read
	row origin-first-write "$ORIGIN" write
	row origin-rewrite "$ORIGIN" write
	row view-first-write "$VIEW" write
	row view-rewrite "$VIEW" write
	row view-read-active "$VIEW" read
	dm_batch "sleep 1500000" "time message p-view checkpoint"
	figure_row "$peer" checkpoint "$(us "${ANSWER[1]%% *}")" us depth="$depth"
	unpair p
}

# A pair of 1 TiB with 100000 dirty blocks is removed and loaded.
load_row()
{
	local mib=1048576 table name

	metadata_disk load 640
	for name in active hidden secondary; do
		null_disk "big-$name" "$mib" memory_backed=0 irqmode=2 \
			completion_nsec=10000 max_sectors=2048 || bail "no disk"
	done
	pair big /dev/big-{active,hidden,secondary} -- autostart metadata /dev/load ||
		bail "no pair"
	table=$(view_table /dev/big-{active,hidden,secondary} metadata /dev/load)
	dm_batch "cover $VIEW 512 $(((mib << 20) / 100000 / 4096 * 4096)) 100000" \
		"flush $VIEW" "remove big-view" "sleep 100000" \
		"time create big-view $table" "status big-view"
	figure_row ours-metadata load "$(us "${ANSWER[4]%% *}")" us size_mib="$mib" \
		dirty=100000 status="${ANSWER[5]}"
	unpair big
	# The same records, as fast as the disk gives them.
	io_row raw load /dev/load read 1m 1 512
}

topic_metadata()
{
	local depth

	metadata_disk meta 1
	counted metadata /dev/meta
	for depth in $DEPTHS; do
		metadata_rows ours "$depth"
		blkio zeroout /dev/meta 0 1m
		metadata_rows ours-metadata "$depth" metadata /dev/meta
		snapshot_rows 8 P "$depth"
	done
	load_row
}
