#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# vm: --mem 768 --timeout 240
#
# What messages and tables do beside the stage tables: the order of creation,
# tables that print themselves, set, errors, guard, fence, reloads, events,
# words in the log.

# shellcheck source=tests/lib/guest.sh
. "$(dirname "$0")/../lib/guest.sh"
# shellcheck source=tests/lib/conform.sh
. "$(dirname "$0")/../lib/conform.sh"

LAB_MIB=4 LAB_BASE=0
VIEW=/dev/mapper/p-view ORIGIN=/dev/mapper/p-origin

view()
{
	dm_make p-view "$(view_table "$A" "$H" "$S" "$@")"
}

origin()
{
	dm_make p-origin "$(origin_table "$S" "$@")"
}

# reload view|origin TABLE: a table for the live device, and resume.
reload()
{
	dm_swap "p-$1" "$2"
}

# fresh FEATURE...: a pair that runs, secondary all 0x11, with a page of its own
# in each set.
fresh()
{
	stamp "$S" 0x11 0 ${LAB_MIB}m && pair p "$A" "$H" "$S" -- "$@" &&
		msg p start && stamp "$VIEW" 0xa1 "$(at 0)" 4k &&
		stamp "$ORIGIN" 0x22 "$(at 1)" 4k
}

frozen()
{
	must "the view has its own write" holds "$VIEW" 0xa1 "$(at 0)" 4k
	must "the view has the old data" holds "$VIEW" 0x11 "$(at 1)" 4k
	must "it counts both" test "$(st p active) $(st p saved)" = "8 8"
}

# said REGEX: one line in the log since klog_mark matches.
said()
{
	our_words
	must "one line says /$1/, not: $SAID" test "$(grep -cE "$1" <<<"$SAID")" -eq 1
}

# table view|origin: as dmsetup shows it.
table()
{
	dmio table "p-$1"
	echo "${ANSWER#ok }"
}

order_of_creation()
{
	must "origin" origin
	must "it is alone" test "$(ost p stage)" = alone
	must "it passes writes" stamp "$ORIGIN" 0x11 0 4k
	must "view" view
	must "start" msg p start
	must "the origin's stage is the pair's" test "$(ost p stage)" = running
	verdict "the origin first"
	unpair p

	must "view" view
	must "no origin yet" test "$(st p flags)" = no_origin
	must "origin" origin
	must "now there is one" test "$(st p flags)" = ""
	must "start" msg p start
	verdict "the view first"
	unpair p

	must "origin" origin
	must "view" view autostart
	must "it runs" wait_stage p running 5
	verdict "autostart when the view is last"
	unpair p

	must "view" view autostart
	must "it waits" stage_is p none
	must "origin" origin
	must "it runs" wait_stage p running 5
	verdict "autostart when the origin is last"
	must "stop" msg p stop
	must "view again" reload view "$(table view)"
	must "it stays stopped" stage_is p stopped
	verdict "autostart starts a new pair only"
	unpair p

	klog_mark
	must "fenced origin" origin fenced
	must "view" view autostart
	must "it does not run" stage_is p none
	said 'did not start by itself|autostart'
	verdict "autostart on a fenced origin says why not"
	unpair p
}

