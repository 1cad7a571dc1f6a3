#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# vm: --smp 2 --mem 768 --timeout 150
#
# A disk that does not answer for a minute: a transition is given up in time,
# nothing has changed, and both devices go on.

# shellcheck source=tests/lib/guest.sh
. "$(dirname "$0")/../lib/guest.sh"
# shellcheck source=tests/lib/faults.sh
. "$(dirname "$0")/../lib/faults.sh"

view=/dev/mapper/p-view
origin=/dev/mapper/p-origin

three_faulty 4 || bail "no disks"

now_ms()
{
	echo $((${EPOCHREALTIME/./} / 1000))
}

# given_up TEXT MESSAGE AT_LEAST_MS AT_MOST_MS: it is, and nothing has changed.
given_up()
{
	local t="$1" before began took

	before="$(st p stage epoch active)"
	began=$(now_ms)
	# shellcheck disable=SC2086 # the message is words
	fails "$t: ETIMEDOUT" ETIMEDOUT message p-view $2
	took=$(($(now_ms) - began))
	ok $((took < $3 || took > $4)) "$t: after $took ms, of $3 to $4"
	is "$(st p stage epoch active)" "$before" \
		"$t: nothing has changed"
	is "$(st p flags)" "" "$t: newcomers need not wait"
}

both_go_on()
{
	put view "$2" 0 64k
	put origin "$2" 32k 64k
	part_holds $view view 0 1048576 "$1: the view goes on"
	part_holds $origin secondary 0 1048576 "$1: the origin goes on"
}

# when_deferring COMMAND...: once a transition has begun.
when_deferring()
{
	wait_until 10 deferring p
	"$@"
}

# 60 s on secondary, and the default timeout of 5 s
t="a view read of 60 s"
fresh
put view 1 512k 64k
put origin 2 512k 128k
break_disk secondary hold-reads 4096 8
begin held blkio read $view 2m 4k
wait_held secondary 1
begin parked when_deferring blkio write $origin 3 3m 64k
given_up "$t" checkpoint 4900 9000
is "$(outcome parked)" OK "$t: what came meanwhile goes on"
stamp "${MODEL_DISK[secondary]}" 3 3m 64k
is "$(outcome held 0)" "under way" "$t: the read is still under way"
both_go_on "$t" 4
no_error "$t"
mend secondary
is "$(outcome held)" OK "$t: it ends when the disk answers"
as_they_must "$t, ended"
works "$t, ended: a checkpoint" message p-view checkpoint
model_checkpoint
as_they_must "$t, after a checkpoint"

# every other transition, and a timeout of its own
msg p set checkpoint_timeout_ms 500
t="an origin write of 60 s"
put view 5 512k 64k
break_disk secondary hold-writes 4096 128
begin held blkio write $origin 6 2m 64k
wait_held secondary 1
for message in checkpoint stop promote; do
	given_up "$t, $message" $message 490 3000
done
is "$(outcome held 0)" "under way" "$t: it is still under way"
both_go_on "$t" 7
mend secondary
is "$(outcome held)" OK "$t: it ends when the disk answers"
stamp "${MODEL_DISK[secondary]}" 6 2m 64k
as_they_must "$t, ended"

t="a capture of 60 s"
break_disk secondary hold-reads 6144 128
begin held blkio write $origin 8 3m 64k
wait_held secondary 1
given_up "$t" checkpoint 490 3000
both_go_on "$t" 9
mend secondary
is "$(outcome held)" OK "$t: the write ends when the disk answers"
stamp "${MODEL_DISK[secondary]}" 8 3m 64k
as_they_must "$t, ended"

t="a view write of 60 s"
break_disk active hold-writes 4096 128
begin held blkio write $view 10 2m 64k
wait_held active 1
given_up "$t" checkpoint 490 3000
both_go_on "$t" 11
mend active
is "$(outcome held)" OK "$t: it ends when the disk answers"
stamp "${MODEL_DISK[view]}" 10 2m 64k
as_they_must "$t, ended"
works "$t: checkpoint" message p-view checkpoint
model_checkpoint

