#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# vm: --mem 768 --timeout 240
#
# What is known to go wrong in QEMU's block replication (Documentation/
# conformance.rst numbers it), shown mended, a check each.

# shellcheck source=tests/lib/guest.sh
. "$(dirname "$0")/../lib/guest.sh"
# shellcheck source=tests/lib/conform.sh
. "$(dirname "$0")/../lib/conform.sh"

LAB_MIB=8 LAB_BASE=$((4 << 20))

# disks: null disks, each under a lid that can be made to fail or to wait.
disks()
{
	local role

	for role in active hidden secondary; do
		null_disk "low-$role" $LAB_MIB discard=1 || return
		LOW[$role]=$DISK
		linear_disk "$role" "$DISK" $((LAB_MIB * 2048)) || return
		stamp "$DISK" 0xee 0 ${LAB_MIB}m || return
	done
	A=/dev/mapper/active H=/dev/mapper/hidden S=/dev/mapper/secondary
}

# lid ROLE linear | error | MILLISECONDS: what is between pair and disk. With
# milliseconds writes wait, reads do not.
lid()
{
	local sectors=$((LAB_MIB * 2048))

	case $2 in
	linear) dm_swap "$1" "0 $sectors linear ${LOW[$1]} 0" ;;
	error) dm_swap "$1" "0 $sectors error" ;;
	*) dm_swap "$1" "0 $sectors delay ${LOW[$1]} 0 0 ${LOW[$1]} 0 $2" ;;
	esac
}

# begin FEATURE...: a pair, started, secondary all 0x11; the view has written
# page 0, the origin page 1.
begin()
{
	stamp "${LOW[secondary]}" 0x11 0 ${LAB_MIB}m &&
		pair p "$A" "$H" "$S" -- "$@" &&
		msg p start && stamp "$VIEW" 0xa1 "$(at 0)" 4k &&
		stamp "$ORIGIN" 0x22 "$(at 1)" 4k
}

# frozen: the view is what begin made it.
frozen()
{
	must "the view has its own write" holds "$VIEW" 0xa1 "$(at 0)" 4k
	must "the view has the old data" holds "$VIEW" 0x11 "$(at 1)" 4k
	must "the view has the rest" holds "$VIEW" 0x11 "$(at 2)" 64k
}

get_error()
{
	must "get_error" msg p get_error
	must "it says $1, not $ANSWER" test "${ANSWER#ok }" = "$1"
}

d1()
{
	must "begin" begin
	must "stop succeeds" msg p stop
	must "it is stopped" stage_is p stopped
	get_error none
	must "both sets are empty" test "$(st p active)$(st p saved)$(st p held)" = 000
	must "the view is the replica" holds "$VIEW" 0x22 "$(at 1)" 4k
	must "without its own writes" holds "$VIEW" 0x11 "$(at 0)" 4k
	must "the origin goes on" stamp "$ORIGIN" 0x23 "$(at 1)" 4k
	must "the view shows it, live" holds "$VIEW" 0x23 "$(at 1)" 4k
	verdict "D1: stop succeeds, empties the overlay, leaves no error"

	must "start again" msg p start
	must "it runs" stage_is p running
	must "the origin writes" stamp "$ORIGIN" 0x24 "$(at 1)" 4k
	must "the view is frozen" holds "$VIEW" 0x23 "$(at 1)" 4k
	must "the view can be written" stamp "$VIEW" 0xa2 "$(at 0)" 4k
	must "and failed over" msg p failover
	must "it is done" wait_stage p "done" 10
	must "secondary is the view" holds "${LOW[secondary]}" 0x23 "$(at 1)" 4k
	must "secondary is the view" holds "${LOW[secondary]}" 0xa2 "$(at 0)" 4k
	verdict "D2: start after stop starts"
	leave
}

