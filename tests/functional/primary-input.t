#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# vm: --mem 768 --timeout 150
#
# A primary's table lines, messages in every stage, status, and the fixed point.

# shellcheck source=tests/lib/guest.sh
. "$(dirname "$0")/../lib/guest.sh"
# shellcheck source=tests/lib/conform.sh
. "$(dirname "$0")/../lib/conform.sh"

LEN=8192

line_refused()
{
	refused "line: $1" "$2" "$3" dmio create bad "0 $LEN replication primary${4:+ $4}"
}

# said ERRNO REGEX WORD...: the message fails, for that reason.
said()
{
	refused "$stage: ${*:3}" "$1" "$2" dmio message p "${@:3}"
}

# taken WORD...: it succeeds.
taken()
{
	dmio message p "$@"
	ok $? "$stage: $*" || diag "$ANSWER"
}

pst()
{
	dmio status p
	echo "${ANSWER#ok 0 "$LEN" replication primary }"
}

table_of_p()
{
	dmio table p
	echo "${ANSWER#ok }"
}

# fixed TEXT: what table prints loads, and prints itself.
fixed()
{
	local before

	before=$(table_of_p)
	must "it loads" dmio swap p "$before"
	must "$(table_of_p) is not $before" test "$(table_of_p)" = "$before"
	verdict "fixed point: $1: $before"
}

wrong_lines()
{
	line_refused "no replica" EINVAL '^The replica device is missing' ""
	line_refused "no such replica" "$MISSING" '^Cannot open the replica device' "/dev/none"
	line_refused "local without a device" EINVAL '^local needs a device' "$R 1 local"
	line_refused "no such local" "$MISSING" '^Cannot open the local device' "$R 2 local /dev/none"
	line_refused "local twice" EINVAL '^local is given twice' "$R 4 local $L local $X"
	line_refused "local is the replica" EINVAL '^Local and replica must be two' "$R 2 local $R"
	line_refused "unknown feature" EINVAL '^Unknown feature; there are .*local, in_sync' "$R 1 turbo"
	line_refused "QEMU's top-id" EINVAL '^Unknown feature' "$R 2 top-id disk0"
	line_refused "a view's feature" EINVAL '^Unknown feature' "$R 4 local $L hold_mib 1"
	line_refused "a view's flag" EINVAL '^Unknown feature' "$R 3 local $L discard_passdown"
	line_refused "a view's policy" EINVAL '^Unknown feature' "$R 4 local $L on_capture_error fail"
	line_refused "an origin's feature" EINVAL '^Unknown feature' "$R 1 fenced"
	line_refused "metadata without local" EINVAL 'need local' "$R 2 metadata $X"
	line_refused "metadata without a device" EINVAL '^metadata needs a device' "$R 3 local $L metadata"
	line_refused "no such metadata" "$MISSING" '^Cannot open the metadata device' "$R 4 local $L metadata /dev/none"
	line_refused "metadata twice" EINVAL '^metadata is there twice' "$R 6 local $L metadata $X metadata $X"
	line_refused "metadata on local" EINVAL '^Local, replica and metadata must be three' "$R 4 local $L metadata $L"
	line_refused "metadata on the replica" EINVAL '^Local, replica and metadata must be three' "$R 4 local $L metadata $R"
	line_refused "in_sync without local" EINVAL 'need local' "$R 1 in_sync"
	line_refused "a timeout without local" EINVAL 'need local' "$R 2 replica_timeout_ms 5"
	line_refused "a rate without local" EINVAL 'need local' "$R 2 resync_rate_mib 5"
	line_refused "a rate of words" EINVAL '^resync_rate_mib must be' "$R 4 local $L resync_rate_mib fast"
	line_refused "a timeout too long" EINVAL '^replica_timeout_ms must be' "$R 4 local $L replica_timeout_ms 86400001"
	line_refused "fewer features than counted" EINVAL 'argument' "$R 2 autostart"
	linear_disk short "$X" 8000
	klog_mark
	dmio create bad "0 $LEN replication primary $R 2 local /dev/mapper/short"
	must "EINVAL, not $ANSWER" test "$ANSWER" = EINVAL
	our_words
	must "which, by how much: $SAID" grep -q 'local is 8000 sectors, 192 fewer' <<<"$SAID"
	verdict "line: local is shorter"
	dm_gone short
	blockdev --setro "$X"
	line_refused "read-only local" EROFS '^A device is read-only' "$R 2 local $X"
	blockdev --setrw "$X"
}

# Devices of a primary that is there, in other roles.
taken_devices()
{
	local other='^A device is in use by another pair'

	dm_make p "0 $LEN replication primary $R 2 local $L"
	line_refused "its replica, as another's" EBUSY "$other" "$R"
	line_refused "its local, as another's replica" EBUSY "$other" "$L"
	line_refused "its replica, as another's local" EBUSY "$other" "$X 2 local $R"
	refused "an origin on its replica" EBUSY "$other" dmio create bad "0 $LEN replication origin $R"
	refused "an origin on its local" EBUSY "$other" dmio create bad "0 $LEN replication origin $L"
	refused "an origin's table for it" EINVAL 'cannot become each other' \
		dmio load p "0 $LEN replication origin $R"
	dm_gone p
	dm_make o "0 $LEN replication origin $R"
	line_refused "an origin's secondary as replica" EBUSY "$other" "$R 2 local $L"
	dm_gone o
}

