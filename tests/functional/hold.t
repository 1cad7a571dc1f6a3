#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# vm: --mem 768 --timeout 180
#
# Where old data is: in memory up to hold_mib, else in hidden; with 0 it is in
# hidden before its write is let through.

# shellcheck source=tests/lib/guest.sh
. "$(dirname "$0")/../lib/guest.sh"
# shellcheck source=tests/lib/conform.sh
. "$(dirname "$0")/../lib/conform.sh"

MIB=$((1 << 20))
TOTAL=/sys/module/dm_repl/parameters/hold_mib_total

# begin FEATURE...: secondary all 0x11, hidden all 0xee.
begin()
{
	stamp "$LOW" 0x11 0 8m && stamp "$H" 0xee 0 8m &&
		pair p "$A" "$H" "$S" -- "$@" && msg p start
	count_from "$H" "$LOW"
}

# is_read: of secondary, a run of 128 sectors that is captured.
is_read()
{
	counted "$LOW"
	[ "${COUNTED_SECTORS%% *}" -ge $((BEFORE + 128)) ]
}

held_at_most()
{
	[ "$(st p held)" -le $(($1 * 2048)) ]
}

# hidden_got SECTORS-AT-LEAST
hidden_got()
{
	counted "$H"
	read -r _ written _ <<<"$COUNTED_SECTORS"
	[ "$written" -ge "$1" ]
}

old_first()
{
	local writer

	must "begin" begin hold_mib 0
	must "secondary writes slowly" dm_swap secondary "0 16384 delay $LOW 0 0 $LOW 0 3000"
	blkio write "$ORIGIN" 0x22 1m 64k &
	writer=$!
	must "hidden gets the old data" wait_until 2 holds "$H" 0x11 1m 64k
	must "the write is still under way" kill -0 "$writer"
	must "secondary is as it was" holds "$LOW" 0x11 1m 64k
	must "nothing is held" test "$(st p held)" -eq 0
	must "the write ends" wait "$writer"
	must "secondary has it" holds "$LOW" 0x22 1m 64k
	must "the view has not" holds "$VIEW" 0x11 1m 64k
	must "secondary is fast" dm_swap secondary "0 16384 linear $LOW 0"
	verdict "hold_mib 0: the old data is in hidden before its write is on secondary"

	must "hidden writes slowly" dm_swap hidden "0 16384 delay $LOWER 0 0 $LOWER 0 2000"
	counted "$LOW"
	BEFORE=${COUNTED_SECTORS%% *}
	blkio write "$ORIGIN" 0x24 5m 64k &
	writer=$!
	must "the capture is under way" wait_until 5 is_read
	sleep 0.5
	must "the write waits" kill -0 "$writer"
	must "secondary is as it was" holds "$LOW" 0x11 5m 64k
	must "the view is" holds "$VIEW" 0x11 5m 64k
	must "the write ends" wait "$writer"
	must "hidden has the old data" holds "$LOWER" 0x11 5m 64k
	must "secondary has the new" holds "$LOW" 0x24 5m 64k
	must "hidden is fast" dm_swap hidden "0 16384 linear $LOWER 0"
	verdict "hold_mib 0: a write waits for hidden"
	must "3 MiB" stamp "$ORIGIN" 0x23 1m 3m
	must "hidden has it all" holds "$H" 0x11 1m 3m
	must "784 pages" test "$(st p captures)" -eq 784
	must "nothing is held" test "$(st p held)" -eq 0
	verdict "hold_mib 0: nothing is held"
	leave
}

held_in_memory()
{
	local at

	must "begin" begin hold_mib 32
	must "6 MiB" stamp "$ORIGIN" 0x22 1m 6m
	must "are held" test "$(st p held)" -eq $((6 * 2048))
	must "and saved" test "$(st p saved)" -eq $((6 * 2048))
	gets hidden "$H" "0 0 0 0"
	must "the view is frozen" holds "$VIEW" 0x11 0 8m
	gets hidden "$H" "0 0 0 0"
	verdict "hold_mib 32: hidden is not touched"
	must "checkpoint" msg p checkpoint
	must "nothing is held" test "$(st p held)" -eq 0
	must "the view is the replica" holds "$VIEW" 0x22 1m 6m
	gets hidden "$H" "0 0 0 0"
	verdict "a checkpoint drops what is held"
	# Of one write the parts may be saved in any order.
	for ((at = 1; at <= 6; at++)); do
		must "MiB $at" stamp "$ORIGIN" 0x23 ${at}m 1m
	done
	must "set hold_mib 1" msg p set hold_mib 1
	must "5 MiB are spilled" wait_until 10 held_at_most 1
	must "into hidden" wait_until 5 hidden_got $((5 * 2048))
	must "counted" test "$(st p spills)" -gt 0
	must "the view is frozen" holds "$VIEW" 0x22 1m 6m
	verdict "set hold_mib 1: what is over it is spilled"
	must "hidden has the oldest" holds "$H" 0x22 1m 4m
	verdict "the oldest first"
	must "set hold_mib 0" msg p set hold_mib 0
	must "all are spilled" wait_until 10 held_at_most 0
	must "hidden has them" holds "$H" 0x22 1m 6m
	must "the view is frozen" holds "$VIEW" 0x22 1m 6m
	verdict "set hold_mib 0: all is spilled"
	leave
}

held_and_spilled()
{
	must "begin" begin hold_mib 1
	must "7 MiB" stamp "$ORIGIN" 0x22 0 7m
	must "1 MiB stays held" wait_until 10 held_at_most 1
	must "not less" test "$(st p held)" -gt 0
	must "the view is frozen" holds "$VIEW" 0x11 0 8m
	must "the view writes over both" stamp "$VIEW" 0xa1 512k 6m
	must "it shows" holds "$VIEW" 0xa1 512k 6m
	must "around it" holds "$VIEW" 0x11 0 512k
	must "failover" msg p failover
	must "it is done" wait_stage p "done" 10
	must "secondary: what was spilled" holds "$LOW" 0x11 0 512k
	must "secondary: the view's" holds "$LOW" 0xa1 512k 6m
	must "secondary: what was held" holds "$LOW" 0x11 $((6 * MIB + MIB / 2)) $((MIB + MIB / 2))
	must "nothing is held" test "$(st p held)" -eq 0
	verdict "hold_mib 1: a failover takes held and spilled data alike"
	leave
}

in_all()
{
	local before

	before=$(<$TOTAL)
	must "it is 5 % of memory or so: $before MiB" test "$before" -gt 10
	echo 1 >$TOTAL
	must "begin" begin hold_mib 32
	must "8 MiB" stamp "$ORIGIN" 0x22 0 8m
	must "3 MiB at most are held" held_at_most 3
	must "the rest is in hidden" hidden_got $((5 * 2048))
	must "the view is frozen" holds "$VIEW" 0x11 0 8m
	verdict "hold_mib_total bounds what all pairs hold"
	echo "$before" >$TOTAL
	leave
}

null_disk active 8 || bail "null_disk"
A=$DISK
null_disk lower 8 || bail "null_disk"
LOWER=$DISK
linear_disk hidden "$LOWER" 16384 || bail "linear_disk"
H=$DISK
null_disk low 8 || bail "null_disk"
LOW=$DISK
linear_disk secondary "$LOW" 16384 || bail "linear_disk"
S=$DISK
modprobe dm-replication
for theme in old_first held_in_memory held_and_spilled in_all; do
	"$theme"
done
run_ok "nothing is left behind" rmmod dm_repl
plan_end
