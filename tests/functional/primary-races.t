#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# vm: --smp 2 --mem 768 --timeout 150
#
# A primary's requests that meet: writes of the same sectors, a page that is
# changed while it is being written, the resync and the guest. A disk that holds
# what comes until it is mended makes each race come out the same way each time.

# shellcheck source=tests/lib/guest.sh
. "$(dirname "$0")/../lib/guest.sh"
# shellcheck source=tests/lib/primary.sh
. "$(dirname "$0")/../lib/primary.sh"

two_faulty 16 || bail "no disks"
make_p autostart || bail "no primary"
resynced "the first time"

# under_way TEXT NAME...: what was begun has not ended, nor does it soon.
under_way()
{
	local name

	sleep 0.4
	for name in "${@:2}"; do
		is "$(outcome "$name" 0)" "under way" "$1: $name waits"
	done
}

# ended TEXT NAME...
ended()
{
	local name

	for name in "${@:2}"; do
		is "$(outcome "$name")" OK "$1: $name ends"
	done
}

t="two writes of one place"
break_disk replica hold-writes
begin first blkio write $PRIMARY 0x21 1m 64k
wait_held replica 1
begin second blkio write $PRIMARY 0x22 1m 64k
begin third blkio write $PRIMARY 0x23 1m 4k
begin other blkio write $PRIMARY 0x24 2m 4k
wait_held replica 2
under_way "$t" first second third other
on "${RAW_DISK[local]}" 0x21 1m 64k "$t: the second has not left for local either"
on "${RAW_DISK[local]}" 0x24 2m 4k "$t: one elsewhere has"
mend replica
ended "$t" first second third other
equal "$t: equal"

t="the same with local slow"
break_disk local hold-writes
begin first blkio write $PRIMARY 0x25 1m 64k
wait_held local 1
begin second blkio write $PRIMARY 0x26 1052672 64k
under_way "$t" first second
on "${RAW_DISK[replica]}" 0x25 1m 64k "$t: the first is on the replica"
mend local
ended "$t" first second
equal "$t: equal"

# The buffer is changed after local has been written, before the replica is.
t="a page rewritten in flight"
break_disk replica hold-writes
begin rewrite rewrite $PRIMARY 3m 64k 0x31 0x32
wait_held replica 1
wait_until 10 grep -q changed "$SCRATCH/rewrite.out"
ok $? "$t: it is changed"
under_way "$t" rewrite
mend replica
ended "$t" rewrite
equal "$t: both have the same"
on $REPLICA 0x31 3m 64k "$t: what it was when it was sent"

t="and the replica first"
break_disk local hold-writes
begin rewrite rewrite $PRIMARY 3m 64k 0x33 0x34
wait_held local 1
wait_until 10 grep -q changed "$SCRATCH/rewrite.out"
ok $? "$t: it is changed"
mend local
ended "$t" rewrite
equal "$t: both have the same"

# --- the resync --------------------------------------------------------------------

t="a write meets a copy"
works "$t: stop" message p stop
works "$t: write" write $PRIMARY 0x41 4m 64k
works "$t: start" message p start
break_disk replica hold-writes 8192 128
works "$t: start_resync" message p start_resync
wait_held replica 1
begin write blkio write $PRIMARY 0x42 4194304 4k
begin straddle blkio write $PRIMARY 0x43 4255744 8k
under_way "$t" write straddle
on $PRIMARY 0x41 4m 64k "$t: reads do not wait"
works "$t: a write elsewhere does not wait" write $PRIMARY 0x44 5m 4k
mend replica
ended "$t" write straddle
comes_to "$t: the resync ends" 10 "dirty flags" 0
equal "$t: equal"
on $REPLICA 0x42 4m 4k "$t: the write is the newer"

t="a copy meets a write"
works "$t: stop" message p stop
works "$t: write" write $PRIMARY 0x45 0 64k
works "$t: start" message p start
break_disk local hold-writes 0 128
begin write blkio write $PRIMARY 0x46 0 4k
wait_held local 1
on $REPLICA 0x46 0 4k "$t: it is on the replica"
works "$t: start_resync" message p start_resync
sleep 0.4
is "$(pst "done" flags)" "0 resync" "$t: the copy, the first of them, waits"
on $REPLICA 0x46 0 4k "$t: nothing is copied over it"
mend local
ended "$t" write
comes_to "$t: the resync ends" 10 "dirty flags" 0
equal "$t: equal"

# Writes beside the whole of a resync, on the same few MiB.
t="a resync under load"
for pass in 1 2 3; do
	works "$t $pass: stop" message p stop
	works "$t $pass: write" write $PRIMARY 0x5$pass 0 16m
	works "$t $pass: start" message p start
	works "$t $pass: at a pace" message p set resync_rate_mib 16
	fio --name=load --filename=$PRIMARY --direct=1 --rw=randwrite --bs=4k-64k \
		--ioengine=libaio --iodepth=8 --numjobs=2 --time_based --runtime=3 \
		--size=16m --randrepeat=0 >"$SCRATCH/fio.out" 2>&1 &
	fio=$!
	sleep 0.3
	works "$t $pass: start_resync" message p start_resync
	comes_to "$t $pass: it ends" 20 "dirty flags" 0
	is "$(pst "done")" "$(pst total)" "$t $pass: each block was copied once"
	wait $fio
	is $? 0 "$t $pass: the load has gone well"
	equal "$t $pass: equal"
done

works "remove" remove p
run_ok "nothing is left behind" rmmod dm_repl
plan_end
