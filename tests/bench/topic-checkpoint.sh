# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
#
# What a checkpoint costs: idle, against how much is dirty and how large the
# disk is, and under load.

# big_pair NAME SIZE_MIB [FEATURE]...: of disks that keep no data.
big_pair()
{
	local name=$1 mib=$2 disk disks=()

	shift 2
	for disk in active hidden secondary; do
		null_disk "$name-$disk" "$mib" memory_backed=0 irqmode=2 \
			completion_nsec=10000 max_sectors=2048 || return
		disks+=("$DISK")
	done
	pair "$name" "${disks[@]}" -- autostart "$@"
}

big_gone()
{
	local disk

	unpair "$1"
	for disk in active hidden secondary; do
		null_gone "$1-$disk"
	done
}

# dirty_command DEVICE SIZE_MIB BLOCKS BYTES: writes of that many bytes, as many
# as it takes to make that many blocks dirty, all over the disk.
dirty_command()
{
	local count=$(($3 * 512 / $4))

	echo "cover $1 $4 $((($2 << 20) / count / $4 * $4)) $count"
}

# idle_row NAME SIZE_MIB BLOCKS BYTES view|origin: checkpoints, each of as many
# dirty blocks, each when all is quiet. The least of four is the one that no timer
# interrupt fell into; before all others, so that a worker which the message wakes
# does not run in its middle now and then.
idle_row()
{
	local name=$1 mib=$2 blocks=$3 side=$5 i commands=() asked=() whole=() pause=()
	local writes=() of

	of=(size_mib="$mib" dirty="$blocks" side="$side" \
		dirty_mib="$(awk "BEGIN { printf \"%.3f\", $blocks / 2048 }")")

	[ "$blocks" -eq 0 ] ||
		writes=("$(dirty_command "/dev/mapper/$name-$side" "$mib" "$blocks" "$4")")
	for i in 1 2 3 4; do
		commands+=("${writes[@]}" "sleep $((2000000 + i * 1234))")
		asked+=("${#commands[@]}")
		commands+=("time message $name-view checkpoint" "status $name-view")
	done
	dm_batch_first "${commands[@]}"
	for i in "${asked[@]}"; do
		read -r -a values <<<"${ANSWER[i + 1]}"
		whole+=("${ANSWER[i]%% *}")
		pause+=("${values[12]%/*}")
	done
	figure_row ours checkpoint-idle "$(us "$(least "${whole[@]}")")" us \
		"${of[@]}"
	figure_row ours checkpoint-idle-pause "$(least "${pause[@]}")" us \
		"${of[@]}"
}

topic_checkpoint()
{
	big_pair big 1048576 hold_mib 64 || bail "no large pair"
	idle_row big 1048576 0 512 view
	idle_row big 1048576 1000 512 view
	if [ -n "$QUICK" ]; then
		idle_row big 1048576 100000 32768 view
		idle_row big 1048576 1000000 524288 view
	else
		idle_row big 1048576 100000 4096 view
		idle_row big 1048576 1000000 32768 view
	fi
	idle_row big 1048576 100000 65536 origin
	big_gone big
	big_pair small 256 || bail "no pair"
	idle_row small 256 0 512 view
	idle_row small 256 1000 512 view
	idle_row small 256 100000 65536 view
	idle_row small 256 524288 1048576 view
	big_gone small
}

# load DEVICE NAME: random writes at depth 16 until load_end.
LOAD=()
load()
{
	fio --name=load --filename="$1" --rw=randwrite --bs=4k --iodepth=16 \
		--ioengine=libaio --direct=1 --thread --randseed="$SEED_IO" \
		--time_based --runtime=3600 --size="${SIZE}m" "${@:2}" >/tmp/load.out 2>&1 &
	LOAD+=($!)
	while read -r -a values <"$(sysblock "$1")/stat" && [ "${values[4]}" -lt 100 ]; do
		sleep 0.01
	done
}

load_end()
{
	kill -INT "${LOAD[@]}"
	wait "${LOAD[@]}"
	LOAD=()
}

# Checkpoints with view and origin at depth 16. How many requests are in flight
# by the kernel's count is asked just before each: on one busy processor that is
# little, as most of a load's 16 requests have ended and wait for it to see that.
topic_pause()
{
	local commands=() i rounds=60 values pauses=() pause longest=0 flight=0

	our_pair hold_mib "$SIZE"
	load "$VIEW"
	load "$ORIGIN"
	for ((i = 0; i < rounds; i++)); do
		commands+=("sleep 3000" "line $(sysblock "$VIEW")/inflight"
			"line $(sysblock "$ORIGIN")/inflight"
			"message p-view checkpoint" "status p-view")
	done
	dm_batch "${commands[@]}"
	load_end
	for ((i = 0; i < rounds; i++)); do
		read -r -a values <<<"${ANSWER[i * 5 + 1]} ${ANSWER[i * 5 + 2]}"
		flight=$((flight + values[0] + values[1] + values[2] + values[3]))
		read -r -a values <<<"${ANSWER[i * 5 + 4]}"
		pause=${values[12]%/*}
		pauses+=("$pause")
		[ "$pause" -le "$longest" ] || longest=$pause
	done
	say "# pauses: ${pauses[*]} us"
	figure_row ours checkpoint-loaded-longest "$longest" us depth=32 cpus="$(nproc)" \
		in_flight_mean="$(awk "BEGIN { print $flight / $rounds }")"
	figure_row ours checkpoint-loaded-median "$(median "${pauses[@]}")" us depth=32 cpus="$(nproc)"
	unpair p
}
