# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Larger requests, in order as a replication stream sends them, and at random.

# requests_of BS: not more than there is room for.
requests_of()
{
	local room

	room=$(((SIZE * 15 << 16) / $(bytes "$1")))
	echo $((room < COUNT / 8 ? room : COUNT / 8))
}

# The disks as they are: null_blk divides 1 MiB, which has more segments than it
# takes.
topic_sizes()
{
	local bs

	dm_make linear "0 $(sectors "${DISKS[secondary]}") linear ${DISKS[secondary]} 0"
	for bs in 64k 1m; do
		io_row linear write "$DISK" write "$bs" 16 "$(requests_of "$bs")"
	done
	full more_linear
	dmsetup remove linear
	our_pair hold_mib "$SIZE"
	if [ -n "$QUICK" ]; then
		our_streams
	else
		more_ours
	fi
	unpair p
}

# What a replication stream does: after a checkpoint, and (cold) while the pool
# still has to get its pages, which this kernel fills with zeroes.
our_streams()
{
	local bs n what

	for bs in 64k 1m; do
		n=$(requests_of "$bs")
		for what in origin-first-write-cold origin-first-write; do
			[ "$what" = origin-first-write ] || sleep 3
			msg p checkpoint
			io_row ours "$what" "$ORIGIN" write "$bs" 16 "$n"
		done
	done
}

more_linear()
{
	local bs depth

	for bs in 64k 1m; do
		io_row linear write /dev/mapper/linear write "$bs" 1 "$(requests_of "$bs")"
		for depth in 1 16; do
			io_row linear read /dev/mapper/linear read "$bs" "$depth" "$(requests_of "$bs")"
			io_row linear read /dev/mapper/linear randread "$bs" "$depth" "$(requests_of "$bs")"
			io_row linear write /dev/mapper/linear randwrite "$bs" "$depth" "$(requests_of "$bs")"
		done
	done
}

more_ours()
{
	local bs

	for bs in 64k 1m; do
		our_rows "$bs" '' 1 "$(requests_of "$bs")"
		our_rows "$bs" '' 16 "$(requests_of "$bs")"
		our_rows "$bs" rand 1 "$(requests_of "$bs")"
		our_rows "$bs" rand 16 "$(requests_of "$bs")"
		spill_row "$bs" '' 16 "$(requests_of "$bs")"
		spill_row "$bs" rand 16 "$(requests_of "$bs")"
	done
}

# Disks without any latency: the processor's work is all that counts.
topic_brd()
{
	local bs

	null_disks_gone
	brd_disks "$SIZE" || bail "no brd disks"
	dm_make linear "0 $(sectors "${DISKS[secondary]}") linear ${DISKS[secondary]} 0"
	for bs in 64k 1m; do
		io_row linear write "$DISK" write "$bs" 16 "$(requests_of "$bs")"
	done
	full plain_rows linear "$DISK"
	dmsetup remove linear
	our_pair hold_mib "$SIZE"
	our_streams
	full our_rows 4k rand 16 "$COUNT"
	unpair p
	full brd_snapshot
	null_disks "$SIZE" || bail "no disks"
}

brd_snapshot()
{
	local bs chunk

	for chunk in 8 128; do
		for bs in 64k 1m; do
			snapshot "$chunk" N || bail "no snapshot"
			io_row "snapshot-$((chunk / 2))k-N" origin-first-write \
				/dev/mapper/so write "$bs" 16 "$(requests_of "$bs")"
			snapshot_gone
		done
	done
}
