# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash disable=SC2034 # the variables are for the cases
#
# For the scripts here: each runs the cases that its arguments name, each on a
# pair p of its own, over disks that can be made to fail, or to hold what comes
# until they are mended: so a race comes out the same way every time. What the
# view and secondary must contain is in the files $models/view and
# $models/secondary. The first failure ends it all.

# shellcheck source=tests/lib/guest.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib/guest.sh"

view=/dev/mapper/p-view
origin=/dev/mapper/p-origin
models=/dev/shm
mib=${mib:-4}
total=$((mib * 2048))
t=
declare -A raw model broken

# disk NAME: $mib MiB, /dev/mapper/NAME
disk()
{
	null_disk "${1}0" "$mib" discard=1 || bail "no disk $1"
	raw[$1]=$DISK
	dmsetup create --concise "$1-bad,,,,0 $total error;$1,,,,0 $total linear $DISK 0" ||
		bail "no disk $1"
}

swap_table()
{
	dmsetup load "$1" <<<"$2" && dmsetup resume --noflush --nolockfs "$1"
}

# break_disk NAME KIND [FIRST]: from now on reads or writes, from a sector on,
#   reads, writes		fail
#   hold-reads, hold-writes	wait until the disk is mended, and succeed
#   late-reads, late-writes	wait likewise, and fail
break_disk()
{
	local first=${3:-0} line
	local good="${raw[$1]} $first" bad="/dev/mapper/$1-bad $first"

	case $2 in
	reads) line="$bad 0 $good 0" ;;
	writes) line="$good 0 $bad 0" ;;
	hold-reads) line="$good 60000 $good 0" ;;
	hold-writes) line="$good 0 $good 60000" ;;
	late-reads) line="$bad 60000 $good 0" ;;
	late-writes) line="$good 0 $bad 60000" ;;
	esac
	broken[$1]=1
	line="$first $((total - first)) delay $line"
	[ "$first" -eq 0 ] || line="0 $first linear ${raw[$1]} 0"$'\n'"$line"
	swap_table "$1" "$line"
}

mend()
{
	[ -n "${broken[$1]:-}" ] || return 0
	broken[$1]=
	swap_table "$1" "0 $total linear ${raw[$1]} 0"
}

held_at()
{
	dmsetup status "$1" | awk '$3 == "delay" { held += $4 + $5 } END { exit !held }'
}

# wait_held NAME: a request has come to the disk and waits there.
wait_held()
{
	wait_until 10 held_at "$1"
	ok $? "$t: $1 holds a request"
}

# begin NAME COMMAND...: in the background.
begin()
{
	rm -f "$models/$1.rc"
	{
		local status=0

		"${@:2}" >"$models/$1.out" 2>"$models/$1.err" || status=$?
		echo "$status" >"$models/$1.new"
		mv "$models/$1.new" "$models/$1.rc"
	} &
}

# outcome NAME SECONDS: prints OK, the errno's name, or "under way".
outcome()
{
	local words

	if ! wait_until "$2" test -e "$models/$1.rc"; then
		echo "under way"
	elif [ "$(<"$models/$1.rc")" = 0 ]; then
		echo OK
	else
		words=$(<"$models/$1.err")
		echo "${words##*: }"
	fi
}

# under_way NAME...: what was begun has not ended, nor does it soon.
under_way()
{
	local name

	sleep 0.4
	for name; do
		is "$(outcome "$name" 0)" "under way" "$t: the $name waits"
	done
}

# ended NAME...: what was begun succeeds.
ended()
{
	local name

	for name; do
		is "$(outcome "$name" 8)" OK "$t: the $name succeeds"
	done
}

# in_model view|secondary BYTE OFFSET LENGTH: what must be there from now on.
in_model()
{
	stamp "${model[$1]}" "$2" "$3" "$4"
}

# put view|origin BYTE OFFSET LENGTH: a write that must succeed.
put()
{
	run_ok "$t: the $1 is written at $3" stamp "/dev/mapper/p-$1" "$2" "$3" "$4"
	in_model "${1/origin/secondary}" "$2" "$3" "$4"
}

# A transition: what secondary is, the view becomes, or the other way round.
now_view()
{
	cat "$models/secondary" >"$models/view"
}

now_secondary()
{
	cat "$models/view" >"$models/secondary"
}

# same WHAT MODEL OFFSET LENGTH TEXT: what was read, or what DEVICE holds.
same()
{
	cmp -n "$4" -i "0:$(($3))" "$1" "$models/$2" >"$models/cmp.out" 2>&1
	ok $? "$5" || diag "$(<"$models/cmp.out")"
}

holds()
{
	blkio read "$1" 0 "${total}s" >"$models/whole" 2>"$models/whole.err"
	same "$models/whole" "$2" 0 $((total * 512)) "$3" ||
		diag "$(<"$models/whole.err")"
}

as_they_must()
{
	holds $view view "$1: the view is what it must be"
	holds "${raw[secondary]}" secondary "$1: secondary is what it must be"
}

# began_read OFFSET LENGTH MODEL: what the read that was begun has returned.
began_read()
{
	ended read
	same "$models/read.out" "$3" "$1" "$2" "$t: it returns what was there"
}

# error_is CLASS SECTOR
error_is()
{
	is "$(msg p get_error)" "-5 $1 sector $2 total 1" "$t: the error is recorded"
}

deferring()
{
	[[ $(st p flags) == *deferring* ]]
}

# fresh [FEATURE]...: the running pair p over what secondary holds.
fresh()
{
	mend active
	mend hidden
	mend secondary
	now_view
	LENGTH=$total pair p /dev/mapper/{active,hidden,secondary} -- autostart "$@" ||
		bail "no pair"
}

gone()
{
	unpair p
}

is_done()
{
	wait_stage p "done" 15
	is "$(stage p)" "done" "$t: the failover ends"
	now_secondary
	as_they_must "$t, done"
	gone
}

modprobe loop
for name in active hidden secondary; do
	disk "$name"
done
stamp /dev/mapper/active 0xaa 0 "${mib}m"
stamp /dev/mapper/hidden 0xdd 0 "${mib}m"
for name in view secondary; do
	head -c "${mib}M" /dev/urandom >"$models/$name"
	model[$name]=$(losetup -f --show "$models/$name")
done
dd if="$models/secondary" of="${raw[secondary]}" bs=1M oflag=direct status=none

# Not inherited by functions: a failed test still says what it saw.
trap '[ "$TAP_FAILED" -eq 0 ] || { plan_end; exit 1; }' DEBUG
