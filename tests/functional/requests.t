#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# vm: --mem 768 --timeout 240
#
# Requests of every kind and size: what the devices get of them, counted; and
# that each sector ends up where it should.

# shellcheck source=tests/lib/guest.sh
. "$(dirname "$0")/../lib/guest.sh"
# shellcheck source=tests/lib/conform.sh
. "$(dirname "$0")/../lib/conform.sh"

LAB_BASE=0

# disks MIB KEY=VALUE...: A, H and S, with a cache that can be flushed.
disks()
{
	local role

	for role in a h s; do
		null_disk "$role" "$1" cache_size=1 "${@:2}" || return
		declare -g "${role^^}=$DISK"
	done
	# Not what they count, but what we see below must be what is in the cache.
	STAT_FILE=()
}

disks_gone()
{
	null_gone a && null_gone h && null_gone s
}

# begin FEATURE...: a pair that runs, secondary all 0x11, the others all 0xee.
begin()
{
	stamp "$S" 0x11 0 "$SIZE" && stamp "$A" 0xee 0 "$SIZE" &&
		stamp "$H" 0xee 0 "$SIZE" &&
		pair p "$A" "$H" "$S" -- "$@" && msg p start
}

# costs TEXT "ACTIVE" "HIDDEN" "SECONDARY" VERB...: reads, writes, discards and
# flushes that the request makes on each. (A flush is counted as a write, too.)
costs()
{
	local text=$1 active=$2 hidden=$3 secondary=$4

	shift 4
	count_from "$A" "$H" "$S"
	must "it succeeds" dmio "$@"
	gets active "$A" "$active"
	gets hidden "$H" "$hidden"
	gets secondary "$S" "$secondary"
	verdict "cost: $text"
}

none="0 0 0 0"

# What makes the first write cheap: no write to hidden, no second read.
costs_in_running()
{
	costs "origin's first write, 4 KiB: 1 read, 1 write" \
		"$none" "$none" "1 1 0 0" write "$ORIGIN" 0x22 "$(at 0)" 4k
	is "$COUNTED_SECTORS" "8 8 0" "of 8 sectors each"
	costs "origin's rewrite: 1 write" "$none" "$none" "0 1 0 0" write "$ORIGIN" 0x23 "$(at 0)" 4k
	costs "origin's first write, one sector: 1 read, 1 write" \
		"$none" "$none" "1 1 0 0" write "$ORIGIN" 0x22 "$(at 2)" 1s
	is "$COUNTED_SECTORS" "8 1 0" "the read is of a page"
	costs "origin's first write, 64 KiB: 1 read, 1 write" \
		"$none" "$none" "1 1 0 0" write "$ORIGIN" 0x22 "$(at 16)" 64k
	is "$COUNTED_SECTORS" "128 128 0" "of 128 sectors each"
	costs "origin's write, half of it captured: the read is of the other half" \
		"$none" "$none" "1 1 0 0" write "$ORIGIN" 0x22 "$(at 24)" 64k
	is "$COUNTED_SECTORS" "64 128 0" "64 sectors are read"
	costs "view's first write: 1 write to active" "0 1 0 0" "$none" "$none" \
		write "$VIEW" 0xa1 "$(at 64)" 4k
	costs "origin's write over what active covers: 1 write, no read" \
		"$none" "$none" "0 1 0 0" write "$ORIGIN" 0x22 "$(at 64)" 4k
	stamp "$VIEW" 0xa1 "$(at 70)" 7s
	costs "origin's write over what active covers but for a sector: 1 read, 1 write" \
		"$none" "$none" "1 1 0 0" write "$ORIGIN" 0x22 "$(at 70)" 4k
	costs "view's read of active: 1 read" "1 0 0 0" "$none" "$none" read "$VIEW" "$(at 64)" 4k
	costs "view's read of what is held: none" "$none" "$none" "$none" read "$VIEW" "$(at 0)" 4k
	costs "view's read of secondary: 1 read" "$none" "$none" "1 0 0 0" read "$VIEW" "$(at 128)" 4k
	costs "view's read of all three: 1 read each, held is in memory" \
		"1 0 0 0" "$none" "1 0 0 0" read "$VIEW" "$(at 63)" 8k
	costs "view's flush: active" "0 1 0 1" "$none" "$none" flush "$VIEW"
	costs "origin's flush: secondary" "$none" "$none" "0 1 0 1" flush "$ORIGIN"
	stamp "$VIEW" 0xa2 "$(at 65)" 4k
	stamp "$ORIGIN" 0x24 "$(at 66)" 4k
	costs "origin's discard, first: 1 read, 1 discard" "$none" "$none" "1 0 1 0" \
		discard "$ORIGIN" "$(at 80)" 16k
	costs "origin's discard again: 1 discard" "$none" "$none" "0 0 1 0" \
		discard "$ORIGIN" "$(at 80)" 16k
	costs "view's discard: none" "$none" "$none" "$none" discard "$VIEW" "$(at 64)" 16k
	must "what was held is old" holds "$VIEW" 0x11 "$(at 0)" 16k
	must "what was discarded is old" holds "$VIEW" 0x11 "$(at 80)" 16k
	must "active" holds "$VIEW" 0xa1 "$(at 64)" 4k
	must "active, seven sectors" holds "$VIEW" 0xa1 "$(at 70)" 7s
	must "the eighth is old" holds "$VIEW" 0x11 "$(($(at 70) / 512 + 7))s" 1s
	must "active, rewritten" holds "$VIEW" 0xa2 "$(at 65)" 4k
	verdict "the view after all that"
	must "secondary was discarded" holds "$S" 0 "$(at 80)" 16k
	must "and written" holds "$S" 0x24 "$(at 66)" 4k
	verdict "secondary after all that"
}

