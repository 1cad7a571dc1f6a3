# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
#
# For guest scripts: disks that can be broken, stopped and mended while a pair
# uses them, and what view and secondary must contain. Needs guest.sh.
#
# A model is a file: $SCRATCH/view and $SCRATCH/secondary. A write that must
# succeed changes the device and the file alike.
#
# Requests, messages and status are answered by one process, dmio, and tables are
# changed by another, dmtab: hundreds of processes would take most of the time.

SCRATCH=${SCRATCH:-/dev/shm}
declare -A RAW_DISK MODEL_DISK BROKEN

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

# The same for what dmsetup would do; see dmtab.c.
modprobe dm-mod
mkfifo "$SCRATCH/dmtab.in" "$SCRATCH/dmtab.out"
dmtab <"$SCRATCH/dmtab.in" >"$SCRATCH/dmtab.out" &
exec 5>"$SCRATCH/dmtab.in" 6<"$SCRATCH/dmtab.out"

# dmtab VERB NAME [LINE[;LINE]...]: sets ANSWER.
dmtab()
{
	printf '%s\n' "$*" >&5
	IFS= read -r ANSWER <&6
	[ "$ANSWER" = ok ]
}

# tables "VERB NAME [LINE[;LINE]...]"...: several, each of which must succeed.
tables()
{
	local order

	for order; do
		if ! dmtab "$order"; then
			ok 1 "$order"
			diag "$ANSWER"
			return 1
		fi
	done
}

# works TEXT VERB WORD..., fails TEXT ERRNO VERB WORD...: what dmio answers.
works()
{
	dmio "${@:2}"
	ok $? "$1" || diag "${*:2}: $ANSWER"
}

fails()
{
	dmio "${@:3}"
	[ "$ANSWER" = "$2" ]
	ok $? "$1" || diag "${*:3}: $ANSWER, want $2"
}

stamp()
{
	dmio write "$@"
}

# msg NAME WORD...: sets ANSWER.
msg()
{
	dmio message "$1-view" "${@:2}"
}

get_error()
{
	dmio message "$1-view" get_error
	echo "${ANSWER#ok }"
}

declare -A FIELD=([stage]=5 [error]=6 [epoch]=7 [active]=9 [saved]=10 [held]=11
	[captures]=14 [spills]=15 [errors]=16)

# st NAME FIELD...: as in guest.sh, several at once.
st()
{
	local values name=$1 field words=()

	dmio status "$name-view"
	read -r -a values <<<"$ANSWER"
	shift
	for field; do
		if [ "$field" = flags ]; then
			words+=("${values[@]:19:${values[18]:-0}}")
		else
			words+=("${values[${FIELD[$field]}]:-gone}")
		fi
	done
	echo "${words[*]}"
}

# faulty NAME SIZE_MIB [KEY=VALUE]...: /dev/mapper/NAME over a disk in memory.
faulty()
{
	local name=$1 total

	null_disk "${name}0" "${@:2}" || return
	RAW_DISK[$name]=$DISK
	total=$(sectors "$DISK")
	tables "create $name-bad 0 $total error" \
		"create $name 0 $total linear $DISK 0" || return
	DISK=/dev/mapper/$name
}

# bad_sectors NAME FIRST COUNT: they fail below everything, until all_well.
bad_sectors()
{
	null_bad "${1}0" "+$2-$(($2 + $3 - 1))"
}

# all_well NAME FIRST COUNT
all_well()
{
	null_bad "${1}0" "-$2-$(($2 + $3 - 1))"
}

# The table line of a fault.
fault_line()
{
	local name=$1 kind=$2 first=$3 count=$4 raw=${RAW_DISK[$1]}
	local bad=/dev/mapper/$1-bad

	case $kind in
	all) echo "$first $count error" ;;
	# dm-flakey fails no reads alone; dm-delay has a disk for each direction
	reads) echo "$first $count delay $bad $first 0 $raw $first 0" ;;
	writes) echo "$first $count flakey $raw $first 0 100 1 error_writes" ;;
	hold-reads) echo "$first $count delay $raw $first 60000 $raw $first 0" ;;
	hold-writes) echo "$first $count delay $raw $first 0 $raw $first 60000" ;;
	hold-flushes) echo "$first $count delay $raw $first 0 $raw $first 0 $raw $first 60000" ;;
	hold-data) echo "$first $count delay $raw $first 0 $raw $first 60000 $raw $first 0" ;;
	late-reads) echo "$first $count delay $bad $first 60000 $raw $first 0" ;;
	late-writes) echo "$first $count delay $raw $first 0 $bad $first 60000" ;;
	*) diag "no such fault: $kind"; return 1 ;;
	esac
}

# break_disk NAME KIND [FIRST COUNT]: from now on some requests to these sectors
#   all, reads, writes		fail at once
#   hold-reads, hold-writes	wait for a minute, or until the disk is mended
#   hold-data			the same for writes, but flushes pass
#   hold-flushes		the same for flushes alone
#   late-reads, late-writes	wait likewise, and then fail
break_disk()
{
	local name=$1 raw=${RAW_DISK[$1]} first=${3:-0} total=$DISK_SECTORS
	local count=${4:-$total} lines

	lines=$(fault_line "$name" "$2" "$first" "$count") || return
	[ "$first" -eq 0 ] || lines="0 $first linear $raw 0;$lines"
	if [ $((first + count)) -lt "$total" ]; then
		lines+=";$((first + count)) $((total - first - count)) linear"
		lines+=" $raw $((first + count))"
	fi
	BROKEN[$name]=1
	tables "swap $name $lines"
}