messages_of_stage()
{
	said EINVAL 'guard must be sent to' guard on
	said EINVAL 'rejoin must be sent to' rejoin
	said EINVAL "cannot promote in stage $stage: a primary is the disk" promote
	said EINVAL "cannot start as secondary in stage $stage: the table says primary" start secondary
	said EINVAL 'start takes primary and all' start tertiary
	said EINVAL 'start_resync takes no argument but full' start_resync half
	said EINVAL 'pause_resync takes 0 to 0 arguments' pause_resync now
	said EINVAL 'cannot set hold_mib: unknown name' set hold_mib 3
	said EINVAL 'cannot set local: unknown name' set local "$X"
	said EINVAL 'cannot set replica_timeout_ms: replica_timeout_ms must be' set replica_timeout_ms x
	said EINVAL 'cannot set autostart: it must be on or off' set autostart 1
	taken checkpoint
	taken checkpoint all
	taken set replica_timeout_ms 250
	taken set resync_rate_mib 7
	taken clear_error
	is "$(pst)" "$stage none 8192 0/0 0 0 6 resync_rate_mib 7 replica_timeout_ms 250 autostart off" \
		"$stage: status"
	fixed "$stage"
	is "$(table_of_p)" "0 $LEN replication primary $RNR 6 local $LNR resync_rate_mib 7 replica_timeout_ms 250" \
		"$stage: table"
	taken set autostart on
	is "$(table_of_p)" "0 $LEN replication primary $RNR 7 autostart local $LNR resync_rate_mib 7 replica_timeout_ms 250" \
		"$stage: table with autostart"
	taken set replica_timeout_ms 0
	taken set resync_rate_mib 0
	taken set autostart off
	is "$(table_of_p)" "0 $LEN replication primary $RNR 2 local $LNR" "$stage: table of defaults"
}

stages()
{
	dm_make p "0 $LEN replication primary $R 2 local $L"
	stage=none
	messages_of_stage
	said ENXIO 'cannot get_error in stage none' get_error
	said EINVAL 'cannot stop in stage none' stop
	said EINVAL 'cannot failover in stage none' failover
	said EINVAL 'cannot start_resync in stage none: send start first' start_resync
	said EINVAL 'cannot pause_resync in stage none: send start first' pause_resync
	taken start

	stage=running
	messages_of_stage
	said EBUSY 'cannot start in stage running' start
	taken get_error
	is "$ANSWER" "ok none" "$stage: get_error"
	said EINVAL 'cannot pause_resync: none is under way' pause_resync
	taken stop

	stage=stopped
	messages_of_stage
	taken get_error
	taken stop
	taken failover
	said EINVAL 'cannot start_resync in stage stopped: send start first' start_resync
	taken start primary
	stage=running
	taken failover
	is "$(pst | cut -d ' ' -f 1)" stopped "failover of a primary is a stop"
	dm_gone p
}

# in_sync tells what is so, not what was loaded.
synced()
{
	local bare="0 $LEN replication primary $RNR 4 autostart local $LNR"

	stage=running
	dm_make p "0 $LEN replication primary $R 4 autostart local $L in_sync"
	is "$(pst)" "running none 0 0/0 0 0 6 resync_rate_mib 0 replica_timeout_ms 0 autostart on" "autostart, in_sync"
	is "$(table_of_p)" "$bare in_sync" "in_sync is printed"
	fixed "in_sync"
	taken stop
	dmio write /dev/mapper/p 1 0 4k
	is "$(table_of_p)" "0 $LEN replication primary $RNR 3 autostart local $LNR" "not when something is dirty"
	must "a table that says in_sync" dmio swap p "$bare in_sync"
	must "does not make it so: $(pst)" grep -q '^stopped none 8 ' <<<"$(pst)"
	verdict "in_sync in a reload of the same devices has no effect"
	taken start
	taken start_resync full
	must "it ends: $(pst)" wait_until 10 eval 'pst | grep -q "^running none 0 8192/8192 0 0 "'
	verdict "start_resync full copies everything"
	is "$(table_of_p)" "$bare in_sync" "in_sync again"
	dm_gone p
}

pure()
{
	stage=running
	dm_make p "0 $LEN replication primary $R"
	taken start
	is "$(pst)" "running none 0 0/0 0 0 6 resync_rate_mib 0 replica_timeout_ms 0 autostart off" "a pure forwarder's status"
	is "$(table_of_p)" "0 $LEN replication primary $RNR" "and table"
	fixed "pure"
	said EINVAL 'cannot start_resync: without local' start_resync
	said EINVAL 'cannot pause_resync: without local' pause_resync
	said EINVAL 'cannot set replica_timeout_ms: without local' set replica_timeout_ms 5
	taken set autostart on
	fixed "pure, autostart"
	dm_gone p
}

for name in r l x; do
	null_disk "$name" 4 || bail "null_disk"
	declare "${name^^}=$DISK"
done
RNR=$(stat -Lc %Hr:%Lr "$R")
LNR=$(stat -Lc %Hr:%Lr "$L")
modprobe dm-replication
ask_of_missing
wrong_lines
run_ok "no pair is left behind" rmmod dm_repl
taken_devices
stages
synced
pure
run_ok "nothing is left behind" rmmod dm_repl
plan_end