# The table prints what it was made of, however often it is loaded.
fixed_point()
{
	local first second features words

	while read -r features; do
		# shellcheck disable=SC2086 # the features are words
		pair p "$A" "$H" "$S" -- $features || WHY+=("it loads")
		first=$(table view)
		read -r -a words <<<"$first"
		must "it shows them: $first" test "${words[*]:7}" = "${features:+$(wc -w <<<"$features") }$features"
		must "it loads again" reload view "$first"
		second=$(table view)
		must "it stays: $second" test "$first" = "$second"
		verdict "table fixed point: ${features:-no features}"
		unpair p
	done <<-END

		autostart
		discard_passdown
		group disks-1
		hold_mib 0
		checkpoint_timeout_ms 100
		commit_rate_mib 7
		on_capture_error drop_view
		guarded
		autostart discard_passdown group g hold_mib 1 checkpoint_timeout_ms 1 commit_rate_mib 1 on_capture_error drop_view guarded
	END
	# What is the default anyway is not shown.
	pair p "$A" "$H" "$S" -- hold_mib 32 on_capture_error fail checkpoint_timeout_ms 5000 commit_rate_mib 0
	first=$(table view)
	is "$(wc -w <<<"$first")" 7 "table fixed point: defaults are left out" || diag "$first"
	unpair p
	origin fenced
	first=$(table origin)
	like "$first" '^0 [0-9]+ replication origin [^ ]+ 1 fenced$' "table fixed point: fenced"
	must "it loads again" reload origin "$first"
	must "it stays" test "$(table origin)" = "$first"
	must "rejoin" omsg p rejoin
	must "no longer" test "$(table origin)" = "${first% 1 fenced}"
	verdict "table fixed point: the fence as it is now"
	dm_gone p-origin
}

set_tunables()
{
	local name value

	fresh group g
	while read -r name value; do
		must "set" msg p set "$name" "$value"
		must "status shows it" grep -q " $name $value " <<<" $(st p args) "
		verdict "set $name $value"
	done <<-END
		hold_mib 0
		hold_mib 1048576
		hold_mib 7
		checkpoint_timeout_ms 86400000
		checkpoint_timeout_ms 3000
		commit_rate_mib 9
		on_capture_error drop_view
		on_capture_error fail
		autostart on
		autostart off
		discard_passdown on
	END
	is "$(st p args)" "hold_mib 7 checkpoint_timeout_ms 3000 commit_rate_mib 9 on_capture_error fail autostart off discard_passdown on group g" \
		"status shows every tunable"
	like "$(table view)" ' 9 discard_passdown group g hold_mib 7 checkpoint_timeout_ms 3000 commit_rate_mib 9$' \
		"the table shows what was set"
	must "reload" reload view "$(table view)"
	must "status shows the same" test "$(st p args)" = \
		"hold_mib 7 checkpoint_timeout_ms 3000 commit_rate_mib 9 on_capture_error fail autostart off discard_passdown on group g"
	frozen
	verdict "what was set survives a reload, and so does the overlay"
	unpair p
}

errors()
{
	must "pair" pair p "$A" "$H" "$S"
	refused "get_error before start" ENXIO 'cannot get_error in stage none' dmio message p-view get_error
	unpair p

	fresh
	must "hidden fails" dm_swap hidden "0 $((LAB_MIB * 2048)) error"
	must "set" msg p set hold_mib 0
	must "the origin's write fails" eio write "$ORIGIN" 0x23 "$(at 5)" 4k
	must "again" eio write "$ORIGIN" 0x23 "$(at 6)" 4k
	must "get_error" msg p get_error
	like "$ANSWER" "^ok -5 spill sector [0-9]+ total [2-9]$" "get_error: the first error, and how many"
	is "$(st p error)" spill:-5 "status has the first error"
	must "get_error all, without a group" msg p get_error all
	must "the same, not $ANSWER" grep -q ' spill sector ' <<<"$ANSWER"
	must "hidden works" dm_swap hidden "0 $((LAB_MIB * 2048)) linear $LOW 0"
	must "a checkpoint" msg p checkpoint
	must "keeps it" test "$(st p error)" = spill:-5
	must "clear_error" msg p clear_error
	must "get_error" msg p get_error
	must "none, not $ANSWER" test "$ANSWER" = "ok none"
	must "nor in status" test "$(st p error) $(st p errors)" = "none 0"
	verdict "clear_error, and nothing else, clears it"
	must "hidden fails" dm_swap hidden "0 $((LAB_MIB * 2048)) error"
	must "a write fails" eio write "$ORIGIN" 0x23 "$(at 7)" 4k
	must "hidden works" dm_swap hidden "0 $((LAB_MIB * 2048)) linear $LOW 0"
	must "status has it" test "$(st p error)" = spill:-5
	must "stop" msg p stop
	must "start" msg p start
	must "it is gone" test "$(st p error) $(st p errors)" = "none 0"
	verdict "start clears it"
	unpair p
}

