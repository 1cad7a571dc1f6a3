#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# vm: --smp 2 --mem 768 --timeout 120
#
# Active and hidden on a thin pool that is full and says so: both policies for
# old data that cannot be saved, and writes of the view that find no space.

# shellcheck source=tests/lib/guest.sh
. "$(dirname "$0")/../lib/guest.sh"
# shellcheck source=tests/lib/faults.sh
. "$(dirname "$0")/../lib/faults.sh"

view=/dev/mapper/p-view
origin=/dev/mapper/p-origin

# Two thin disks of 4 MiB, with room for 1 MiB at first: 16 chunks of 64 KiB.
pool()
{
	echo "0 $1 thin-pool /dev/mapper/pool-meta /dev/mapper/pool-data 128 0 2 skip_block_zeroing error_if_no_space"
}

null_disk meta 4 || bail "no disk"
linear_disk pool-meta "$DISK" 8192
null_disk data 16
data=$DISK
linear_disk pool-data "$data" 2048
dm_make pool "$(pool 2048)" || bail "no thin pool"
dmsetup message pool 0 create_thin 0
dmsetup message pool 0 create_thin 1

RAW_DISK[secondary]=
DISK_SECTORS=8192
null_disk secondary0 4
RAW_DISK[secondary]=$DISK
linear_disk secondary "$DISK" 8192
model view 4
model secondary 4
head -c 4M /dev/urandom >"$SCRATCH/secondary"
dd if="$SCRATCH/secondary" of="${RAW_DISK[secondary]}" bs=1M oflag=direct status=none

room()
{
	tables "swap pool-data 0 $1 linear $data 0" "swap pool $(pool "$1")"
}

# Empty thin disks under active and hidden.
empty_thin()
{
	tables "create active 0 8192 thin /dev/mapper/pool 0" \
		"create hidden 0 8192 thin /dev/mapper/pool 1"
}

forget_thin()
{
	local i

	tables "remove active" "remove hidden"
	for i in 0 1; do
		dmsetup message pool 0 delete $i
		dmsetup message pool 0 create_thin $i
	done
}

# Origin writes of 64 KiB, one in each chunk, until one fails; prints how many.
fill()
{
	local i

	for ((i = 0; i < 64; i++)); do
		stamp "$1" $((i + 1)) $((i * 64))k 64k || break
		stamp "${MODEL_DISK[$2]}" $((i + 1)) $((i * 64))k 64k
	done
	filled=$i
	last=$ANSWER
}

t="hidden is full, policy fail"
empty_thin
fresh hold_mib 0
fill $origin secondary
is "$filled" 16 "$t: the pool's 16 chunks take 16 writes"
is "$last" ENOSPC "$t: the next one finds no space"
error_is "$t" spill 2048 1 -28
is "$(stage p)" running "$t: the pair runs on"
as_they_must "$t"
put origin 0x80 0 1m
as_they_must "$t, what is saved is written again"

t="active is full"
fails "$t: a view write finds no space" ENOSPC write $view 0x81 2m 64k
is "$(st p active)" 0 "$t: it leaves no mark"
as_they_must "$t"

t="the pool has grown"
room 8192
put origin 0x82 1m 64k
put view 0x83 2m 64k
as_they_must "$t: retries succeed"
works "$t: checkpoint" message p-view checkpoint
model_checkpoint
as_they_must "$t, after a checkpoint"
put view 0x84 0 64k
put origin 0x85 32k 64k
works "$t: failover" message p-view failover
wait_stage p "done" 20
model_failover
as_they_must "$t, after failover"
gone
forget_thin

# The pool has 64 chunks now: 62 are the other disk's.
t="hidden is full, policy drop_view"
empty_thin
stamp /dev/mapper/active 0xaa 0 $((62 * 64))k
fresh hold_mib 0 on_capture_error drop_view
fill $origin secondary
is "$filled" 64 "$t: every origin write succeeds"
is "$(stage p)" invalid "$t: the view is invalid"
is "$(get_error p)" "-28 spill sector 256 total 1" "$t: get_error says why"
fails "$t: it cannot be read" EIO read $view 0 4k
fails "$t: it cannot be written" EIO write $view 9 0 4k
holds "${RAW_DISK[secondary]}" secondary "$t: secondary has all of it"
works "$t: start" message p-view start
model_checkpoint
no_error "$t, started anew"
put origin 0x86 64k 64k
put view 0x87 32k 4k
as_they_must "$t, started anew"
put origin 0x88 1m 64k
is "$(stage p)" invalid "$t: invalid again"
works "$t: promote" message p-view promote
model_checkpoint
as_they_must "$t, promoted"
gone
forget_thin

plan_end
