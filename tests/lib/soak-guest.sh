#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
#
# The part of soak-model in the guest: OPERATIONS SECONDS SEED. Prints what
# dmrepl-verify prints; a run that fails ends it.

# shellcheck source=tests/lib/guest.sh
. "$(dirname "$0")/guest.sh"

left=$1 until=$((SECONDS + $2)) seed=$3
RANDOM=$((seed % 32768))

# pick WORD...: sets PICKED. Not in a subshell: there $RANDOM begins anywhere.
pick()
{
	local -a words=("$@")

	PICKED=${words[RANDOM % $#]}
}

# disk ROLE SECTORS READ_MS WRITE_MS: sets DISK
disk()
{
	pick 0 1
	null_disk "n$1$count" 14 blocksize="$block" discard="$PICKED"
	if [ "$3$4" = 00 ]; then
		dm_make "$1" "0 $2 linear $DISK 0"
	else
		dm_make "$1" "0 $2 delay $DISK 0 $3 $DISK 0 $4"
	fi
}

# Devices of one length, one or two of them slow now and then.
make_disks()
{
	local sectors read_ms=0 write_ms=0

	pick 512 512 4096
	block=$PICKED
	sectors=$((20480 + 8 * (RANDOM % 1000)))
	[ "$block" = 4096 ] || sectors=$((sectors + RANDOM % 8))
	[ $((RANDOM % 4)) -ne 0 ] || read_ms=4
	[ $((RANDOM % 4)) -ne 0 ] || write_ms=8
	disk active "$sectors" 0 0
	active=$DISK
	disk hidden "$sectors" 0 "$write_ms"
	hidden=$DISK
	disk secondary "$sectors" "$read_ms" 0
	secondary=$DISK
	slow=$((read_ms + write_ms))
}

one_run()
{
	local -a args
	local out status=0 ops=10000

	[ "$slow" = 0 ] || ops=2500
	pick 16 16 64 64 64 256 1024 3072
	args=(--ops "$ops" --max-kib "$PICKED")
	pick failover failover promote stop
	args+=(--end "$PICKED")
	case $((RANDOM % 4)) in
	0) args+=(--vary-hold) ;;
	1 | 2)
		pick 3 6 12
		args+=(--threads "$PICKED")
		;;
	3)
		pick 4 8
		args+=(--threads "$PICKED" --vary-hold)
		pick --overlap --vary-hold
		args+=("$PICKED")
		;;
	esac
	echo "# block $block, slow $slow, ${args[*]}, seed $seed" >&2
	out=$(/repo/tools/dmrepl-verify model --view /dev/mapper/s-view \
		--origin /dev/mapper/s-origin --secondary "$secondary" \
		"${args[@]}" --seed "$seed" 2>&1) || status=$?
	grep -v '^begin ' <<<"$out"
	left=$((left - ops))
	return "$status"
}

count=0
while [ "$left" -gt 0 ] && [ "$SECONDS" -lt "$until" ]; do
	count=$((count + 1))
	seed=$((seed + 1))
	make_disks
	pick 0 1 2 32
	pair s "$active" "$hidden" "$secondary" -- hold_mib "$PICKED"
	one_run || exit 1
	unpair s
	dmsetup remove active
	dmsetup remove hidden
	dmsetup remove secondary
	for role in active hidden secondary; do
		null_gone "n$role$count"
	done
done
exit 0