d3()
{
	must "begin" begin commit_rate_mib 1
	must "work for a commit" stamp "$VIEW" 0xa3 0 4m
	must "failover" msg p failover
	get_error none
	must "status says failover" stage_is p failover
	must "status says no error" test "$(st p error)" = none
	verdict "D3: failover is no error"

	must "secondary fails" lid secondary error
	must "set commit_rate_mib" msg p set commit_rate_mib 0
	must "status says failover_failed" wait_stage p failover_failed 20
	must "get_error" msg p get_error
	must "with the error, not $ANSWER" grep -qE '^ok -5 commit sector ' <<<"$ANSWER"
	verdict "D3: a failed failover is told from one under way"

	must "the view can be read" holds "$VIEW" 0xa1 "$(at 0)" 4k
	must "it can be written" stamp "$VIEW" 0xa4 "$(at 0)" 4k
	must "secondary works" lid secondary linear
	must "failover again" msg p failover
	must "it is done" wait_stage p "done" 10
	must "the view's first writes" holds "${LOW[secondary]}" 0xa3 0 4m
	must "its last" holds "${LOW[secondary]}" 0xa4 "$(at 0)" 4k
	must "the last checkpoint" holds "${LOW[secondary]}" 0x11 "$(at 1)" 64k
	get_error none
	verdict "D8: a failover that failed is repeated and succeeds"
	leave
}

# A capture that fails: its own write fails, and the standby hears of it.
d5()
{
	must "begin" begin hold_mib 0
	must "hidden fails" lid hidden error
	must "the origin's write fails" eio write "$ORIGIN" 0x25 "$(at 3)" 4k
	must "secondary is as it was" holds "${LOW[secondary]}" 0x11 "$(at 3)" 4k
	must "a captured page can be rewritten" stamp "$ORIGIN" 0x26 "$(at 1)" 4k
	get_error "-5 spill sector $(($(at 3) / 512)) total 1"
	must "status says it" test "$(st p error)" = spill:-5
	must "it runs on" stage_is p running
	must "hidden works" lid hidden linear
	frozen
	must "the same write again" stamp "$ORIGIN" 0x25 "$(at 3)" 4k
	must "secondary has it" holds "${LOW[secondary]}" 0x25 "$(at 3)" 4k
	frozen
	verdict "D5: a failed capture fails its write and is told by get_error"
	leave
}

# Nothing need be written to empty the overlay, so nothing can fail.
d6()
{
	must "begin" begin hold_mib 0
	must "active fails" lid active error
	must "hidden fails" lid hidden error
	must "checkpoint" msg p checkpoint
	get_error none
	must "the view is the replica" holds "$VIEW" 0x22 "$(at 1)" 4k
	must "all of it" holds "$VIEW" 0x11 "$(at 0)" 4k
	must "a view write fails" eio write "$VIEW" 0xa5 "$(at 0)" 4k
	must "get_error" msg p get_error
	must "tells of it, not $ANSWER" grep -q '^ok -5 active sector ' <<<"$ANSWER"
	must "active works" lid active linear
	must "hidden works" lid hidden linear
	must "the view can be written" stamp "$VIEW" 0xa5 "$(at 0)" 4k
	must "and read" holds "$VIEW" 0xa5 "$(at 0)" 4k
	must "the origin too" stamp "$ORIGIN" 0x27 "$(at 1)" 4k
	must "the view is frozen" holds "$VIEW" 0x22 "$(at 1)" 4k
	must "clear_error" msg p clear_error
	get_error none
	verdict "D6: a checkpoint empties the overlay whatever active and hidden do"
	leave
}

# busy: both sets have filled.
busy()
{
	[ "$(st p active)" -gt 500 ] && [ "$(st p saved)" -gt 500 ]
}

d7()
{
	local writers=() i offset=0

	must "begin" begin
	# Partly over each other: where active covers, nothing is saved.
	for i in origin view; do
		fio --name=w --filename=/dev/mapper/p-$i --rw=randwrite --bs=4k \
			--iodepth=16 --ioengine=libaio --direct=1 --offset=$offset \
			--size=5m --time_based --runtime=60 --output-format=json --output=/tmp/w-$i \
			>/dev/null 2>&1 &
		writers+=($!)
		offset=3m
	done
	must "both sets fill" wait_until 30 busy
	for ((i = 0; i < 20; i++)); do
		must "checkpoint $i" msg p checkpoint
	done
	must "the epoch has gone on" test "$(st p epoch)" -ge 21
	must "both write on" wait_until 30 busy
	must "both write" kill -INT "${writers[@]}"
	wait "${writers[@]}"
	for i in origin view; do
		must "$i: no write has failed" grep -q '"error" : 0,' /tmp/w-$i
		must "$i: it has written" grep -q '"total_ios" : [1-9]' /tmp/w-$i
	done
	get_error none
	must "checkpoint" msg p checkpoint
	must "the view is the replica" cmp "$VIEW" "$S"
	verdict "D7: 20 checkpoints with writes in flight on both sides"
	leave
}