costs_in_done()
{
	must "promote" msg p promote
	verdict "promote"
	costs "done: view's read: 1 read of secondary" "$none" "$none" "1 0 0 0" \
		read "$VIEW" "$(at 60)" 64k
	costs "done: view's write: 1 write to secondary" "$none" "$none" "0 1 0 0" \
		write "$VIEW" 0xa3 "$(at 64)" 4k
	costs "done: view's flush: secondary" "$none" "$none" "0 1 0 1" flush "$VIEW"
	costs "done: view's discard: secondary" "$none" "$none" "0 0 1 0" \
		discard "$VIEW" "$(at 64)" 16k
	leave
}

costs_otherwise()
{
	begin hold_mib 0
	costs "hold_mib 0: origin's first write: 1 read, 1 write, hidden 1 write" \
		"$none" "0 1 0 0" "1 1 0 0" write "$ORIGIN" 0x22 "$(at 0)" 4k
	costs "hold_mib 0: view's read of what was saved: 1 read of hidden" \
		"$none" "1 0 0 0" "$none" read "$VIEW" "$(at 0)" 4k
	costs "hold_mib 0: view's read of saved and not: one read of each" \
		"$none" "1 0 0 0" "1 0 0 0" read "$VIEW" "$(at 0)" 8k
	msg p stop
	costs "stopped: origin's write: 1 write" "$none" "$none" "0 1 0 0" \
		write "$ORIGIN" 0x22 "$(at 8)" 4k
	costs "stopped: origin's flush: secondary" "$none" "$none" "0 1 0 1" flush "$ORIGIN"
	leave
}

# --- a model: files that get every write, too -------------------------------------

# both FILE DEVICE BYTE SECTOR SECTORS
both()
{
	must "write $4+$5" stamp "$2" "$3" "${4}s" "${5}s"
	must "model" stamp "$1" "$3" "${4}s" "${5}s"
}

same()
{
	dmio same "$1" "$2" "${SIZE_SECTORS}s"
}

