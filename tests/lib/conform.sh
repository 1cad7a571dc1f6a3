# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
#
# For guest scripts that bring a pair into each of its stages; needs guest.sh.
# shellcheck disable=SC2034 # variables for the test

# --- checks of several conditions ----------------------------------------------

WHY=()

# must REASON COMMAND...: one condition of the check that verdict closes.
must()
{
	local reason=$1

	shift
	if ! "$@" >/dev/null 2>&1; then
		WHY+=("$reason")
	fi
}

# verdict TEXT: one test; it passes if every must since the last one was met.
verdict()
{
	local reason

	if ! ok ${#WHY[@]} "$1"; then
		for reason in "${WHY[@]}"; do
			diag "  not so: $reason"
		done
	fi
	WHY=()
}

# --- requests, messages, status: one process answers all of them -----------------

modprobe dm-mod
coproc DMIO { exec dmio; }
# A subshell has no use for a coprocess, but for copies of its descriptors.
exec 7>&"${DMIO[1]}" 8<&"${DMIO[0]}"

# dmio VERB WORD...: sets ANSWER; see dmio.c.
dmio()
{
	printf '%s\n' "$*" >&7
	IFS= read -r ANSWER <&8
	[[ $ANSWER == ok* ]]
}

# Sets MISSING to what device-mapper says of a device that is not there: ENODEV,
# newer kernels ENOENT.
ask_of_missing()
{
	dmio create nobody "0 8 linear /dev/none 0"
	MISSING=$ANSWER
	[[ $MISSING == ENODEV || $MISSING == ENOENT ]] || bail "no such device: $MISSING"
}

# The makers of guest.sh, without a process for each step.
dm_make()
{
	local table="${*:2}"

	DISK=/dev/mapper/$1
	dmio create "$1" "${table//$'\n'/;}"
}

dm_swap()
{
	local table="${*:2}"

	dmio swap "$1" "${table//$'\n'/;}"
}

dm_gone()
{
	dmio remove "$1"
}

sectors()
{
	dmio sectors "$1"
	echo "${ANSWER#ok }"
}

unpair()
{
	dm_gone "$1-view" && dm_gone "$1-origin"
}

# stamp DEVICE BYTE OFFSET LENGTH: in one system call, whatever the length.
stamp()
{
	dmio write "$@"
}

# holds DEVICE BYTE OFFSET LENGTH: a condition, where expect is a test.
holds()
{
	dmio holds "$@"
}

# expect DEVICE BYTE OFFSET LENGTH TEXT
expect()
{
	if ! ok "$(dmio holds "${@:1:4}"; echo $?)" "$5"; then
		holds "${@:1:4}"
		diag "$1: $ANSWER"
		return 1
	fi
}

# eio VERB...: this request fails with EIO.
eio()
{
	! dmio "$@" && [ "$ANSWER" = EIO ]
}

# msg NAME WORD...: to the view; sets ANSWER.
msg()
{
	dmio message "$1-view" "${@:2}"
}

omsg()
{
	dmio message "$1-origin" "${@:2}"
}

# st NAME FIELD: as in guest.sh.
st()
{
	local values flags

	dmio status "$1-view"
	read -r -a values <<<"$ANSWER"
	# ok <start> <length> replication secondary <stage> ...
	values=("${values[@]:5}")
	case $2 in
	stage) echo "${values[0]:-gone}" ;;
	error) echo "${values[1]}" ;;
	epoch) echo "${values[2]}" ;;
	age) echo "${values[3]}" ;;
	active) echo "${values[4]}" ;;
	saved) echo "${values[5]}" ;;
	held) echo "${values[6]}" ;;
	committed) echo "${values[7]%/*}" ;;
	to_commit) echo "${values[7]#*/}" ;;
	pause) echo "${values[8]%/*}" ;;
	longest_pause) echo "${values[8]#*/}" ;;
	captures) echo "${values[9]}" ;;
	spills) echo "${values[10]}" ;;
	errors) echo "${values[11]}" ;;
	flags)
		flags=${values[13]}
		echo "${values[*]:14:flags}"
		;;
	args)
		flags=${values[13]}
		echo "${values[*]:15 + flags}"
		;;
	*) diag "st: no field $2"; return 1 ;;
	esac
}

# --- what a device gets ----------------------------------------------------------

declare -A STAT_FILE STAT_THEN

quiet()
{
	local now

	read -r -a now <"${STAT_FILE[$1]}"
	[ "${now[8]}" -eq 0 ]
}

# count_from DEVICE...: what they get from now on is told by counted.
count_from()
{
	local device

	for device in "$@"; do
		if [ -z "${STAT_FILE[$device]:-}" ]; then
			STAT_FILE[$device]=$(sysblock "$device")/stat
		fi
		wait_until 5 quiet "$device"
		read -r "STAT_THEN[$device]" <"${STAT_FILE[$device]}"
	done
}

# counted DEVICE: sets COUNTED to "<reads> <writes> <discards> <flushes>" and
# COUNTED_SECTORS to "<read> <written> <discarded>". A request is counted a
# little after it has ended, so wait until none is in flight.
counted()
{
	local before now

	wait_until 5 quiet "$1"
	read -r -a now <"${STAT_FILE[$1]}"
	read -r -a before <<<"${STAT_THEN[$1]}"
	COUNTED="$((now[0] - before[0])) $((now[4] - before[4]))"
	COUNTED+=" $((now[11] - before[11])) $((now[15] - before[15]))"
	COUNTED_SECTORS="$((now[2] - before[2])) $((now[6] - before[6]))"
	COUNTED_SECTORS+=" $((now[13] - before[13]))"
}

