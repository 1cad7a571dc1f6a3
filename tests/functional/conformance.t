#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# vm: --mem 1024 --timeout 240
#
# The seven secondary cases of QEMU's own unit test of block replication, step
# by step, against the bytes that QEMU really returns (its test compares with
# "not larger", so what it names is not always what it gets). "local" there is
# our origin, "top" our view; stop_all(failover=true) is our failover.

# shellcheck source=tests/lib/guest.sh
. "$(dirname "$0")/../lib/guest.sh"
# shellcheck source=tests/lib/conform.sh
. "$(dirname "$0")/../lib/conform.sh"

# start_secondary: the local disk holds 0x11; active and hidden hold anything.
DIRTY=
start_secondary()
{
	if [ -n "$DIRTY" ]; then
		stamp "$S" 0x11 0 "${SIZE}m" || return
	fi
	DIRTY=
	pair q "$A" "$H" "$S" -- hold_mib "$HOLD"
}

tear_down()
{
	wait_until 20 dm_gone q-view
	dm_gone q-origin
}

# is_all REASON DEVICE LOWER UPPER: the two halves of a disk.
is_all()
{
	must "$1: lower half $3" holds "$2" "$3" 0 "${HALF}m"
	must "$1: upper half $4" holds "$2" "$4" "${HALF}m" "${HALF}m"
}

# The local disk's upper half is overwritten; with nothing held, its old data
# is in hidden when that is acknowledged.
write_local()
{
	DIRTY=1
	must "write local" stamp "$ORIGIN" 0x22 "${HALF}m" "${HALF}m"
	if [ "$HOLD" -eq 0 ]; then
		must "hidden itself has the old data" holds "$H" 0x11 "${HALF}m" "${HALF}m"
		must "nothing is held" test "$(st q held)" -eq 0
	fi
}

case_read()
{
	must "top cannot be read" eio read "$VIEW" 0 "${SIZE}m"
}

case_write()
{
	must "top cannot be written" eio write "$VIEW" 0 0 "${SIZE}m"
	is_all "local is as it was" "$S" 0x11 0x11
}

case_start()
{
	must "start" msg q start
	is_all "R1: top" "$VIEW" 0x11 0x11
	write_local
	is_all "R2: top" "$VIEW" 0x11 0x11
	is_all "then local" "$S" 0x11 0x22
	must "write top" stamp "$VIEW" 0x33 0 "${HALF}m"
	is_all "R3: top" "$VIEW" 0x33 0x11
	is_all "then local" "$S" 0x11 0x22
	must "failover" msg q failover
}

case_stop()
{
	must "start" msg q start
	write_local
	must "R1: top" holds "$VIEW" 0x11 "${HALF}m" "${HALF}m"
	must "write top" stamp "$VIEW" 0x33 0 "${HALF}m"
	must "failover" msg q failover
	is_all "R2, R3: top" "$VIEW" 0x33 0x11
	must "it is done" wait_stage q "done" 20
	is_all "done: top" "$VIEW" 0x33 0x11
	is_all "done: local" "$S" 0x33 0x11
}

case_continuous_replication()
{
	must "start" msg q start
	write_local
	must "R1: top" holds "$VIEW" 0x11 "${HALF}m" "${HALF}m"
	must "write top" stamp "$VIEW" 0x33 0 "${HALF}m"
	must "failover" msg q failover
	must "start primary is ignored" msg q start primary
	must "checkpoint is ignored" msg q checkpoint
	must "failover is ignored" msg q failover
	is_all "R2, R3: top" "$VIEW" 0x33 0x11
	must "it is done" wait_stage q "done" 20
	is_all "done: local" "$S" 0x33 0x11
}

case_do_checkpoint()
{
	must "start" msg q start
	write_local
	must "R1: top" holds "$VIEW" 0x11 "${HALF}m" "${HALF}m"
	must "checkpoint" msg q checkpoint
	is_all "R2: top" "$VIEW" 0x11 0x22
	must "failover" msg q failover
	must "it is done" wait_stage q "done" 20
	is_all "done: local" "$S" 0x11 0x22
}

case_get_error_all()
{
	must "before start: not running" eval '! msg q get_error all'
	must "ENXIO, not $ANSWER" test "$ANSWER" = ENXIO
	must "start" msg q start all
	must "get_error" msg q get_error all
	must "none, not $ANSWER" test "$ANSWER" = "ok none"
	must "failover" msg q failover all
	must "get_error beside a commit" msg q get_error
	must "none, not $ANSWER" test "$ANSWER" = "ok none"
	must "it is done" wait_stage q "done" 20
	must "get_error when done" msg q get_error
	must "none, not $ANSWER" test "$ANSWER" = "ok none"
}

run_cases()
{
	local name

	HOLD=$1 SIZE=$2 HALF=$(($2 / 2))
	DIRTY=1
	for name in A H S; do
		linear_disk "disk-$name" "${LOW[$name]}" $((SIZE * 2048)) ||
			bail "linear_disk"
		declare -g "$name=$DISK"
	done
	for name in read write start stop continuous_replication do_checkpoint get_error_all; do
		must "set up" start_secondary
		"case_$name"
		verdict "/replication/secondary/$name, $SIZE MiB, hold_mib $HOLD"
		tear_down
	done
	for name in A H S; do
		dm_gone "disk-$name"
	done
}

declare -A LOW
for name in A H S; do
	brd_disk "$name" 64 || bail "brd_disk"
	LOW[$name]=$DISK
done
run_cases 32 64
run_cases 0 16
run_cases 1 16
plan_end
