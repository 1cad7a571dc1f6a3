# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Every class of request of this target.

# our_pair [FEATURE]...
our_pair()
{
	pair p "${DISKS[active]}" "${DISKS[hidden]}" "${DISKS[secondary]}" -- \
		autostart "$@" || bail "no pair"
}

# The rows of one size, order (rand or nothing) and depth. Each reads or writes
# the same places, so that each finds what the one before has left.
our_rows()
{
	local bs=$1 order=$2 depth=$3 requests=$4

	row()
	{
		io_row ours "$1" "$2" "$order$3" "$bs" "$depth" "$requests"
	}
	msg p checkpoint
	row view-read-secondary "$VIEW" read
	row origin-first-write "$ORIGIN" write
	row origin-rewrite "$ORIGIN" write
	row view-read-held "$VIEW" read
	msg p checkpoint
	row view-first-write "$VIEW" write
	row view-rewrite "$VIEW" write
	row view-read-active "$VIEW" read
	row origin-write-under-active "$ORIGIN" write
}

# Old data in hidden: all of it, as hold_mib is 0.
hidden_rows()
{
	local bs=$1 order=$2 depth=$3 requests=$4

	msg p set hold_mib 0
	msg p checkpoint
	io_row ours origin-first-write-literal "$ORIGIN" "${order}write" "$bs" "$depth" "$requests"
	io_row ours view-read-hidden "$VIEW" "${order}read" "$bs" "$depth" "$requests"
	msg p set hold_mib "$SIZE"
}

# Captures go over the limit right away and are written to hidden meanwhile.
spill_row()
{
	local bs=$1 order=$2 depth=$3 requests=$4

	msg p set hold_mib 1
	msg p checkpoint
	io_row ours spill "$ORIGIN" "${order}write" "$bs" "$depth" "$requests"
	msg p set hold_mib "$SIZE"
}

done_rows()
{
	msg p checkpoint
	msg p failover
	wait_stage p "done" 30 || bail "failover does not end"
	plain_done 16
}

plain_done()
{
	io_row ours done-read "$VIEW" randread 4k "$1" "$COUNT"
	io_row ours done-write "$VIEW" randwrite 4k "$1" "$COUNT"
}

topic_ours()
{
	our_pair hold_mib "$SIZE"
	if [ -n "$QUICK" ]; then
		io_row ours origin-first-write "$ORIGIN" randwrite 4k 1 "$COUNT"
	else
		our_rows 4k rand 1 "$COUNT"
	fi
	our_rows 4k rand 16 "$COUNT"
	hidden_rows 4k rand 16 "$COUNT"
	spill_row 4k rand 16 "$COUNT"
	spill_row 4k '' 16 "$COUNT"
	done_rows
	unpair p
}
