# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
#
# What the tests say and do inside the test machine; a test sources this file.
# TAP on standard output; devices are named by the variable DISK after each
# maker. Numbers of bytes may carry s (sectors), k or m.

GUEST_LIB=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export PATH=$GUEST_LIB:$GUEST_LIB/../../tools:$GUEST_LIB/../../tools/dmrepl:$PATH
export DM_DISABLE_UDEV=1 LC_ALL=C

TAP_COUNT=0
TAP_FAILED=0
DISK=
KLOG_MARK=0

declare -A ERRNO_TEXT=(
	[EPERM]="Operation not permitted" [ENOENT]="No such file or directory"
	[EINTR]="Interrupted system call" [EIO]="Input/output error"
	[ENXIO]="No such device or address" [EBADF]="Bad file descriptor"
	[EAGAIN]="Resource temporarily unavailable"
	[ENOMEM]="Cannot allocate memory" [EACCES]="Permission denied"
	[EBUSY]="Device or resource busy" [EEXIST]="File exists"
	[ENODEV]="No such device" [EINVAL]="Invalid argument"
	[ENOSPC]="No space left on device" [EROFS]="Read-only file system"
	[ERANGE]="Numerical result out of range" [ENODATA]="No data available"
	[EOVERFLOW]="Value too large for defined data type"
	[EREMOTEIO]="Remote I/O error" [EILSEQ]="Invalid or incomplete multibyte"
	[EOPNOTSUPP]="Operation not supported" [ETIMEDOUT]="Connection timed out"
	[ENOTBLK]="Block device required" [E2BIG]="Argument list too long"
)

# --- TAP ---------------------------------------------------------------------

diag()
{
	local line

	while IFS= read -r line; do
		printf '# %s\n' "$line"
	done <<<"$*"
}

# ok STATUS TEXT: STATUS 0 is a pass. Returns it, so that `|| diag` may follow.
ok()
{
	TAP_COUNT=$((TAP_COUNT + 1))
	if [ "$1" -eq 0 ]; then
		printf 'ok %d - %s\n' "$TAP_COUNT" "$2"
		return 0
	fi
	TAP_FAILED=$((TAP_FAILED + 1))
	printf 'not ok %d - %s\n' "$TAP_COUNT" "$2"
	printf '#   at %s line %s\n' "${BASH_SOURCE[-1]##*/}" \
		"${BASH_LINENO[${#BASH_LINENO[@]} - 2]}"
	return 1
}

is()
{
	if [ "$1" = "$2" ]; then
		ok 0 "$3"
	else
		ok 1 "$3"
		diag "  got: $1"
		diag " want: $2"
		return 1
	fi
}

isnt()
{
	if [ "$1" != "$2" ]; then
		ok 0 "$3"
	else
		ok 1 "$3"
		diag "  got: $1, which it must not be"
		return 1
	fi
}

# like GOT REGEX TEXT: extended regular expression.
like()
{
	if [[ $1 =~ $2 ]]; then
		ok 0 "$3"
	else
		ok 1 "$3"
		diag "  got: $1"
		diag " want: /$2/"
		return 1
	fi
}

unlike()
{
	if [[ ! $1 =~ $2 ]]; then
		ok 0 "$3"
	else
		ok 1 "$3"
		diag "  got: $1, which matches /$2/"
		return 1
	fi
}

# run_ok TEXT COMMAND...: it succeeds.
run_ok()
{
	local text=$1 output status=0

	shift
	output=$("$@" 2>&1) || status=$?
	if [ "$status" -eq 0 ]; then
		ok 0 "$text"
	else
		ok 1 "$text"
		diag "$* gave $status: $output"
		return 1
	fi
}

# run_fails TEXT ERRNO COMMAND...: it fails, and its words name that errno.
run_fails()
{
	local text=$1 name=$2 output status=0

	shift 2
	output=$("$@" 2>&1) || status=$?
	if [ -z "${ERRNO_TEXT[$name]:-}" ]; then
		ok 1 "$text"
		diag "guest.sh does not know an errno $name"
		return 1
	fi
	if [ "$status" -ne 0 ] && { [[ $output == *"${ERRNO_TEXT[$name]}"* ]] ||
			[[ $output =~ (^|[^A-Z])"$name"($|[^A-Z]) ]]; }; then
		ok 0 "$text"
	else
		ok 1 "$text"
		diag "$* gave $status: $output"
		diag "want: a failure with $name"
		return 1
	fi
}

# skip WHY [COUNT]
skip()
{
	local i

	for ((i = 0; i < ${2:-1}; i++)); do
		TAP_COUNT=$((TAP_COUNT + 1))
		printf 'ok %d # SKIP %s\n' "$TAP_COUNT" "$1"
	done
}

plan_end()
{
	printf '1..%d\n' "$TAP_COUNT"
}