guard()
{
	local m

	fresh
	must "guard on" msg p guard on
	must "status has the flag" test "$(st p flags)" = guarded
	must "the table too" grep -q ' 1 guarded$' <<<"$(table view)"
	for m in checkpoint stop promote; do
		must "$m is refused" eval "! msg p $m"
		must "with EBUSY, not $ANSWER" test "$ANSWER" = EBUSY
	done
	frozen
	must "the origin goes on" stamp "$ORIGIN" 0x23 "$(at 1)" 4k
	frozen
	verdict "guarded: checkpoint, stop and promote are refused, the view stays"
	must "guard off" msg p guard off
	must "checkpoint" msg p checkpoint
	must "the view is the replica" holds "$VIEW" 0x23 "$(at 1)" 4k
	verdict "guard off: a checkpoint is taken"
	must "guard on" msg p guard on
	must "failover" msg p failover
	must "it is done" wait_stage p "done" 10
	verdict "guarded: failover is not refused"
	leave

	pair p "$A" "$H" "$S" -- guarded
	refused "a table with guarded: start is refused" EBUSY 'cannot start in stage none: .*inconsistent' \
		dmio message p-view start
	must "guard off" msg p guard off
	must "start" msg p start
	verdict "until guard off"
	unpair p
}

fence()
{
	must "origin" origin fenced
	must "view" view
	must "status has the flag" test "$(st p flags)" = fenced
	verdict "an origin loaded fenced"
	refused "start on a fenced pair" EBUSY 'cannot start in stage none: the origin is fenced' \
		dmio message p-view start
	must "rejoin" omsg p rejoin
	must "start" msg p start
	verdict "rejoin lets it start"
	msg p promote
	refused "rejoin while a promoted view is there" EBUSY 'cannot rejoin in stage done' \
		dmio message p-origin rejoin
	must "remove the view" wait_until 5 dm_gone p-view
	must "the origin stays fenced" test "$(ost p stage) $(ost p fence)" = "done fenced"
	must "it writes in vain" eio write "$ORIGIN" 0x23 0 4k
	must "a new view" view
	must "takes the stage over" stage_is p "done"
	must "and is the disk" stamp "$VIEW" 0xa7 0 4k
	must "that is" holds "$S" 0xa7 0 4k
	must "start is ignored" msg p start
	must "it is still done" stage_is p "done"
	must "remove it" dm_gone p-view
	must "rejoin" omsg p rejoin
	must "the stage is none" test "$(ost p stage) $(ost p fence)" = "alone open"
	must "the origin writes" stamp "$ORIGIN" 0x23 0 4k
	verdict "the fence belongs to the secondary, until rejoin"
	must "a new view" view
	must "start" msg p start
	must "promote" msg p promote
	must "remove both" wait_until 5 unpair p
	must "a new origin" origin
	must "is open" test "$(ost p stage) $(ost p fence)" = "alone open"
	verdict "or until the origin's own removal"
	dm_gone p-origin
}

