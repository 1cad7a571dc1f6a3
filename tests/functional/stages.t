#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# vm: --mem 768 --timeout 240
#
# Every cell of the two stage tables. What is typed here is the documentation's;
# the tables in the code must say the same, and the module must do it.

# shellcheck source=tests/lib/guest.sh
. "$(dirname "$0")/../lib/guest.sh"
# shellcheck source=tests/lib/conform.sh
. "$(dirname "$0")/../lib/conform.sh"

STAGES="none running failover failover_failed done stopped invalid"

# stage            view: read  write     flush        discard   origin: read write
ROUTES="
none            eio       eio       eio          eio       secondary secondary
running         overlay   active    flush_active nothing   secondary capture
failover        overlay   blockwise flush_both   nothing   eio       eio
failover_failed overlay   blockwise flush_both   nothing   eio       eio
done            secondary secondary secondary    secondary eio       eio
stopped         secondary eio       eio          eio       secondary secondary
invalid         eio       eio       eio          eio       secondary secondary"

# message    none    running failover failover_failed done stopped invalid
MESSAGES="
start      running EBUSY    ignored EINVAL   ignored running running
checkpoint EINVAL  running  ignored EINVAL   ignored ignored EINVAL
stop       EINVAL  stopped  ignored EINVAL   ignored ignored stopped
failover   EINVAL  failover ignored failover ignored EINVAL  EINVAL
promote    EINVAL  done     EBUSY   EINVAL   ignored done    done"

# The rest of the table, whose cells are not in the code's.
OTHERS="
start_secondary running EBUSY  ignored EINVAL  ignored running running
start_primary   EINVAL  EINVAL ignored EINVAL  ignored EINVAL  EINVAL
get_error       ENXIO   text   text    text    text    text    text
guard_on        ok      ok     EINVAL  EINVAL  EINVAL  ok      ok
guard_off       ok      ok     EINVAL  EINVAL  EINVAL  ok      ok
set             ok      ok     ok      ok      ok      ok      ok
get_errors      ok      ok     ok      ok      ok      ok      ok
clear_error     ok      ok     ok      ok      ok      ok      ok"

documented()
{
	awk 'NF {
		n = split("view_read view_write view_flush view_discard origin_read origin_write", kind)
		for (i = 1; i <= n; i++)
			print "route", $1, kind[i], $(i + 1)
	}' <<<"$ROUTES"
	awk -v stages="$STAGES" 'NF {
		n = split(stages, stage)
		for (i = 1; i <= n; i++)
			print "message", stage[i], $1, $(i + 1)
	}' <<<"$1"
}

# --- requests: see_KIND WAY STAGE ------------------------------------------------

see_view_read()
{
	case $1 in
	eio)
		must "EIO" eio read "$VIEW" "$(at 2)" 4k
		;;
	overlay)
		must "active first" holds "$VIEW" 0xa1 "$(at 0)" 4k
		must "then what was saved" holds "$VIEW" 0x11 "$(at 1)" 4k
		must "then secondary" holds "$VIEW" 0x11 "$(at 2)" 4k
		must "secondary has other data" holds "$S" 0x22 "$(at 1)" 4k
		must "all in one request" dmio read "$VIEW" "$(at 0)" 12k
		;;
	secondary)
		# What is put below shows, also where the overlay had something.
		stamp "$S" 0x5c "$(at 0)" 12k
		must "secondary" holds "$VIEW" 0x5c "$(at 0)" 12k
		stamp "$S" 0x11 "$(at 0)" 12k
		;;
	esac
}

see_view_write()
{
	case $1 in
	eio)
		must "EIO" eio write "$VIEW" 0xb2 "$(at 4)" 4k
		must "secondary untouched" holds "$S" 0x11 "$(at 4)" 4k
		;;
	active)
		must "success" stamp "$VIEW" 0xb2 "$(at 4)" 4k
		must "it is on active" holds "$A" 0xb2 "$(at 4)" 4k
		must "secondary untouched" holds "$S" 0x11 "$(at 4)" 4k
		must "the view shows it" holds "$VIEW" 0xb2 "$(at 4)" 4k
		;;
	blockwise)
		# One request over a saved page and one without overlay.
		must "success" stamp "$VIEW" 0xb2 "$(at 1)" 8k
		must "overlaid: on active" holds "$A" 0xb2 "$(at 1)" 4k
		must "overlaid: not on secondary" holds "$S" 0x22 "$(at 1)" 4k
		must "else: not on active" holds "$A" 0xee "$(at 2)" 4k
		must "else: on secondary" holds "$S" 0xb2 "$(at 2)" 4k
		must "the view shows it" holds "$VIEW" 0xb2 "$(at 1)" 8k
		;;
	secondary)
		must "success" stamp "$VIEW" 0xb2 "$(at 4)" 4k
		must "it is on secondary" holds "$S" 0xb2 "$(at 4)" 4k
		must "not on active" holds "$A" 0xee "$(at 4)" 4k
		;;
	esac
}

