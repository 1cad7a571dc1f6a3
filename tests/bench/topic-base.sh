# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
#
# What the disk itself does, device mapper's thinnest target on it, and the least
# that any saving of old data must do.

plain_rows()
{
	local peer=$1 device=$2 depth

	for depth in $DEPTHS; do
		io_row "$peer" read "$device" randread 4k "$depth" "$COUNT"
		io_row "$peer" write "$device" randwrite 4k "$depth" "$COUNT"
	done
}

topic_base()
{
	local lower=${DISKS[secondary]}

	full plain_rows raw "$lower"
	linear_disk linear "$lower" "$(sectors "$lower")"
	plain_rows linear /dev/mapper/linear
	dmsetup remove linear
}

topic_probe()
{
	local lower=${DISKS[secondary]} depth

	probe_module
	dm_make probe "0 $(sectors "$lower") read_then_write $lower" || bail "no probe"
	for depth in 1 16; do
		io_row probe origin-first-write "$DISK" randwrite 4k "$depth" "$COUNT"
	done
	dmsetup remove probe
	rmmod dm_read_then_write
}