# The test cannot go on.
bail()
{
	diag "$*"
	printf 'Bail out! %s\n' "$*"
	exit 1
}

# --- disks -------------------------------------------------------------------

# null_disk NAME SIZE_MIB [KEY=VALUE]...: a disk in memory. Any null_blk
# attribute may be given (blocksize, completion_nsec, irqmode, discard, ...).
null_disk()
{
	local name=$1 size=$2 dir=/sys/kernel/config/nullb/$1 pair

	shift 2
	[ -d /sys/module/null_blk ] || modprobe null_blk nr_devices=0 || return
	mkdir "$dir" || return
	echo "$size" >"$dir/size"
	echo 1 >"$dir/memory_backed"
	for pair in "$@"; do
		echo "${pair#*=}" >"$dir/${pair%%=*}" || return
	done
	echo 1 >"$dir/power" || return
	# Newer kernels name the disk like its folder, older ones by number.
	DISK=/dev/$name
	[ -b "$DISK" ] || DISK=/dev/nullb$(<"$dir/index")
	[ -b "$DISK" ] || return
}

# null_gone NAME: the disk is no more.
null_gone()
{
	echo 0 >"/sys/kernel/config/nullb/$1/power"
	rmdir "/sys/kernel/config/nullb/$1"
}

# null_bad NAME +FIRST-LAST | -FIRST-LAST: sectors that fail, or no longer do.
null_bad()
{
	echo "$2" >"/sys/kernel/config/nullb/$1/badblocks"
}

# brd_disk NAME SIZE_MIB: all of one size, that of the first call.
BRD_USED=0
BRD_SIZE=
brd_disk()
{
	if [ ! -d /sys/module/brd ]; then
		modprobe brd rd_nr=16 rd_size=$(($2 * 1024)) max_part=0 || return
		BRD_SIZE=$2
	fi
	if [ "$2" != "$BRD_SIZE" ]; then
		diag "brd_disk $1: all brd disks have the size of the first, $BRD_SIZE MiB"
		return 1
	fi
	DISK=/dev/ram$BRD_USED
	BRD_USED=$((BRD_USED + 1))
}

# loop_disk NAME SIZE_MIB [SECTOR_SIZE]: a file in memory behind a loop device.
loop_disk()
{
	modprobe loop || return
	truncate -s "${2}M" "/tmp/$1.img" || return
	DISK=$(losetup -f --show -b "${3:-512}" "/tmp/$1.img")
}

# dm_make NAME TABLE...: a device-mapper device.
dm_make()
{
	local name=$1

	shift
	dmsetup create "$name" --table "$*" || return
	DISK=/dev/mapper/$name
}

# dm_swap NAME TABLE...: another table under a device in use; requests wait
# meanwhile, none is flushed or lost.
dm_swap()
{
	local name=$1

	shift
	dmsetup load "$name" --table "$*" &&
		dmsetup suspend --noflush --nolockfs "$name" &&
		dmsetup resume "$name"
}

# linear_disk NAME DEVICE SECTORS [START]: a part of a device, of any length.
linear_disk()
{
	dm_make "$1" "0 $3 linear $2 ${4:-0}"
}

sectors()
{
	blockdev --getsz "$1"
}

# sysblock DEVICE: its folder in /sys.
sysblock()
{
	echo "/sys/dev/block/$(stat -Lc %Hr:%Lr "$1")"
}

# diskstat DEVICE FIELD: one of the counters in /sys/block/*/stat.
diskstat()
{
	local values at

	read -r -a values <"$(sysblock "$1")/stat"
	case $2 in
	reads) at=0 ;; read_sectors) at=2 ;;
	writes) at=4 ;; written_sectors) at=6 ;;
	inflight) at=8 ;;
	discards) at=11 ;; discarded_sectors) at=13 ;;
	flushes) at=15 ;;
	*) diag "diskstat: no field $2"; return 1 ;;
	esac
	echo "${values[$at]}"
}

# --- requests ----------------------------------------------------------------

# stamp DEVICE BYTE OFFSET LENGTH: write one byte value, past the page cache,
# up to 1 MiB in one request.
stamp()
{
	blkio write "$@"
}

# expect DEVICE BYTE OFFSET LENGTH TEXT: every byte there has that value.
expect()
{
	local output status=0

	output=$(blkio expect "$1" "$2" "$3" "$4" 2>&1) || status=$?
	if [ "$status" -eq 0 ]; then
		ok 0 "$5"
	else
		ok 1 "$5"
		diag "$output"
		return 1
	fi
}

# --- pairs -------------------------------------------------------------------

