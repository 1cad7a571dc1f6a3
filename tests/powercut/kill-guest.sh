#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
#
# In the machine that tests/powercut/kill kills: look whether the pair on
# /dev/vda (active), vdb (hidden), vdc (secondary), vdd (metadata) has all that
# was said before, then say more until the end.
#
#	kill-guest.sh EPOCH WRITES FAILOVER SEED
#
# EPOCH: the last that was said; WRITES: so many writes of the view were said to
# be flushed in it; FAILOVER: 1 if one was begun, 2 if one is to be begun now.
# The epoch's number modulo 250 is the byte in each block of the origin when it
# begins; the view writes 4 KiB blocks from 8 MiB on, one after the other.

. "$(dirname "$0")/../lib/guest.sh"

modprobe virtio_pci
modprobe virtio_blk
wait_until 20 test -b /dev/vdd || bail "no disks"
coproc DMIO { exec dmio; }

epoch=$1 writes=$2 failover=$3
RANDOM=$4
VIEW=/dev/mapper/p-view ORIGIN=/dev/mapper/p-origin
mib=16

# dmio WORD...: a request, or a message.
dmio()
{
	printf '%s\n' "$*" >&"${DMIO[1]}"
	IFS= read -r ANSWER <&"${DMIO[0]}"
	[[ $ANSWER == ok* ]]
}

must()
{
	dmio "$@" || bail "$*: $ANSWER"
}

byte()
{
	echo $(($1 % 250 + 1))
}

own()
{
	echo $((($1 + 100) % 256))
}

# holds_epoch N: the half that the view does not write is that of epoch N.
holds_epoch()
{
	dmio holds "$VIEW" "$(byte "$1")" 0 8m
}

look_at_view()
{
	local i

	if holds_epoch $((epoch + 1)); then
		# A checkpoint was under way.
		epoch=$((epoch + 1)) writes=0
	elif ! holds_epoch "$epoch"; then
		bail "the view is not of epoch $epoch or the next: $ANSWER"
	fi
	for ((i = writes > 512 ? writes - 512 : 0; i < writes; i++)); do
		must holds "$VIEW" "$(own "$i")" $((8388608 + i % 2048 * 4096)) 4096
	done
	ok 0 "epoch $epoch, $writes writes of the view are there"
}

load_pair()
{
	pair p /dev/vda /dev/vdb /dev/vdc fenced -- metadata /dev/vdd ||
		bail "the pair cannot be loaded"
}

# The replica becomes that of the next epoch.
fill_origin()
{
	local i

	for ((i = 0; i < mib; i++)); do
		must write "$ORIGIN" "$(byte $((epoch + 1)))" "${i}m" 1m
	done
}

checkpoint()
{
	fill_origin
	must message p-view "$1"
	epoch=$((epoch + 1)) writes=0
	echo "said $epoch 0"
}

disturb()
{
	local i

	for ((i = 0; i < 6; i++)); do
		must write "$ORIGIN" "$(byte $((epoch + 1)))" \
			$((RANDOM % 4000))k $((RANDOM % 16 * 4 + 4))k
		must write "$ORIGIN" "$(byte $((epoch + 1)))" \
			$((8192 + RANDOM % 2000 * 4))k 4k
	done
}

work()
{
	local n=$((RANDOM % 8 + 1))

	while [ $((n--)) -gt 0 ]; do
		must write "$VIEW" "$(own "$writes")" $((8388608 + writes % 2048 * 4096)) 4096
		writes=$((writes + 1))
	done
	must flush "$VIEW"
	echo "said $epoch $writes"
}

load_pair
if [ "$(stage p)" = none ] && [ "$epoch" -eq 0 ]; then
	checkpoint start
else
	if [ "$failover" -eq 1 ]; then
		wait_stage p "done" 30 || [ "$(stage p)" = running ] ||
			bail "stage $(stage p)"
	fi
	look_at_view
fi
if [ "$(stage p)" = "done" ]; then
	run_ok "the view goes" dmsetup remove --retry p-view
	omsg p rejoin
	dm_make p-view "$(view_table /dev/vd{a,b,c} metadata /dev/vdd)"
	checkpoint start
fi
is "$(stage p)" running "it runs"
echo "said $epoch $writes" # it may be killed before it says more
echo "ready"
for ((round = 0; ; round++)); do
	if [ "$failover" -eq 2 ] && [ "$round" -eq 3 ]; then
		must message p-view set commit_rate_mib 4
		must message p-view failover
		echo "failover"
	fi
	[ "$(stage p)" != running ] || disturb
	work
	[ $((round % 20)) -ne 19 ] || [ "$(stage p)" != running ] ||
		checkpoint checkpoint
done