see_view_flush()
{
	local active=0 secondary=0

	case $1 in
	flush_active) active=1 ;;
	flush_both) active=1 secondary=1 ;;
	secondary) secondary=1 ;;
	esac
	count_from "$A" "$H" "$S"
	if [ "$1" = eio ]; then
		must "EIO" eio flush "$VIEW"
	else
		must "success" dmio flush "$VIEW"
	fi
	counted "$A"
	must "flushes of active: $active" test "${COUNTED##* }" -eq $active
	counted "$H"
	must "flushes of hidden: 0" test "${COUNTED##* }" -eq 0
	counted "$S"
	must "flushes of secondary: $secondary" test "${COUNTED##* }" -eq $secondary
}

see_view_discard()
{
	count_from "$A" "$H" "$S"
	if [ "$1" = eio ]; then
		must "EIO" eio discard "$VIEW" "$(at 6)" 8k
	else
		must "success" dmio discard "$VIEW" "$(at 6)" 8k
	fi
	counted "$S"
	if [ "$1" = secondary ]; then
		must "secondary got it" test "$COUNTED_SECTORS" = "0 0 16"
		must "secondary discarded" holds "$S" 0 "$(at 6)" 8k
		must "the view shows it" holds "$VIEW" 0 "$(at 6)" 8k
	else
		must "secondary got none" test "${COUNTED_SECTORS##* }" -eq 0
		must "secondary untouched" holds "$S" 0x11 "$(at 6)" 8k
	fi
	if [ "$1" = nothing ]; then
		must "the view untouched" holds "$VIEW" 0x11 "$(at 6)" 8k
	fi
	counted "$A"
	must "active got none" test "${COUNTED_SECTORS##* }" -eq 0
	counted "$H"
	must "hidden got none" test "${COUNTED_SECTORS##* }" -eq 0
}

see_origin_read()
{
	if [ "$1" = eio ]; then
		must "EIO" eio read "$ORIGIN" "$(at 2)" 4k
		return
	fi
	stamp "$S" 0x5c "$(at 10)" 4k
	must "what secondary has" holds "$ORIGIN" 0x5c "$(at 10)" 4k
	stamp "$S" 0x11 "$(at 10)" 4k
}

# see_origin_change WAY PAGE BYTE VERB...: of a page that nobody has written.
see_origin_change()
{
	local way=$1 page=$2 byte=$3 saved

	shift 3
	if [ "$way" = eio ]; then
		must "EIO" eio "$@"
		must "secondary untouched" holds "$S" 0x11 "$(at "$page")" 4k
		return
	fi
	saved=$(st p saved)
	must "success" dmio "$@"
	must "secondary has it" holds "$S" "$byte" "$(at "$page")" 4k
	if [ "$way" = capture ]; then
		must "the view has the old data" holds "$VIEW" 0x11 "$(at "$page")" 4k
		must "8 sectors more are saved" test "$(st p saved)" -eq $((saved + 8))
	else
		must "nothing more is saved" test "$(st p saved)" -eq "$saved"
	fi
}

see_origin_write()
{
	see_origin_change "$1" 12 0x22 write "$ORIGIN" 0x22 "$(at 12)" 4k
	verdict "$2: origin write: $1"
	see_origin_change "$1" 13 0 punch "$ORIGIN" "$(at 13)" 4096
	verdict "$2: origin write-zeroes: $1"
	see_origin_change "$1" 14 0 discard "$ORIGIN" "$(at 14)" 4k
	verdict "$2: origin discard: $1"
}

# see_fence STAGE: it overrides the origin's part, and nothing else.
see_fence()
{
	stamp "$S" 0x11 "$(at 0)" 64k
	must "the origin takes the fence" dm_swap p-origin "$(origin_table "$SEC" fenced)"
	must "it is fenced" test "$(ost p fence)" = fenced
	must "the stage stays" stage_is p "$1"
	see_origin_read eio
	verdict "$1, fenced: origin read: eio"
	see_origin_write eio "$1, fenced"
	must "flush: EIO" eio flush "$ORIGIN"
	verdict "$1, fenced: origin flush: eio"
	if [ "$1" = running ]; then
		must "the view goes on" holds "$VIEW" 0xa1 "$(at 0)" 4k
		must "the view goes on" stamp "$VIEW" 0xb3 "$(at 4)" 4k
		verdict "$1, fenced: the view is not concerned"
	fi
	must "rejoin" omsg p rejoin
	must "the fence is lifted" test "$(ost p fence)" = open
	must "the origin is served" dmio read "$ORIGIN" "$(at 2)" 4k
	verdict "$1: rejoin lifts the fence"
}

