# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
#
# For tests of dmrepl: run it and look at what it said. After guest.sh.

OUT=

# three_disks PREFIX: of 16 MiB; what create is told of them is in disks.
three_disks()
{
	local role

	disks=()
	for role in active hidden secondary; do
		null_disk "$1$role" 16 || bail "no disk for $role"
		disks+=("--$role" "$DISK")
	done
}

# gives STATUS TEXT COMMAND...: it ends with that status; what it says is in OUT.
gives()
{
	local want=$1 text=$2 got=0

	shift 2
	OUT=$("$@" 2>&1 </dev/null) || got=$?
	if [ "$got" -eq "$want" ]; then
		ok 0 "$text"
	else
		ok 1 "$text"
		diag "$* gave $got, not $want: $OUT"
		return 1
	fi
}

# one_line TEXT: what was said last is one line that begins with dmrepl's name.
one_line()
{
	like "$OUT" $'^dmrepl: [^\n]+$' "$1"
}

dmrepl_stage()
{
	dmrepl status --json "$1" | jsonget '.pairs[0].stage'
}

# json PATH: a value of the JSON in OUT.
json()
{
	jsonget "$1" <<<"$OUT"
}

# numbers DEVICE...: as device mapper prints them.
numbers()
{
	local device list=()

	for device in "$@"; do
		list+=("$((0x$(stat -Lc %t "$device"))):$((0x$(stat -Lc %T "$device")))")
	done
	echo "${list[*]}"
}

# fits TEXT: what was said last is JSON as the schema has it.
fits()
{
	local found

	found=$(jsonget --schema "$GUEST_LIB/../../Documentation/dmrepl-status.schema.json" <<<"$OUT")
	ok $? "$1" || diag "$found"
}

# nothing_left TEXT: no device, no volume of ours, no file of dmrepl's.
nothing_left()
{
	local left

	left=$(dmsetup info -c --noheadings -o name,uuid | grep DMREPL-
		lvs --noheadings -o lv_name,lv_tags 2>/dev/null | grep dmrepl
		find /etc/dmrepl.d /var/lib/dmrepl -type f 2>/dev/null)
	is "$left" "" "$1"
}