# mend NAME...: all is well again; what was held goes on.
mend()
{
	local name

	for name in "$@"; do
		[ -n "${BROKEN[$name]:-}" ] || continue
		BROKEN[$name]=
		tables "swap $name 0 $DISK_SECTORS linear ${RAW_DISK[$name]} 0"
	done
}

# dm-delay's status: how many reads, writes and flushes it holds.
held_at()
{
	dmsetup status "$1" | awk -v n="$2" '$3 == "delay" { held += $4 + $5 + $6 }
		END { exit held < n }'
}

# wait_held NAME N: N requests have come to the disk and wait there.
wait_held()
{
	wait_until 10 held_at "$1" "$2" || diag "$1 does not hold $2 requests"
}

# --- requests in the background ----------------------------------------------

# begin NAME COMMAND...
begin()
{
	local name=$1

	shift
	rm -f "$SCRATCH/$name.rc"
	{
		local status=0

		"$@" >"$SCRATCH/$name.out" 2>&1 || status=$?
		echo "$status" >"$SCRATCH/$name.new"
		mv "$SCRATCH/$name.new" "$SCRATCH/$name.rc"
	} &
}

has_ended()
{
	[ -e "$SCRATCH/$1.rc" ]
}

# outcome NAME [SECONDS]: prints OK, the errno's name, or "under way".
outcome()
{
	local words

	if ! wait_until "${2:-10}" has_ended "$1"; then
		echo "under way"
		return
	fi
	if [ "$(<"$SCRATCH/$1.rc")" = 0 ]; then
		echo OK
		return
	fi
	words=$(<"$SCRATCH/$1.out")
	echo "${words##*: }"
}

# deferring NAME: a transition makes newcomers wait. Asks by itself, as dmio may
# be the one that sent it.
deferring()
{
	[[ $(dmsetup status --noflush "$1-view") == *" deferring "* ]]
}

# --- what must be where --------------------------------------------------------

# model NAME SIZE_MIB: a file, also to be had as a disk
model()
{
	modprobe loop && truncate -s "$2M" "$SCRATCH/$1" || return
	MODEL_DISK[$1]=$(losetup -f --show "$SCRATCH/$1")
}

# put view|origin BYTE OFFSET LENGTH: a write that must succeed.
put()
{
	local model=$1

	if ! stamp "/dev/mapper/p-$1" "$2" "$3" "$4"; then
		ok 1 "a write of the $1 at $3, $4 long, succeeds"
		diag "$ANSWER"
		return 1
	fi
	[ "$model" != origin ] || model=secondary
	stamp "${MODEL_DISK[$model]}" "$2" "$3" "$4"
}

# A transition: what the one model is, the other becomes.
model_checkpoint()
{
	cat "$SCRATCH/secondary" >"$SCRATCH/view"
}

model_failover()
{
	cat "$SCRATCH/view" >"$SCRATCH/secondary"
}

# holds DEVICE MODEL TEXT: every byte is as it must be.
holds()
{
	part_holds "$1" "$2" 0 $((DISK_SECTORS * 512)) "$3"
}

# part_holds DEVICE MODEL OFFSET LENGTH TEXT; both in bytes
part_holds()
{
	local output status=0

	output=$(same "$1" "$SCRATCH/$2" "$3" "$4" 2>&1) || status=$?
	ok $status "$5" || diag "$1: $output"
}

# as_they_must TEXT: view and secondary are as their models say.
as_they_must()
{
	holds /dev/mapper/p-view view "$1: the view is what it must be"
	holds "${RAW_DISK[secondary]}" secondary "$1: secondary is what it must be"
}

# three_faulty SIZE_MIB [KEY=VALUE]...: active, hidden, secondary; all differ
three_faulty()
{
	local name

	DISK_SECTORS=$(($1 * 2048))
	for name in active hidden secondary; do
		faulty "$name" "$@" || return
	done
	stamp /dev/mapper/active 0xaa 0 "$1m"
	stamp /dev/mapper/hidden 0xdd 0 "$1m"
	model view "$1"
	model secondary "$1"
	head -c "$1M" /dev/urandom >"$SCRATCH/secondary"
	dd if="$SCRATCH/secondary" of="${RAW_DISK[secondary]}" bs=1M oflag=direct status=none
}

# fresh [FEATURE]...: a running pair p over what secondary holds
fresh()
{
	mend active hidden secondary
	model_checkpoint
	tables "create p-origin 0 $DISK_SECTORS replication origin /dev/mapper/secondary" \
		"create p-view $(LENGTH=$DISK_SECTORS view_table /dev/mapper/{active,hidden,secondary} autostart "$@")"
}

gone()
{
	tables "remove p-view" "remove p-origin"
}

# What get_error and status say.
no_error()
{
	errors_are "$1" none "none 0"
}

# error_is TEXT CLASS SECTOR TOTAL [ERRNO]
error_is()
{
	errors_are "$1" "${5:--5} $2 sector $3 total $4" "$2:${5:--5} $4"
}

errors_are()
{
	is "$(get_error p)" "$2" "$1: get_error says so"
	is "$(st p error errors)" "$3" "$1: status says so"
}