# see_requests STAGE: the pair is in that stage.
see_requests()
{
	local what stage kind way

	stamp "$S" 0x11 "$(at 2)" 56k
	while read -r what stage kind way; do
		[ "$what $stage" = "route $1" ] || continue
		"see_$kind" "$way" "$1"
		[ "$kind" = origin_write ] || verdict "$1: ${kind/_/ }: $way"
	done <<<"$CELLS"
	case $1 in
	none|running|stopped|invalid)
		# with metadata the fence is what that says, not the table
		[ -n "${METADATA:-}" ] || see_fence "$1"
		;;
	esac
}

# --- messages ----------------------------------------------------------------------

# send MESSAGE: sets REPLY and STATUS.
send()
{
	local words

	case $1 in
	set) words=(set checkpoint_timeout_ms 4999) ;;
	guard_on|guard_off|start_*) words=("${1%_*}" "${1#*_}") ;;
	*) words=("$1") ;;
	esac
	STATUS=0
	msg p "${words[@]}" || STATUS=$?
	REPLY=${ANSWER#ok }
}

# Stage, error, epoch, captures, spills, errors.
state()
{
	local values

	dmio status p-view
	read -r -a values <<<"$ANSWER"
	echo "${values[*]:5:3} ${values[*]:14:3}"
}

# see_message STAGE MESSAGE OUTCOME: the pair is in that stage.
see_message()
{
	local before after

	before=$(state)
	send "$2"
	after=$(state)
	if [ "$2" = clear_error ]; then
		must "no error: $after" test "$(st p error)" = none
		must "none counted: $after" test "${after##* }" -eq 0
		before=$after
	fi
	case $3 in
	E*)
		must "it fails" test $STATUS -ne 0
		must "with $3, not: $REPLY" test "$REPLY" = "$3"
		must "nothing changes: $before, then $after" test "$before" = "$after"
		;;
	ignored|ok|text)
		must "it succeeds: $REPLY" test $STATUS -eq 0
		must "nothing changes: $before, then $after" test "$before" = "$after"
		;;
	*)
		must "it succeeds: $REPLY" test $STATUS -eq 0
		must "it is $3" test "${after%% *}" = "$3"
		;;
	esac
	case $1.$2.$3 in
	failover_failed.get_error.text|invalid.get_error.text)
		must "the error's text, not: $REPLY" grep -qE '^-5 (commit|capture) sector [0-9]+ total [0-9]+$' <<<"$REPLY"
		;;
	*.get_error.text)
		must "no error, not: $REPLY" test "$REPLY" = none
		;;
	running.checkpoint.running)
		read -r -a before <<<"$before"
		read -r -a after <<<"$after"
		must "the epoch is one more" test "${after[2]}" -eq $((before[2] + 1))
		;;
	esac
	verdict "$1: ${2/_/ }: $3"
}

# see_messages STAGE: those that do not change it. Sets LEAVING to the others.
see_messages()
{
	local what stage message outcome line lines=0 refused=0

	LEAVING=()
	klog_mark
	while read -r what stage message outcome; do
		[ "$what $stage" = "message $1" ] || continue
		case $outcome in
		ignored|ok|text) ;;
		E*) refused=$((refused + 1)) ;;
		"$1") ;;
		*) LEAVING+=("$message $outcome"); continue ;;
		esac
		see_message "$1" "$message" "$outcome"
	done <<<"$CELLS"
	our_words
	while IFS= read -r line; do
		[[ $line != *"in stage $1:"* ]] || lines=$((lines + 1))
	done <<<"$SAID"
	is "$lines" "$refused" "$1: every refusal is one line in the log" || diag "$SAID"
}

# see_stage STAGE: all its cells. Each message that changes the stage gets a
# pair that is in it.
see_stage()
{
	local cell

	if ! enter "$1"; then
		ok 1 "$1: reached"
		leave
		return
	fi
	see_requests "$1"
	see_messages "$1"
	is "$(stage p)" "$1" "$1: it has been in that stage all the time"
	for cell in "${LEAVING[@]}"; do
		stage_is p "$1" || { leave; enter "$1" || ok 1 "$1: reached again"; }
		# Without work a failover is over at once.
		[ "$cell" != "failover failover" ] || stamp "$VIEW" 0xa2 0 20m
		see_message "$1" "${cell% *}" "${cell#* }"
	done
	leave
}

sources=$(dirname "$0")/../..
code=$("$(dirname "$0")/../lib/stage-tables" "$sources")
is "$(sort <<<"$code")" "$(documented "$MESSAGES" | sort)" "the code's tables are the documentation's"
is "$(grep -c '' <<<"$code")" 77 "all their cells are there"

# The cells that are seen are the code's own, then the rest of the messages.
CELLS="$code
$(documented "$OTHERS" | grep ^message)"
lab || bail "no laboratory"
for stage in $STAGES; do
	see_stage "$stage"
done
run_ok "nothing is left behind" rmmod dm_repl
plan_end
