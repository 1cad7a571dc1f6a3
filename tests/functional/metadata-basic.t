#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# vm: --smp 2 --mem 768 --timeout 120
#
# Feature metadata: a pair is found again where it was, after a removal and
# after a crash; which metadata devices are refused.

# shellcheck source=tests/lib/guest.sh
. "$(dirname "$0")/../lib/guest.sh"

mib=8
roles=(active hidden secondary metadata)
declare -A disk copy
for name in "${roles[@]}"; do
	null_disk "$name" "$mib"
	disk[$name]=$DISK
	null_disk "copy-$name" "$mib"
	copy[$name]=$DISK
done
three=("${disk[active]}" "${disk[hidden]}" "${disk[secondary]}")

# crash NAME: the pair p goes on, NAME comes up on copies of its disks.
crash()
{
	local name

	for name in "${roles[@]}"; do
		dd if="${disk[$name]}" of="${copy[$name]}" bs=1M iflag=direct \
			oflag=direct status=none || bail "dd $name"
	done
	pair "$1" "${copy[active]}" "${copy[hidden]}" "${copy[secondary]}" \
		fenced -- metadata "${copy[metadata]}" || bail "pair $1"
}

load_p()
{
	pair p "${three[@]}" "$@" -- metadata "${disk[metadata]}"
}

stamp "${disk[secondary]}" 0x10 0 8m
run_ok "a blank device becomes the metadata device" load_p
VIEW=/dev/mapper/p-view ORIGIN=/dev/mapper/p-origin
is "$(stage p)" none "the pair is in stage none"
like "$(dmsetup table p-view)" "2 metadata [0-9]+:[0-9]+$" "the table names it"
run_ok "start" msg p start
read -r -a words < <(dmsetup status p-view)
nflags=${words[17]}
is "${words[18 + nflags]}" $((${#words[@]} - 19 - nflags)) \
	"the status counts the words that follow, the device among them"
stamp "$ORIGIN" 0x22 0 1m
stamp "$ORIGIN" 0x23 3m 4k
stamp "$VIEW" 0x33 2m 8k
stamp "$VIEW" 0x34 3m 512
expect "$VIEW" 0x10 0 1m "the view stands still"
is "$(st p held)" 0 "nothing is held in memory alone"

run_ok "flush" blkio flush "$VIEW"
crash q
is "$(stage q)" running "after a crash it runs"
is "$(st q epoch)" "$(st p epoch)" "in the same epoch"
is "$(ost q fence)" open "its origin is open again"
expect "$VIEW" 0x10 0 1m "the frozen data is there"
expect "$VIEW" 0x33 2m 8k "the view's own data is there"
expect "$VIEW" 0x34 3m 512 "of a block, too"
expect "$VIEW" 0x10 $((3 * 1048576 + 512)) 3584 "with old data beside it"
stamp "$ORIGIN" 0x44 4m 64k
expect "$VIEW" 0x10 4m 64k "captures go on"
unpair q

VIEW=/dev/mapper/p-view ORIGIN=/dev/mapper/p-origin
run_ok "a FUA write" blkio fua "$VIEW" 0x35 5m 4k
crash q
expect "$VIEW" 0x35 5m 4k "is durable by itself"
unpair q

VIEW=/dev/mapper/p-view ORIGIN=/dev/mapper/p-origin
stamp "$VIEW" 0x36 6m 4k
run_ok "the pair goes" unpair p
run_ok "and comes back" load_p fenced
is "$(stage p)" running "running"
expect "$VIEW" 0x36 6m 4k "a removal loses nothing that was acknowledged"
expect "$VIEW" 0x10 0 1m "the frozen data is there"

run_ok "checkpoint" msg p checkpoint
expect "$VIEW" 0x22 0 1m "the view is refreshed"
crash q
is "$(st q epoch)" "$(st p epoch)" "the new epoch is found"
expect "$VIEW" 0x22 0 1m "the view is that of the checkpoint"
expect "$VIEW" 0x10 2m 8k "what the view had written before is gone"
is "$(st q active) $(st q saved)" "0 0" "both sets are empty"
unpair q

VIEW=/dev/mapper/p-view ORIGIN=/dev/mapper/p-origin
run_ok "guard on" msg p guard on
crash q
like "$(st q flags)" guarded "the guard is found"
unpair q
run_ok "guard off" msg p guard off

VIEW=/dev/mapper/p-view ORIGIN=/dev/mapper/p-origin
stamp "$ORIGIN" 0x51 1m 6m
stamp "$VIEW" 0x61 1m 4k
run_ok "flush" blkio flush "$VIEW"
msg p set commit_rate_mib 1
run_ok "failover" msg p failover
is "$(stage p)" failover "it lasts"
crash q
run_ok "a crash in the middle: it goes on by itself" wait_stage q "done" 20
is "$(ost q fence)" fenced "the origin is fenced"
expect "$VIEW" 0x61 1m 4k "the view's own data is the disk"
expect "$VIEW" 0x10 $((1048576 + 4096)) 60k "what the origin wrote is undone"
expect "${copy[secondary]}" 0x61 1m 4k "on secondary"
unpair q
msg p set commit_rate_mib 0
run_ok "the failover ends" wait_stage p "done" 20
run_ok "the pair goes" unpair p
run_ok "and comes back" load_p
is "$(stage p) $(ost p fence)" "done fenced" "promoted and fenced, though its origin was loaded open"
run_ok "the view goes" dmsetup remove p-view
run_ok "the origin rejoins" omsg p rejoin
run_ok "the view comes back" dm_make p-view "$(view_table "${three[@]}" metadata "${disk[metadata]}")"
is "$(stage p) $(ost p fence)" "none open" "the fence stays lifted"
unpair p

refused()
{
	klog_mark
	if dmsetup create r --table "$(view_table "${three[@]}" metadata "$1")" 2>/dev/null; then
		ok 1 "$3"
		dmsetup remove r
		return
	fi
	like "$(klog_since)" "$2" "$3"
}

null_disk foreign 8
stamp "$DISK" 0x01 63k 512
refused "$DISK" "neither blank nor a metadata device" "a foreign device is refused"
linear_disk small "$DISK" 64
refused "$DISK" "has 32768 bytes, it needs 65536" "a small one is refused"
LENGTH=8192 refused "${disk[metadata]}" "Lengths differ" "as ever, a line of another length"
linear_disk short-s "${disk[secondary]}" 8192
linear_disk short-a "${disk[active]}" 8192
linear_disk short-h "${disk[hidden]}" 8192
three=(/dev/mapper/short-a /dev/mapper/short-h /dev/mapper/short-s)
refused "${disk[metadata]}" "of devices of 16384 sectors, these have 8192" "other lengths are refused"
plan_end