d9()
{
	stamp "${LOW[secondary]}" 0x11 0 ${LAB_MIB}m
	must "a view without its origin" dm_make p-view "$(view_table "$A" "$H" "$S")"
	VIEW=/dev/mapper/p-view ORIGIN=/dev/mapper/p-origin
	must "start fails" eval '! msg p start'
	must "with ENODEV, not $ANSWER" test "$ANSWER" = ENODEV
	must "it is not started" stage_is p none
	must "start fails again" eval '! msg p start'
	must "with ENODEV, not $ANSWER" test "$ANSWER" = ENODEV
	must "bring the origin" dm_make p-origin "$(origin_table "$S")"
	must "start" msg p start
	must "the view can be written" stamp "$VIEW" 0xa1 "$(at 0)" 4k
	must "the origin too" stamp "$ORIGIN" 0x22 "$(at 1)" 4k
	frozen
	must "once more fails" eval '! msg p start'
	must "with EBUSY, not $ANSWER" test "$ANSWER" = EBUSY
	frozen
	verdict "D9: after a failed start a second one works, and a third is refused"
	leave
}

d10()
{
	must "begin" begin
	count_from "${LOW[secondary]}" "${LOW[active]}" "${LOW[hidden]}"
	must "the origin's discard" dmio discard "$ORIGIN" "$(at 4)" 8k
	counted "${LOW[secondary]}"
	must "secondary gets it, not $COUNTED_SECTORS" test "$COUNTED_SECTORS" = "16 0 16"
	must "it is gone there" holds "${LOW[secondary]}" 0 "$(at 4)" 8k
	frozen
	verdict "D10: the origin's discard is captured and passed on"

	must "the view's discard" dmio discard "$VIEW" "$(at 0)" 16k
	frozen
	must "promote" msg p promote
	count_from "${LOW[secondary]}"
	must "the view's discard" dmio discard "$VIEW" "$(at 8)" 8k
	counted "${LOW[secondary]}"
	must "secondary gets it, not $COUNTED_SECTORS" test "$COUNTED_SECTORS" = "0 0 16"
	must "it is gone there" holds "${LOW[secondary]}" 0 "$(at 8)" 8k
	verdict "D10: a promoted view's discard reaches the disk"
	leave
}

saved_is()
{
	[ "$(st p saved)" -eq "$1" ]
}

# A checkpoint that cannot be made changes nothing; one that can, all.
d13()
{
	must "begin" begin checkpoint_timeout_ms 200
	must "secondary is slow" lid secondary 3000
	stamp_later "$ORIGIN" 0x28 "$(at 2)" 4k
	must "the write is under way" wait_until 5 saved_is 16
	must "the checkpoint is given up" eval '! msg p checkpoint'
	must "with ETIMEDOUT, not $ANSWER" test "$ANSWER" = ETIMEDOUT
	must "the epoch stays" test "$(st p epoch)" -eq 1
	frozen
	must "the write ends well" wait "$LATER"
	must "secondary is fast" lid secondary linear
	frozen
	must "checkpoint" msg p checkpoint
	must "the epoch is one more" test "$(st p epoch)" -eq 2
	must "both sets are empty" test "$(st p active)$(st p saved)$(st p held)" = 000
	must "the view is the replica" cmp "$VIEW" "$S"
	must "which has all" holds "$VIEW" 0x28 "$(at 2)" 4k
	verdict "D13: a checkpoint happens whole or not at all"
	leave
}

# stamp_later DEVICE BYTE OFFSET LENGTH: in the background; LATER is its number.
stamp_later()
{
	blkio write "$@" &
	LATER=$!
}

declare -A LOW
disks || bail "no disks"
for defect in d1 d3 d5 d6 d7 d9 d10 d13; do
	"$defect"
done
run_ok "nothing is left behind" rmmod dm_repl
plan_end