# features WORD...: as a table line counts them.
features()
{
	if [ $# -gt 0 ]; then
		echo " $# $*"
	fi
}

# blank_metadata SECONDARY: the disk for its pair's metadata; blank, unless a pair
# uses it.
blank_metadata()
{
	local name sys

	name=meta-$(stat -Lc %r "$1")
	DISK=/dev/$name
	[ -b "$DISK" ] ||
		DISK=/dev/nullb$(cat "/sys/kernel/config/nullb/$name/index" 2>&1)
	if [ ! -b "$DISK" ]; then
		null_disk "$name" 1 >&2 || return
	fi
	sys=$(sysblock "$DISK")
	if [ -z "$(ls "$sys/holders")" ]; then
		blkio zeroout "$DISK" 0 1m >&2
	fi
	echo "$DISK"
}

# view_table ACTIVE HIDDEN SECONDARY [FEATURE]...; LENGTH overrides the length.
# With METADATA in the environment each pair gets the feature metadata.
view_table()
{
	local active=$1 hidden=$2 secondary=$3

	shift 3
	if [ -n "${METADATA:-}" ] && [[ " $* " != *" metadata "* ]]; then
		set -- "$@" metadata "$(blank_metadata "$secondary")"
	fi
	echo "0 ${LENGTH:-$(sectors "$secondary")} replication secondary" \
		"$active $hidden $secondary$(features "$@")"
}

# origin_table SECONDARY [FEATURE]...
origin_table()
{
	local secondary=$1

	shift
	echo "0 ${LENGTH:-$(sectors "$secondary")} replication origin" \
		"$secondary$(features "$@")"
}

# pair NAME ACTIVE HIDDEN SECONDARY [ORIGIN FEATURE]... -- [VIEW FEATURE]...:
# makes NAME-origin and NAME-view; VIEW and ORIGIN are their paths.
# shellcheck disable=SC2034 # VIEW and ORIGIN are for the test
pair()
{
	local name=$1 active=$2 hidden=$3 secondary=$4 of=()

	shift 4
	while [ $# -gt 0 ] && [ "$1" != -- ]; do
		of+=("$1")
		shift
	done
	[ $# -eq 0 ] || shift
	dm_make "$name-origin" "$(origin_table "$secondary" "${of[@]}")" || return
	ORIGIN=$DISK
	if ! dm_make "$name-view" "$(view_table "$active" "$hidden" "$secondary" "$@")"; then
		dmsetup remove "$name-origin"
		return 1
	fi
	VIEW=$DISK
}

unpair()
{
	dmsetup remove "$1-view" && dmsetup remove "$1-origin"
}

msg()
{
	local name=$1

	shift
	dmsetup message "$name-view" 0 "$@"
}

omsg()
{
	local name=$1

	shift
	dmsetup message "$name-origin" 0 "$@"
}

# status_field FIELD: one field of the status in values, from the stage on.
status_field()
{
	local flags=${values[13]:-0}

	case $1 in
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
	leaf_bytes) echo "${values[12]}" ;;
	flags) echo "${values[*]:14:flags}" ;;
	args) echo "${values[*]:15 + flags}" ;;
	*) diag "st: no field $1"; return 1 ;;
	esac
}

# st NAME FIELD...: fields of the view's status, one a line, of one moment.
st()
{
	local name=$1 values field

	shift
	read -r -a values < <(dmsetup status --noflush "$name-view" 2>/dev/null)
	# <start> <length> replication secondary <stage> ...
	values=("${values[@]:4}")
	for field in "$@"; do
		status_field "$field" || return
	done
}

stage()
{
	st "$1" stage
}

# ost NAME stage|fence: one field of the origin's status.
ost()
{
	local values

	read -r -a values < <(dmsetup status --noflush "$1-origin" 2>/dev/null)
	case $2 in
	stage) echo "${values[4]:-gone}" ;;
	fence) echo "${values[5]}" ;;
	*) diag "ost: no field $2"; return 1 ;;
	esac
}

# wait_until SECONDS COMMAND...: it comes to succeed in time; SLOW lengthens it.
wait_until()
{
	local end=$((${EPOCHREALTIME/./} + $1 * 1000000 * ${SLOW:-1}))

	shift
	while ! "$@" >/dev/null 2>&1; do
		if [ "${EPOCHREALTIME/./}" -ge "$end" ]; then
			return 1
		fi
		sleep 0.05
	done
}

stage_is()
{
	[ "$(stage "$1")" = "$2" ]
}

# wait_stage NAME STAGE SECONDS
wait_stage()
{
	if ! wait_until "$3" stage_is "$1" "$2"; then
		diag "$1 is $(stage "$1"), not $2, after $3 s"
		return 1
	fi
}

# --- the kernel's log ----------------------------------------------------------

klog_mark()
{
	KLOG_MARK=$((KLOG_MARK + 1))
	echo "klog mark $$.$KLOG_MARK" >/dev/kmsg
}

# klog_since: what the kernel said since the mark.
klog_since()
{
	dmesg | sed "1,/klog mark $$\\.$KLOG_MARK\$/d; s/^\\[[^]]*\\] //"
}