reloads()
{
	local same OTHER

	OTHER=$(view_table "$A" "$X" "$S")
	fresh
	same=$(table view)
	must "the same table" reload view "$same"
	must "the same origin" reload origin "$(table origin)"
	must "epoch and stage stay" test "$(stage p) $(st p epoch)" = "running 1"
	frozen
	must "the origin writes on" stamp "$ORIGIN" 0x23 "$(at 1)" 4k
	frozen
	verdict "running: a reload of the same devices keeps everything"
	must "other features" reload view "$same 2 hold_mib 0"
	must "they are taken" grep -q 'hold_mib 0' <<<"$(st p args)"
	frozen
	must "reload" reload view "$same"
	verdict "running: a reload may change features"
	refused "running: other devices are refused" EBUSY 'change only in stage none, done or stopped' \
		dmio load p-view "$OTHER"
	refused "running: another secondary of the origin" EBUSY 'change only in stage' \
		dmio load p-origin "$(origin_table "$X")"
	dmio clear p-view
	frozen
	verdict "running: a refused reload changes nothing"
	msg p stop
	must "stopped: other devices" reload view "$OTHER"
	must "it starts" msg p start
	must "and uses them" stamp "$VIEW" 0xa6 0 4k
	must "it runs" holds "$VIEW" 0xa6 0 4k
	verdict "stopped: other devices are taken"
	msg p stop
	must "stopped: the first again" reload view "$same"
	must "load others" dmio load p-view "$OTHER"
	verdict "stopped: another table waits"
	refused "start while it waits" EBUSY 'a table with other devices is loaded' \
		dmio message p-view start
	must "clear" dmio clear p-view
	must "start" msg p start
	verdict "start when it is cleared"
	msg p promote
	must "done: other devices" reload view "$OTHER"
	must "still done" stage_is p "done"
	verdict "done: other devices are taken"
	wait_until 5 unpair p

	pair p "$A" "$H" "$S"
	must "none: other devices" reload view "$OTHER"
	must "start" msg p start
	must "they are used" stamp "$VIEW" 0xa5 0 4k
	must "it is on active" holds "$A" 0xa5 0 4k
	verdict "none: other devices are taken"
	unpair p

	fresh
	dm_swap secondary "0 4096 linear $LOW2 0"
	refused "start after a device has changed its length" EBUSY 'runs already' dmio message p-view start
	dm_swap secondary "0 8192 linear $LOW2 0"
	msg p stop
	dm_swap secondary "0 4096 linear $LOW2 0"
	refused "stopped: start on a shorter device" EINVAL 'has changed its length' dmio message p-view start
	dm_swap secondary "0 8192 linear $LOW2 0"
	must "start when it is well again" msg p start
	verdict "start when its length is right again"
	unpair p
}

removals()
{
	fresh
	klog_mark
	must "remove the view" dm_gone p-view
	said 'view is removed, 8 sectors'
	must "the origin is alone" test "$(ost p stage)" = alone
	must "and goes on" stamp "$ORIGIN" 0x24 0 4k
	must "a new view" view
	must "is not started" stage_is p none
	must "start" msg p start
	must "it is the replica" holds "$VIEW" 0x24 0 4k
	verdict "running: the view is removed, its own writes are told and lost"
	unpair p

	fresh
	klog_mark
	must "remove the origin" dm_gone p-origin
	said 'origin (is removed|left) while'
	must "status" test "$(st p error) $(st p flags)" = "origin:-19 no_origin"
	frozen
	verdict "running: the origin is removed, the view stays"
	refused "then checkpoint" ENODEV 'cannot checkpoint in stage running: its origin is gone' \
		dmio message p-view checkpoint
	refused "then stop" ENODEV 'cannot stop in stage running: its origin is gone' dmio message p-view stop
	refused "then promote" ENODEV 'cannot promote in stage running: its origin is gone' \
		dmio message p-view promote
	must "an origin" origin
	frozen
	must "checkpoint" msg p checkpoint
	verdict "until an origin is back"
	must "remove it" dm_gone p-origin
	must "failover" msg p failover
	must "it is done" wait_stage p "done" 10
	verdict "failover needs no origin"
	must "remove" wait_until 5 dm_gone p-view
	WHY=()

	fresh commit_rate_mib 1
	must "work for a commit" stamp "$VIEW" 0xa2 0 ${LAB_MIB}m
	must "failover" msg p failover
	must "the pair opens the view" wait_until 5 opened
	must "the view cannot be removed" eval "! dm_gone p-view"
	must "EBUSY, not $ANSWER" test "$ANSWER" = EBUSY
	must "it goes on" stage_is p failover
	must "set" msg p set commit_rate_mib 0
	must "it is done" wait_stage p "done" 10
	must "then it can" wait_until 5 dm_gone p-view
	must "nothing is lost" holds "$S" 0xa2 0 ${LAB_MIB}m
	verdict "failover: the view cannot be removed"
	dm_gone p-origin
}