# sizes UNIT TEXT: borders of pages, leaves, of the device; odd lengths. UNIT is
# the block in sectors.
sizes()
{
	local end=$((SIZE_SECTORS)) u=$1 byte=0x30 n=0 at length spans

	stamp "$S" 0x11 0 "${end}s"
	begin_model
	# <sector> <sectors>, in units of a block
	spans="0 1  1 1  7 1  8 8  15 2  31 1  33 9  100 57
		2047 1  2048 1  2040 16  2041 7  2046 3  2000 100
		4095 2  4090 2048  6143 1  6144 2048"
	# shellcheck disable=SC2086 # words
	set -- $spans
	while [ $# -gt 0 ]; do
		at=$(($1 / u * u)) length=$((($2 + u - 1) / u * u))
		both /tmp/secondary "$ORIGIN" $byte $at $length
		byte=$((byte + 1)) n=$((n + 1))
		if [ $((n % 2)) -eq 0 ]; then
			at=$((($1 + 3 * u) / u * u))
			both /tmp/view "$VIEW" $byte $at $length
			byte=$((byte + 1))
		fi
		shift 2
	done
	# The end of the device, which may lie within a page.
	both /tmp/secondary "$ORIGIN" $byte $((end - u)) "$u"
	both /tmp/view "$VIEW" $((byte + 1)) $((end - 3 * u)) $((2 * u))
	both /tmp/secondary "$ORIGIN" $((byte + 2)) $((end - 8 * u)) $((8 * u))
	verdict "$TEXT: writes of every size and place"
	must "the view" same /tmp/view "$VIEW"
	must "secondary" same /tmp/secondary "$S"
	must "the origin" same /tmp/secondary "$ORIGIN"
	verdict "$TEXT: view and secondary are what they should be"
	must "checkpoint" msg p checkpoint
	must "the view is the replica" same /tmp/secondary "$VIEW"
	cp /tmp/secondary /tmp/view
	both /tmp/secondary "$ORIGIN" 0x21 $((2040 / u * u)) $((16 * u))
	both /tmp/view "$VIEW" 0x24 $((2044 / u * u)) $((8 * u))
	must "the view" same /tmp/view "$VIEW"
	must "failover" msg p failover
	must "it is done" wait_stage p "done" 10
	must "the view stays" same /tmp/view "$VIEW"
	must "secondary is the view" same /tmp/view "$S"
	verdict "$TEXT: so they are after checkpoint and failover"
	leave
}

begin_model()
{
	: >/tmp/view
	: >/tmp/secondary
	stamp /tmp/view 0x11 0 "${SIZE_SECTORS}s"
	stamp /tmp/secondary 0x11 0 "${SIZE_SECTORS}s"
	pair p "$A" "$H" "$S" -- hold_mib "$HOLD" && msg p start
}

# One bio of 4 MiB: huge pages make it so.
large()
{
	local side before

	begin
	echo 8 >/proc/sys/vm/nr_hugepages
	for side in origin:0x5a view:0xa5; do
		before=$(diskstat "$VIEW" writes)
		must "write" dmio write "/dev/mapper/p-${side%:*}" "${side#*:}" 1m 4m
		verdict "${side%:*}: a write of 4 MiB"
		case $side in
		origin*)
			expect "$S" 0x5a 1m 4m "secondary has it"
			expect "$VIEW" 0x11 0 "$SIZE" "the view has not"
			;;
		view*)
			is $(($(diskstat "$VIEW" writes) - before)) 1 "it was one request"
			expect "$VIEW" 0xa5 1m 4m "the view has it"
			expect "$S" 0x5a 1m 4m "secondary has not"
			;;
		esac
	done
	must "read" holds "$VIEW" 0xa5 1m 4m
	verdict "read of 4 MiB"
	echo 0 >/proc/sys/vm/nr_hugepages
	count_from "$S"
	must "discard of 5 MiB" dmio discard "$ORIGIN" 1m 5m
	must "secondary" holds "$S" 0 1m 5m
	must "the view, its own" holds "$VIEW" 0xa5 1m 4m
	must "the view, old data" holds "$VIEW" 0x11 5m 1m
	counted "$S"
	must "5 MiB were discarded, not $COUNTED_SECTORS" test "${COUNTED_SECTORS##* }" -eq 10240
	must "1 MiB was read, not $COUNTED_SECTORS" test "${COUNTED_SECTORS%% *}" -eq $((2048 + 10240 + 0))
	verdict "the origin's discard of 5 MiB"
	leave
}

# limits DEVICE NAME
limit()
{
	cat "$(sysblock "$1")/queue/$2"
}