t="hold_mib 0, a save in hidden of 60 s"
msg p set hold_mib 0
break_disk hidden hold-writes 4096 128
begin held blkio write $origin 12 2m 64k
wait_held hidden 1
given_up "$t" checkpoint 490 3000
both_go_on "$t" 13
mend hidden
is "$(outcome held)" OK "$t: the write ends when the disk answers"
stamp "${MODEL_DISK[secondary]}" 12 2m 64k
as_they_must "$t, ended"

# Old data on its way from memory to hidden, for which no request waits.
t="a spill of 60 s"
msg p checkpoint
model_checkpoint
msg p set hold_mib 1
break_disk hidden hold-writes
put origin 14 0 1m
put origin 15 1m 1m
wait_held hidden 1
given_up "$t" checkpoint 490 3000
both_go_on "$t" 16
mend hidden
as_they_must "$t, ended"
works "$t, ended: a checkpoint" message p-view checkpoint
model_checkpoint
as_they_must "$t, after a checkpoint"

# A signal ends the wait at once.
t="a signal"
msg p set checkpoint_timeout_ms 60000
break_disk secondary hold-writes 4096 128
begin held blkio write $origin 17 2m 64k
wait_held secondary 1
epoch=$(st p epoch)
dmsetup message p-view 0 checkpoint &
message=$!
wait_until 5 deferring p
ok $? "$t: the checkpoint waits"
began=$(now_ms)
kill -TERM $message
wait $message
is $? 143 "$t: the message ends by it"
took=$(($(now_ms) - began))
ok $((took > 2000)) "$t: at once ($took ms)"
is "$(st p stage epoch)" "running $epoch" "$t: nothing has changed"
is "$(st p flags)" "" "$t: newcomers need not wait"
both_go_on "$t" 18
mend secondary
is "$(outcome held)" OK "$t: the write ends when the disk answers"
stamp "${MODEL_DISK[secondary]}" 17 2m 64k
as_they_must "$t, ended"

# A failover cannot be given up; it is not in a hurry either.
t="failover with an origin write of 60 s"
put view 19 1m 64k
break_disk secondary hold-writes 4096 128
begin held blkio write $origin 20 2m 64k
wait_held secondary 1
works "$t: the message returns" message p-view failover
is "$(stage p)" failover "$t: status says failover"
fails "$t: the origin is refused at once" EIO write $origin 21 0 4k
begin parked blkio write $view 22 3m 64k
sleep 0.5
is "$(outcome parked 0)" "under way" "$t: the view's requests wait"
is "$(stage p)" failover "$t: it waits"
mend secondary
is "$(outcome held) $(outcome parked)" "OK OK" "$t: all goes on when the disk answers"
wait_stage p "done" 20
is "$(stage p)" "done" "$t: the failover ends"
stamp "${MODEL_DISK[view]}" 22 3m 64k
model_failover
as_they_must "$t, done"
gone

# One member of a group is enough.
null_disk a 4
a=$DISK
null_disk h 4
h=$DISK
null_disk s 4
fresh group g checkpoint_timeout_ms 500
pair q "$a" "$h" "$DISK" -- group g autostart checkpoint_timeout_ms 500
before=$(st q epoch)
break_disk secondary hold-writes 4096 128
begin held blkio write $origin 23 2m 64k
wait_held secondary 1
for member in p q; do
	t="checkpoint all, sent to $member"
	fails "$t: ETIMEDOUT" ETIMEDOUT message $member-view checkpoint all
	is "$(st q epoch flags)" "$before" "$t: the other has not changed"
done
works "the other alone can" message q-view checkpoint
mend secondary
is "$(outcome held)" OK "the write ends when the disk answers"
works "checkpoint all" message p-view checkpoint all
is "$(st q epoch)" $((before + 2)) "which changes the other too"

plan_end