opened()
{
	[ "$(dmsetup info -c --noheadings -o open p-view)" -gt 0 ]
}

drops_are_told()
{
	fresh
	klog_mark
	must "failover" msg p failover
	said 'failover: undoing 8 sectors replicated in the [0-9]+ s since the checkpoint; promote would keep them'
	must "it is done" wait_stage p "done" 10
	said 'failover is done, the view is the disk'
	verdict "failover says what it drops, and its end"
	leave

	fresh
	stamp "$VIEW" 0xa2 "$(at 8)" 12k
	klog_mark
	must "promote" msg p promote
	said 'promote: dropping 32 sectors .* in the [0-9]+ s since the checkpoint; failover would keep them'
	must "its own writes are lost" holds "$VIEW" 0x11 "$(at 0)" 4k
	must "the replica's are there" holds "$VIEW" 0x22 "$(at 1)" 4k
	verdict "promote says what it drops"
	leave
}

events()
{
	dmio events "p-$1"
	echo "${ANSWER#ok }"
}

more_events()
{
	[ "$(events view)" -gt "$1" ] && [ "$(events origin)" -gt "$2" ]
}

# raises TEXT COMMAND...: an event on view and origin.
raises()
{
	local view origin text=$1

	shift
	view=$(events view) origin=$(events origin)
	must "it succeeds" "$@"
	must "events on view and origin" wait_until 5 more_events "$view" "$origin"
	verdict "an event: $text"
}

table_events()
{
	local waiter before

	pair p "$A" "$H" "$S" -- hold_mib 0
	raises "start" msg p start
	raises "checkpoint" msg p checkpoint
	before=$(events view)
	dmsetup wait p-view "$before" &
	waiter=$!
	must "checkpoint" msg p checkpoint
	must "dmsetup wait ends" wait "$waiter"
	verdict "dmsetup wait"
	dm_swap hidden "0 $((LAB_MIB * 2048)) error"
	raises "the first error" eio write "$ORIGIN" 0x25 0 4k
	sleep 0.3
	before=$(events view)
	must "the second" eio write "$ORIGIN" 0x25 0 4k
	must "start" eval '! msg p start'
	sleep 0.3
	must "no event" test "$(events view)" -eq "$before"
	verdict "no event: the second error, a refused message"
	dm_swap hidden "0 $((LAB_MIB * 2048)) linear $LOW 0"
	raises "stop" msg p stop
	raises "start again" msg p start
	must "work for a commit" stamp "$VIEW" 0xa2 0 ${LAB_MIB}m
	must "set" msg p set commit_rate_mib 1
	raises "failover" msg p failover
	must "it goes on" stage_is p failover
	raises "failover is done" msg p set commit_rate_mib 0
	must "it is" stage_is p "done"
	must "remove the view" wait_until 5 dm_gone p-view
	must "rejoin" omsg p rejoin
	must "view" view
	must "start" msg p start
	WHY=()
	raises "promote" msg p promote
	wait_until 5 unpair p
}

null_disk active $LAB_MIB || bail "null_disk"
A=$DISK
null_disk other $LAB_MIB || bail "null_disk"
X=$DISK
null_disk low $LAB_MIB || bail "null_disk"
LOW=$DISK
linear_disk hidden "$LOW" $((LAB_MIB * 2048)) || bail "linear_disk"
H=$DISK
null_disk low2 $LAB_MIB || bail "null_disk"
LOW2=$DISK
linear_disk secondary "$LOW2" $((LAB_MIB * 2048)) || bail "linear_disk"
S=$DISK
for theme in order_of_creation fixed_point set_tunables errors guard fence reloads removals drops_are_told table_events; do
	"$theme"
done
run_ok "nothing is left behind" rmmod dm_repl
plan_end
