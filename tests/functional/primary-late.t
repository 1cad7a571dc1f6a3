#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# vm: --smp 2 --mem 768 --timeout 200
#
# A replica that does not answer: replica_timeout_ms, late answers, and stop,
# removal, suspend and reload beside them.

# shellcheck source=tests/lib/guest.sh
. "$(dirname "$0")/../lib/guest.sh"
# shellcheck source=tests/lib/primary.sh
. "$(dirname "$0")/../lib/primary.sh"

two_faulty 16 cache_size=8 || bail "no disks"

# A resync without a timeout: a machine that is slow is not a replica that hangs.
in_peace()
{
	pmsg set replica_timeout_ms 0
	resynced "$1"
	pmsg set replica_timeout_ms 700
}

make_p autostart || bail "no primary"
in_peace "the first time"

now_ms()
{
	echo $((${EPOCHREALTIME/./} / 1000))
}

t="a write without an answer"
break_disk replica hold-writes
began=$(now_ms)
works "$t: it succeeds" write $PRIMARY 0x21 1m 64k
took=$(($(now_ms) - began))
ok $((took < 650 || took > 3000)) "$t: after $took ms, of 650 to 3000"
breaks "$t"
is "$(pst flags)" "broken late" "$t: an answer is due"
is "$(error_of_p)" "-110 forward sector 2048 total 1" "$t: get_error says ETIMEDOUT"
comes_to "$t: it is dirty" 5 dirty 128
began=$(now_ms)
works "$t: a newer write" write $PRIMARY 0x22 1m 64k
took=$(($(now_ms) - began))
ok $((took > 500)) "$t: does not wait ($took ms)"
fails "$t: no resync as long as an answer is due" EBUSY message p start_resync
mend replica
late_gone "$t"
on "${RAW_DISK[replica]}" 0x21 1m 64k "$t: it comes late, with what the guest wrote then"
on $PRIMARY 0x22 1m 64k "$t: local has the newer one"
in_peace "$t"

t="a flush without an answer"
break_disk replica hold-writes
works "$t: it succeeds" flush $PRIMARY
breaks "$t"
mend replica
late_gone "$t"
in_peace "$t"

t="many writes without an answer, then errors"
break_disk replica late-writes
for i in 0 1 2 3 4 5 6 7; do
	begin "w$i" blkio write $PRIMARY 0x3$i "${i}m" 1m
done
for i in 0 1 2 3 4 5 6 7; do
	is "$(outcome "w$i")" OK "$t: write $i ends"
done
comes_to "$t: all are dirty" 5 "dirty flags" "16384 broken late"
errors=$(pst errors)
mend replica
late_gone "$t"
is "$(pst errors)" "$errors" "$t: late errors are no news"
in_peace "$t"

t="a copy without an answer"
works "$t: stop" message p stop
works "$t: write" write $PRIMARY 0x41 4m 4m
works "$t: start" message p start
break_disk replica hold-writes
works "$t: start_resync" message p start_resync
wait_held replica 1
begin write blkio write $PRIMARY 0x42 4m 64k
is "$(outcome write)" OK "$t: who waited for it goes on"
is "$(pst flags)" "broken late" "$t: the replica is broken"
is "$(pst dirty)" 8192 "$t: all of it is dirty"
mend replica
late_gone "$t"
in_peace "$t"

t="resync after a pause whose copies are not answered"
pmsg set replica_timeout_ms 0
break_disk replica hold-writes
works "$t: start_resync full" message p start_resync full
wait_held replica 1
works "$t: pause_resync" message p pause_resync
begin again dmsetup message p 0 start_resync
is "$(outcome again 9 | head -n 1)" "Device or resource busy" "$t: it is refused in time" ||
	mend replica
works "$t: stop is obeyed" message p stop
mend replica
late_gone "$t"
works "$t: start" message p start
in_peace "$t"

t="a shorter timeout by a reload"
pmsg set replica_timeout_ms 60000
works "$t: a write" write $PRIMARY 0x43 1m 64k
tables "swap p $(primary_line in_sync replica_timeout_ms 500)"
break_disk replica hold-writes
begin write blkio write $PRIMARY 0x44 1m 64k
is "$(outcome write 5)" OK "$t: a write without an answer ends"
mend replica
late_gone "$t"
pmsg set replica_timeout_ms 700
in_peace "$t"