counted_as()
{
	counted "$1"
	[ "$COUNTED" = "$2" ]
}

# gets REASON DEVICE "READS WRITES DISCARDS FLUSHES": a condition. What has ended
# by its bio is for a moment neither in flight nor counted.
gets()
{
	if ! wait_until 1 counted_as "$2" "$3"; then
		WHY+=("$1: $3 reads, writes, discards, flushes; it got $COUNTED")
	fi
}

# --- the kernel's words ------------------------------------------------------------

klog_mark()
{
	SAID='' SAID_LINES=0
	dmio mark
}

# our_words: sets SAID to what the module, or dm for it, has logged since
# klog_mark, and SAID_LINES to the number of lines.
our_words()
{
	local line

	echo klog >&7
	while IFS= read -r line <&8 && [ "$line" != ok ]; do
		if [[ $line =~ ^device-mapper:\ (table:\ ([0-9:]+:\ )?)?(replication:\ )?(.*)$ ]] &&
				[[ $line != "device-mapper: ioctl:"* ]]; then
			SAID+=${SAID:+$'\n'}${BASH_REMATCH[4]}
			SAID_LINES=$((SAID_LINES + 1))
		fi
	done
}

# refused TEXT ERRNO REGEX COMMAND...: it fails with that errno, and the one
# line in the kernel's log says why. dmio is a command, too.
refused()
{
	local text=$1 errno=$2 regex=$3 status=0

	shift 3
	klog_mark
	if [ "$1" = dmio ]; then
		"$@" || status=$?
	else
		ANSWER=$("$@" 2>&1) || status=$?
	fi
	our_words
	if [ "$status" -eq 0 ]; then
		WHY+=("it fails")
	elif [ "$ANSWER" != "$errno" ] && [[ $ANSWER != *"${ERRNO_TEXT[$errno]}"* ]]; then
		WHY+=("it fails with $errno: $ANSWER")
	fi
	if [ "$SAID_LINES" -ne 1 ] || [[ ! $SAID =~ $regex ]]; then
		WHY+=("one line matches /$regex/: $SAID")
	fi
	verdict "$text"
}

# --- a laboratory: three disks of LAB_MIB, secondary with a lid ---------------------

LAB_MIB=24
LAB_BASE=$((20 << 20))	# what is looked at; before it: work for a failover

# at PAGE: its offset.
at()
{
	echo $((LAB_BASE + $1 * 4096))
}

# lab: makes A, H and S (loop devices) and SEC, a dm device over S, which can be
# made to fail in parts.
lab()
{
	loop_disk active $LAB_MIB || return
	A=$DISK
	loop_disk hidden $LAB_MIB || return
	H=$DISK
	loop_disk secondary $LAB_MIB || return
	S=$DISK
	linear_disk sec "$S" $((LAB_MIB * 2048)) || return
	SEC=$DISK
}

# sec_fails FIRST COUNT: these sectors of secondary fail.
sec_fails()
{
	local end=$((LAB_MIB * 2048)) first=$1 next=$(($1 + $2)) table=

	if [ "$first" -gt 0 ]; then
		table="0 $first linear $S 0"$'\n'
	fi
	table+="$first $2 error"
	if [ "$next" -lt "$end" ]; then
		table+=$'\n'"$next $((end - next)) linear $S $next"
	fi
	dm_swap sec "$table"
}

sec_works()
{
	dm_swap sec "0 $((LAB_MIB * 2048)) linear $S 0"
}

# In running, secondary held 0x11 at the start; page 0 is written by the view
# (0xa1), page 1 by the origin (0x22), the others by nobody.
enter_running()
{
	stamp "$S" 0x11 $LAB_BASE 128k && stamp "$A" 0xee $LAB_BASE 128k &&
		msg p start && stamp "$VIEW" 0xa1 "$(at 0)" 4k &&
		stamp "$ORIGIN" 0x22 "$(at 1)" 4k
}

# A capture fails for one bad sector beside the one that is written.
enter_invalid()
{
	local page=$(((LAB_BASE + (1 << 20)) / 512))

	enter_running && sec_fails $((page + 4)) 1 || return
	stamp "$ORIGIN" 0x77 ${page}s 1s || return
	sec_works
}

# 20 MiB at 1 MiB/s: time enough to look.
enter_failover()
{
	enter_running && stamp "$VIEW" 0xa2 0 20m && msg p failover
}

enter_failover_failed()
{
	enter_running && stamp "$VIEW" 0xa2 0 20m && sec_fails 0 2048 || return
	msg p failover && wait_stage p failover_failed 10 && sec_works
}

# enter STAGE: makes the pair p and brings it there.
enter()
{
	pair p "$A" "$H" "$SEC" -- on_capture_error drop_view commit_rate_mib 1 ||
		return
	case $1 in
	none) ;;
	stopped) enter_running && msg p stop ;;
	done)
		enter_running && msg p set commit_rate_mib 0 &&
			msg p failover && wait_stage p "done" 10
		;;
	*) "enter_$1" ;;
	esac || return
	[ "$(stage p)" = "$1" ]
}

# leave: ends the pair, whatever its stage.
leave()
{
	msg p set commit_rate_mib 0
	if [ "$(stage p)" = failover_failed ]; then
		msg p failover
	fi
	if [ "$(stage p)" = failover ]; then
		wait_stage p "done" 20
	fi
	wait_until 5 dm_gone p-view
	dm_gone p-origin
}
