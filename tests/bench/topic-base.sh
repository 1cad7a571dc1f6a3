# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
#
# What the disk itself does, and device mapper's thinnest target on it.

plain_rows()
{
	local peer=$1 device=$2 depth

	for depth in 1 16; do
		io_row "$peer" read "$device" randread 4k "$depth" "$COUNT"
		io_row "$peer" write "$device" randwrite 4k "$depth" "$COUNT"
	done
}

topic_base()
{
	local disk=${DISKS[secondary]}

	plain_rows raw "$disk"
	linear_disk linear "$disk" "$(sectors "$disk")"
	plain_rows linear /dev/mapper/linear
	dmsetup remove linear
}