# The replica's queue is full: who sends sleeps there.
t="a replica that makes who sends sleep"
works "remove" remove p
null_disk narrow 16 irqmode=2 completion_nsec=5000000000 hw_queue_depth=2 submit_queues=1 || bail "null_disk"
narrow=$DISK
tables "create p 0 $DISK_SECTORS replication primary $narrow 6 autostart local $LOCAL in_sync replica_timeout_ms 500"
began=$(now_ms)
for i in 0 1 2 3 4 5; do
	begin "w$i" blkio write $PRIMARY 0x5$i "${i}m" 64k
done
for i in 0 1 2 3 4 5; do
	is "$(outcome "w$i")" OK "$t: write $i ends"
done
took=$(($(now_ms) - began))
ok $((took > 4500)) "$t: all after $took ms, before the first answer"
comes_to "$t: all are dirty" 5 dirty 768
late_gone "$t"
began=$(now_ms)
works "$t: the primary is removed" remove p
null_gone narrow

# --- stop, removal, suspend, reload beside a replica that hangs ----------------------

t="stop"
make_p autostart in_sync
works "$t: start_resync full" message p start_resync full
comes_to "$t: equal" 10 "dirty flags" 0
break_disk replica hold-writes
begin write blkio write $PRIMARY 0x61 1m 64k
wait_held replica 1
began=$(now_ms)
works "$t: it succeeds without a timeout of the replica's" message p stop
took=$(($(now_ms) - began))
ok $((took < 4500 || took > 9000)) "$t: after $took ms, of 4500 to 9000"
is "$(outcome write)" OK "$t: the write ends"
is "$(pst stage dirty flags)" "stopped 128 late" "$t: it is dirty"
fails "$t: no start as long as an answer is due" EBUSY message p start
works "$t: writes go on" write $PRIMARY 0x62 2m 64k

t="removal"
began=$(now_ms)
begin remove dmsetup remove p
sleep 0.7
is "$(outcome remove 0)" "under way" "$t: it waits for the late answer"
mend replica
is "$(outcome remove)" OK "$t: and ends with it"

t="suspend"
make_p autostart in_sync
works "$t: start_resync full" message p start_resync full
comes_to "$t: equal" 20 "dirty flags" 0
works "$t: a timeout" message p set replica_timeout_ms 600
break_disk replica hold-writes
begin write blkio write $PRIMARY 0x63 1m 64k
wait_held replica 1
begin suspend dmsetup suspend --nolockfs p
is "$(outcome suspend)" OK "$t: it does not wait for late answers"
is "$(outcome write)" OK "$t: the write has ended"
is "$(pst flags)" "broken late" "$t: one is due"
run_ok "$t: resume" dmsetup resume p
mend replica
late_gone "$t"
in_peace "$t"

# Away from a replica that hangs: the old table goes when it has answered.
t="reload"
break_disk replica hold-writes
works "$t: a write" write $PRIMARY 0x64 1m 64k
breaks "$t"
null_disk other 16
works "$t: stop" message p stop
dmsetup load p --table "0 $DISK_SECTORS replication primary $DISK 2 local $LOCAL"
begin resume dmsetup resume p
works "$t: the device goes on meanwhile" write $PRIMARY 0x65 2m 64k
sleep 0.5
is "$(outcome resume 0)" "under way" "$t: the old table waits for the late answer"
mend replica
is "$(outcome resume)" OK "$t: and ends with it"
is "$(pst stage dirty flags)" "none $DISK_SECTORS" "$t: all is dirty for the new replica"
works "$t: start" message p start
works "$t: start_resync" message p start_resync
comes_to "$t: it ends" 20 "dirty flags" 0
dmio same "${RAW_DISK[local]}" "$DISK" "${DISK_SECTORS}s"
ok $? "$t: the new replica equals local"
works "$t: remove" remove p

# Another local, the same replica: the pair is the same, too.
t="reload to another local"
make_p autostart in_sync replica_timeout_ms 700
break_disk replica hold-writes
works "$t: a write" write $PRIMARY 0x66 1m 64k
breaks "$t"
works "$t: stop" message p stop
dmsetup load p --table "0 $DISK_SECTORS replication primary $REPLICA 2 local $DISK"
begin resume dmsetup resume p
sleep 0.5
is "$(outcome resume 0)" "under way" "$t: the old table waits for the late answer"
begin tune dmsetup message p 0 set replica_timeout_ms 900
is "$(outcome tune 5)" OK "$t: messages do not wait for it"
mend replica
is "$(outcome resume)" OK "$t: and ends with it"

works "remove" remove p
run_ok "nothing is left behind" rmmod dm_repl
plan_end