limits()
{
	pair p "$A" "$H" "$S"
	is "$(limit "$VIEW" logical_block_size)" "$1" "$TEXT: the view's logical block"
	is "$(limit "$ORIGIN" logical_block_size)" "$(limit "$S" logical_block_size)" "$TEXT: the origin's"
	is "$(limit "$VIEW" write_zeroes_max_bytes)" 0 "$TEXT: the view takes no write-zeroes"
	isnt "$(limit "$VIEW" discard_max_bytes)" 0 "$TEXT: the view takes discards"
	if [ "$(limit "$S" discard_max_bytes)" = 0 ]; then
		is "$(limit "$ORIGIN" discard_max_bytes)" 0 "$TEXT: the origin takes none, as secondary"
	else
		isnt "$(limit "$ORIGIN" discard_max_bytes)" 0 "$TEXT: the origin takes discards, as secondary"
	fi
	is "$(limit "$VIEW" write_cache)" "write back" "$TEXT: the view is flushed"
	unpair p
}

# These disks know no FUA: it becomes a flush after the write. The system call
# flushes once more.
durable()
{
	pair p "$A" "$H" "$S"
	msg p start
	costs "view's FUA write: active" "0 2 0 2" "$none" "$none" fua "$VIEW" 0xa2 3m 4k
	costs "origin's first FUA write: secondary" "$none" "$none" "1 2 0 2" fua "$ORIGIN" 0x24 4m 4k
	msg p stop
	costs "stopped: origin's FUA write: secondary" "$none" "$none" "0 2 0 2" fua "$ORIGIN" 0x25 3m 4k
	msg p promote
	costs "done: view's FUA write: secondary" "$none" "$none" "0 2 0 2" fua "$VIEW" 0xa2 3m 4k
	leave
}

zeroes()
{
	pair p "$A" "$H" "$S"
	msg p start
	must "origin" dmio punch "$ORIGIN" 1m 64k
	must "secondary" holds "$S" 0 1m 64k
	must "the view has the old data" holds "$VIEW" 0x11 1m 64k
	count_from "$S"
	must "origin, again" dmio punch "$ORIGIN" 1m 64k
	counted "$S"
	must "no payload, not $COUNTED_SECTORS" test "${COUNTED_SECTORS%% *}" -eq 0
	verdict "the origin's write-zeroes"
	must "view" dmio zeroout "$VIEW" 2m 64k
	must "the view shows it" holds "$VIEW" 0 2m 64k
	must "active has it" holds "$A" 0 2m 64k
	must "secondary has not" holds "$S" 0x11 2m 64k
	verdict "the view's write-zeroes come as writes"
	leave
}

SIZE=8m SIZE_SECTORS=16384 HOLD=32 TEXT="512-byte blocks"
disks 8 discard=1 || bail "disks"
begin
costs_in_running
costs_in_done
costs_otherwise
large
limits 512
sizes 1
HOLD=0 TEXT="512-byte blocks, hold_mib 0"
sizes 1
low=("$A" "$H" "$S")
for role in a h s; do
	linear_disk "odd-$role" "${low[0]}" 16379
	declare "${role^^}=$DISK"
	low=("${low[@]:1}")
done
HOLD=1 SIZE_SECTORS=16379 TEXT="a length that is no multiple of 4 KiB"
sizes 1
for role in a h s; do
	dm_gone "odd-$role"
done
disks_gone

disks 8 blocksize=4096 || bail "disks"
SIZE_SECTORS=16384 HOLD=32 TEXT="4096-byte blocks"
limits 4096
sizes 8
disks_gone
null_disk a 8 cache_size=1 blocksize=4096 && A=$DISK
null_disk h 8 cache_size=1 && H=$DISK
null_disk s 8 cache_size=1 && S=$DISK
STAT_FILE=()
TEXT="4096-byte active on 512-byte disks"
limits 4096
disks_gone

loop_disk a 8 && A=$DISK
loop_disk h 8 && H=$DISK
loop_disk s 8 && S=$DISK
stamp "$S" 0x11 0 8m
zeroes
durable
run_ok "nothing is left behind" rmmod dm_repl
plan_end
