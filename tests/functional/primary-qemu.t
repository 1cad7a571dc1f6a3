#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# vm: --mem 1024 --timeout 120
#
# The six primary cases of QEMU's own unit test of block replication, step by
# step, against the bytes that QEMU really returns; then what its filter does
# beside that, and the defects D11, D12 and D15. Its "local disk" is what the
# filter forwards to: our replica.

# shellcheck source=tests/lib/guest.sh
. "$(dirname "$0")/../lib/guest.sh"
# shellcheck source=tests/lib/conform.sh
. "$(dirname "$0")/../lib/conform.sh"

# start_primary: a pure forwarder; nothing is started.
start_primary()
{
	dm_make q "0 $(sectors "$R") replication primary $R" && P=$DISK
}

pmsg()
{
	dmio message q "$@"
}

# says TEXT WORD...: what a message answers.
says()
{
	pmsg "${@:2}"
	[ "$ANSWER" = "$1" ]
}

stage_of_q()
{
	local values

	dmio status q
	read -r -a values <<<"$ANSWER"
	echo "${values[4]} ${values[5]} ${values[6]}"
}

case_read()
{
	must "it cannot be read" eio read "$P" 0 "${SIZE}m"
}

case_write()
{
	must "it cannot be written" eio write "$P" 0 0 "${SIZE}m"
	must "the disk is as it was" holds "$S" 0x11 0 "${SIZE}m"
}

case_start()
{
	must "start all" pmsg start primary all
	must "it cannot be read" eio read "$P" 0 "${SIZE}m"
	must "it can be written" stamp "$P" 0x22 0 "${SIZE}m"
	must "that is on the disk" holds "$S" 0x22 0 "${SIZE}m"
}

case_stop()
{
	must "start" pmsg start all
	must "stop" pmsg failover all
	must "it cannot be read" eio read "$P" 0 "${SIZE}m"
	must "it cannot be written" eio write "$P" 0x33 0 "${SIZE}m"
	must "the disk is as it was" holds "$S" 0x11 0 "${SIZE}m"
}

case_do_checkpoint()
{
	must "start" pmsg start all
	must "checkpoint" pmsg checkpoint all
	must "nothing changes" test "$(stage_of_q)" = "primary running none"
}

case_get_error_all()
{
	must "before start: not running" says ENXIO get_error all
	must "start" pmsg start all
	must "no error" says "ok none" get_error all
}

SIZE=64
brd_disk disk $SIZE || bail "brd_disk"
S=$DISK
total=$(sectors "$S")
dm_make replica "0 $total linear $S 0"
R=$DISK
for name in read write start stop do_checkpoint get_error_all; do
	must "the disk" stamp "$S" 0x11 0 "${SIZE}m"
	must "set up" start_primary
	"case_$name"
	verdict "/replication/primary/$name"
	dm_gone q
done

# D11: as in QEMU the guest does not hear of it, but here it is told whom.
start_primary
stamp "$S" 0x11 0 "${SIZE}m"
pmsg start
dm_swap replica "0 2048 linear $S 0"$'\n'"2048 8 error"$'\n'"2056 $((total - 2056)) linear $S 2056"
must "the write succeeds" stamp "$P" 0x44 1m 4k
must "get_error tells: $ANSWER" says "ok -5 forward sector 2048 total 1" get_error
must "so does the status" test "$(stage_of_q)" = "primary running forward:-5"
must "the next write goes on" stamp "$P" 0x45 2m 4k
must "it is on the disk" holds "$S" 0x45 2m 4k
must "the other is not" holds "$S" 0x11 1m 4k
must "stop" pmsg stop
must "it clears the error" says "ok none" get_error
verdict "D11: a failed forward succeeds for the guest, and is recorded until stop"
dm_gone q
dm_swap replica "0 $total linear $S 0"

# D12: in QEMU the quorum hides the EIO. Whoever has local has it marked.
brd_disk local $SIZE || bail "brd_disk"
L=$DISK
dm_make q "0 $total replication primary $R 3 local $L in_sync"
P=$DISK
dmio status q
must "nothing is dirty: $ANSWER" test "$(cut -d ' ' -f 8 <<<"$ANSWER")" = 0
must "a write before start" stamp "$P" 0x46 3m 4k
dmio status q
must "it is marked: $ANSWER" test "$(cut -d ' ' -f 8 <<<"$ANSWER")" = 8
must "the disk does not have it" holds "$S" 0x11 3m 4k
verdict "D12: a write before start is marked dirty"
dm_gone q

# D15: a stopped primary is not stopped for ever.
start_primary
must "start" pmsg start
must "stop" pmsg stop
must "start again" pmsg start
must "it forwards" stamp "$P" 0x47 4m 4k
must "that is on the disk" holds "$S" 0x47 4m 4k
verdict "D15: start after stop"

# The rest of the filter: flush, zeroes, discard; in running and outside.
count_from "$S"
must "flush in running" dmio flush "$P"
must "zeroes in running" dmio zeroout "$P" 5m 64k
must "they are on the disk" holds "$S" 0 5m 64k
must "stop" pmsg stop
must "flush when stopped" eio flush "$P"
must "zeroes when stopped" eio zeroout "$P" 5m 64k
verdict "flush and zeroes go where writes go"
dm_gone q
run_ok "nothing is left behind" rmmod dm_repl
plan_end
