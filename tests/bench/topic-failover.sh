# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Failover: until the first write is served, until all is copied; against a raw
# copy of the same extents, and against snapshot-merge.

# dirty PATTERN DEVICE: the writes of a pattern.
dirty()
{
	case $1 in
	whole) io_quiet "$2" write 1m $((SIZE * 3 / 4)) ;;
	spots) io_quiet "$2" write:60k 4k $((SIZE * 16)) ;;
	esac
}

# extents PATTERN: start, length, stride, count, in sectors.
extents()
{
	case $1 in
	whole) echo "0 2048 2048 $((SIZE * 3 / 4))" ;;
	spots) echo "0 8 128 $((SIZE * 16))" ;;
	esac
}

# mib_s PATTERN NANOSECONDS
mib_s()
{
	local length count

	read -r _ length _ count <<<"$(extents "$1")"
	echo "$((length * count * 512)) $2" |
		awk '{ printf "%.2f", $1 / 1048576 / ($2 / 1e9) }'
}

# copied_by PEER PATTERN SIDE NANOSECONDS [KEY=VALUE]...: one more row.
copied_by()
{
	local peer=$1 pattern=$2 side=$3 ns=$4

	shift 4
	figure_row "$peer" commit-speed "$(mib_s "$pattern" "$ns")" mib_s \
		pattern="$pattern" side="$side" "$@"
}

# commit_row PATTERN active|hidden: the commit goes upwards and begins at 0, where
# a write waits until its MiB is copied.
commit_row()
{
	local pattern=$1 side=$2

	if [ "$side" = active ]; then
		our_pair
		dirty "$pattern" "$VIEW"
	else
		our_pair hold_mib 0
		dirty "$pattern" "$ORIGIN"
	fi
	dm_batch "clock" "message p-view failover" "write $VIEW 7 $((SIZE / 2 + 1))m 4k" \
		"clock" "write $VIEW 7 0 4k" "clock" "until p-view *?done?* 20000" "clock"
	copied_by ours "$pattern" "$side" $((ANSWER[7] - ANSWER[0]))
	figure_row ours failover-first-write "$(us $((ANSWER[3] - ANSWER[0])))" us \
		pattern="$pattern" side="$side" place=ahead
	figure_row ours failover-first-write "$(us $((ANSWER[5] - ANSWER[0])))" us \
		pattern="$pattern" side="$side" place=being-copied
	unpair p
}

# The time of a commit while four writers are at work on the view, all within
# what is to be copied, so that there is not more of it.
busy_row()
{
	our_pair
	dirty whole "$VIEW"
	load "$VIEW" --iodepth=1 --numjobs=4 --group_reporting
	dm_batch "sleep 20000" "clock" "message p-view failover" \
		"write $VIEW 7 $((SIZE / 2 + 1))m 4k" "clock" "until p-view *?done?* 60000" "clock"
	load_end
	copied_by ours whole active $((ANSWER[6] - ANSWER[1])) writers=4
	figure_row ours failover-first-write "$(us $((ANSWER[4] - ANSWER[1])))" us \
		pattern=whole side=active place=ahead writers=4
	unpair p
}

# raw_rows PATTERN SIDE: by kcopyd, 16 at a time as ours copies leaves, and more.
raw_rows()
{
	local pattern=$1 side=$2 flight secondary=${DISKS[secondary]}

	dm_make copy "0 $(sectors "$secondary") read_then_write $secondary ${DISKS[$side]}"
	for flight in 16 256; do
		dm_batch "message copy copy $(extents "$pattern") $flight"
		copied_by raw "$pattern" "$side" "${ANSWER[0]}" in_flight="$flight"
	done
	dmsetup remove copy
}

# merge_row PATTERN: what was written to a snapshot goes back into its origin. A
# merge has ended when nothing but its own header is left.
merge_row()
{
	local lower=${DISKS[secondary]} cow=${DISKS[hidden]} length

	length=$(sectors "$lower")
	snapshot 8 P || bail "no snapshot"
	dirty "$1" /dev/mapper/snap
	dmsetup suspend so
	dmsetup remove snap
	dm_batch "load so 0 $length snapshot-merge $lower $cow P 8" "clock" "resume so" \
		"until so *merge?16/*?16 60000" "clock"
	copied_by snapshot-4k-P "$1" merge $((ANSWER[4] - ANSWER[1]))
	dmsetup remove so
}

topic_failover()
{
	local pattern patterns="whole spots"

	probe_module
	for pattern in $patterns; do
		raw_rows "$pattern" active
		commit_row "$pattern" active
		full raw_rows "$pattern" hidden
		full commit_row "$pattern" hidden
		merge_row "$pattern"
	done
	busy_row
	rmmod dm_read_then_write
}
