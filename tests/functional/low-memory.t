#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# vm: --smp 2 --mem 640 --timeout 240
#
# So little memory is left that captures cannot grow to what hold_mib allows: they
# go to hidden, and every request, checkpoint and failover still ends, and right.

# shellcheck source=tests/lib/guest.sh
. "$(dirname "$0")/../lib/guest.sh"

MIB=48
LEFT=40		# MiB that stay free, 16 of them for others than captures
disks=()
for name in active hidden secondary; do
	null_disk "$name" $MIB || bail "no disk"
	disks+=("$DISK")
	# such a disk allocates what is written for the first time
	stamp "$DISK" 0xee 0 ${MIB}m || bail "no room for the disks"
done
modprobe dm-replication hold_mib_total=$MIB
pair p "${disks[@]}" -- hold_mib $MIB || bail "no pair"

free_mib()
{
	local key value

	while read -r key value _; do
		[ "$key" != "$1:" ] || echo $((value / 1024))
	done </proc/meminfo
}

# Nobody can take these pages away. The rest of the page cache may go.
hog()
{
	mkdir -p /hog
	mount -t tmpfs -o size=100% hog /hog
	echo 3 >/proc/sys/vm/drop_caches
	fallocate -l $(($(free_mib MemFree) - LEFT))m /hog/memory
}

# ends SECONDS TEXT COMMAND...
ends()
{
	run_ok "$2" timeout $(($1 * ${SLOW:-1})) "${@:3}"
}

stamp "$ORIGIN" 0x11 0 ${MIB}m
msg p start
run_ok "somebody takes all memory but $LEFT MiB" hog
ends 60 "the stream overwrites the disk" blkio write "$ORIGIN" 0x22 0 ${MIB}m
held=$(($(st p held) / 2048))
diag "held $held MiB, spilled $(st p spills) pages; free $(free_mib MemFree) MiB"
ok $((held >= LEFT)) "what is held did not grow beyond the memory there was"
isnt "$(st p spills)" 0 "the rest went to hidden"
is "$(st p errors)" 0 "nothing failed"
expect "$VIEW" 0x11 0 ${MIB}m "the view stands still"
ends 20 "checkpoint" dmsetup message p-view 0 checkpoint
expect "$VIEW" 0x22 0 ${MIB}m "the view is what the replica was"

blkio write "$ORIGIN" 0x33 0 ${MIB}m &
for ((at = 8; at < 12; at++)); do
	ends 60 "the view is written meanwhile, MiB $at" blkio write "$VIEW" 0x44 ${at}m 1m
done
wait $!
ok $? "the stream has overwritten the disk once more"
run_ok "failover" dmsetup message p-view 0 failover
wait_stage p "done" 60
is "$(stage p)" "done" "it ends"
expect "$VIEW" 0x22 0 8m "the view is what it was before"
expect "$VIEW" 0x44 8m 4m "and what was written to it"
expect "$VIEW" 0x22 12m $((MIB - 12))m "and what it was after that"
ok $(($(free_mib MemFree) > LEFT + 8)) "no memory came free meanwhile"
is "$(dmesg | grep -c 'oom-killer')" 0 "and nobody was killed for it"
rm /hog/memory
unpair p

# --- where there is enough: kept for the next epoch, then given back ---------------

has_free()
{
	[ "$(free_mib MemFree)" -ge "$1" ]
}

run_ok "a pair once more" pair p "${disks[@]}" -- autostart hold_mib $MIB
plenty=$(free_mib MemFree)
blkio write "$ORIGIN" 0x55 0 ${MIB}m
is "$(st p held)" $((MIB * 2048)) "all of the disk is held"
run_ok "checkpoint" dmsetup message p-view 0 checkpoint
sleep 3
ok "$(has_free $((plenty - MIB / 2)); echo $((!$?)))" "3 s later the next epoch can have the pages"
run_ok "in the end they are given back" wait_until 30 has_free $((plenty - MIB / 4))

# All pairs together may have one disk's worth.
others=()
for name in active2 hidden2 secondary2; do
	null_disk "$name" $((MIB / 2)) || bail "no disk"
	others+=("$DISK")
	stamp "$DISK" 0xee 0 $((MIB / 2))m || bail "no room for the disks"
done
blkio write "$ORIGIN" 0x66 0 ${MIB}m
run_ok "checkpoint" dmsetup message p-view 0 checkpoint
run_ok "another pair" pair q "${others[@]}" -- autostart hold_mib $MIB
blkio write /dev/mapper/q-origin 0x55 0 $((MIB / 2))m
isnt "$(st q spills)" 0 "the first one has all the pages there may be"
sleep 4
run_ok "its checkpoint" dmsetup message q-view 0 checkpoint
blkio write /dev/mapper/q-origin 0x66 0 $((MIB / 2))m
is "$(st q held)" $((MIB * 1024)) "soon it has given some to the other, which was refused"
unpair q
unpair p
plan_end
