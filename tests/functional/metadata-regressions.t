#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# vm: --smp 2 --mem 1024 --timeout 600
#
# Feature metadata: what reviews have found, each as it was found. A crash is a
# copy of all disks of a pair, which is loaded beside it. Arguments are the cases
# to be tried, by default all.

# shellcheck source=tests/lib/guest.sh
. "$(dirname "$0")/../lib/guest.sh"

mib=8
end=$((mib * 2048)) # sectors
roles=(active hidden secondary metadata)
declare -A disk

# disks SET [KEY=VALUE]...: one for each role; attributes are for the metadata's.
disks()
{
	local set=$1 name more

	shift
	for name in "${roles[@]}"; do
		more=()
		[ "$name" != metadata ] || more=("$@")
		null_disk "$set-$name" "$mib" cache_size=16 "${more[@]}" ||
			bail "no disk"
		disk[$set-$name]=$DISK
	done
}

# load SET [ORIGIN FEATURE]... [-- VIEW FEATURE...]
load()
{
	local set=$1 of=()

	shift
	while [ $# -gt 0 ] && [ "$1" != -- ]; do
		of+=("$1")
		shift
	done
	[ $# -eq 0 ] || shift
	pair "$set" "${disk[$set-active]}" "${disk[$set-hidden]}" \
		"${disk[$set-secondary]}" "${of[@]}" -- \
		metadata "${disk[$set-metadata]}" "$@"
}

# copy FROM TO: what a crash of FROM leaves.
copy()
{
	local name

	for name in "${roles[@]}"; do
		dd if="${disk[$1-$name]}" of="${disk[$2-$name]}" bs=1M \
			iflag=direct oflag=direct status=none || bail "dd $name"
	done
}

# crash FROM TO
crash()
{
	copy "$1" "$2"
	load "$2" fenced || bail "no pair"
}

# fresh SET [FEATURE]...: it runs; the view has 0x10, but what it wrote.
fresh()
{
	local set=$1

	shift
	stamp "${disk[$set-secondary]}" 0x10 0 8m
	blkio zeroout "${disk[$set-metadata]}" 0 8m
	load "$set" fenced -- "$@" || bail "no pair"
	msg "$set" start
	stamp "$ORIGIN" 0x22 0 64k
	stamp "$ORIGIN" 0x22 3m 64k
	stamp "$VIEW" 0x33 2m 4k
	blkio flush "$VIEW"
}

# damage SET RECORD
damage()
{
	local meta=${disk[$1-metadata]}

	printf '\x5a' | dd of="$meta" bs=1 seek=$((8192 + $2 * 512 + 70)) \
		conv=notrunc,fsync status=none
	blockdev --flushbufs "$meta"
}

# behind SET ROLE NAME: the disk is the linear device NAME from now on.
behind()
{
	dm_make "$3" "0 $end linear ${disk[$1-$2]} 0" || bail "no device"
	disk[$1-$2]=$DISK
}

# unflushed DISK: a table over it whose writes succeed and whose flushes fail.
unflushed()
{
	echo "0 $end linear $1 0"
	echo "$end 8 flakey ${disk[spare-active]} 0 0 1000"
}

# swap NAME: the table of a device is that of standard input.
swap()
{
	dmsetup load "$1" &&
		dmsetup suspend --noflush --nolockfs "$1" &&
		dmsetup resume "$1"
}

# --- a damaged record among others of its physical block --------------------------

neighbours()
{
	disks n blocksize=4096
	fresh n
	unpair n
	damage n 0
	run_ok "a record of a physical block is damaged: it is loaded" load n fenced
	run_fails "the stretch is lost" EIO blkio read "$VIEW" 0 4k
	unpair n
	run_ok "and loaded again" load n fenced
	run_fails "it is still lost" EIO blkio read "$VIEW" 0 4k
	expect "$VIEW" 0x33 2m 4k "its neighbours are not: the view's data"
	expect "$VIEW" 0x10 3m 64k "and the old data"
	unpair n
}

# --- a lost stretch that a failover has committed ---------------------------------

lost_and_committed()
{
	fresh p
	stamp "$ORIGIN" 0x22 1m 7m
	unpair p
	damage p 0
	load p fenced -- commit_rate_mib 1
	VIEW=/dev/mapper/p-view
	stamp "$VIEW" 0x66 0 1m
	run_ok "a lost stretch is written anew, then failover" msg p failover
	run_ok "it is committed" wait_until 10 committed p 2048
	copy p q
	expect "$VIEW" 0x66 0 1m "the view has it"
	run_ok "a write there" stamp "$VIEW" 0x77 4k 4k
	run_ok "a flush" blkio flush "$VIEW"
	expect "$VIEW" 0x77 4k 4k "it is read"
	is "$(stage p)" failover "the failover still goes on"
	msg p set commit_rate_mib 0
	run_ok "it ends" wait_stage p "done" 20
	expect "$VIEW" 0x77 4k 4k "what was written is there"
	unpair p
	load q fenced
	run_ok "after a crash it goes on and ends, too" wait_stage q "done" 20
	unpair q
}

# committed NAME SECTORS
committed()
{
	[ "$(st "$1" committed)" -ge "$2" ]
}

# --- records that are written, but said not to be ---------------------------------

failed_but_written()
{
	local i apart=(0 2 4 6) # neighbours' records are one write, and need no flush

	behind p metadata p-meta
	behind p secondary p-sec
	fresh p
	for i in "${apart[@]}"; do
		stamp "$VIEW" 0x33 "${i}m" 4k
	done
	blkio flush "$VIEW"
	unflushed "$raw_metadata" | swap p-meta
	# No leaf's copy ends before all have begun: then their records go together.
	dmsetup suspend --noflush --nolockfs p-sec
	run_ok "failover" msg p failover
	sleep 1
	dmsetup resume p-sec
	run_ok "it fails: records are written, but not flushed" \
		wait_stage p failover_failed 20
	like "$(msg p get_error)" "^-5 metadata" "as the error says"
	echo "0 $end linear $raw_metadata 0" | swap p-meta
	VIEW=/dev/mapper/p-view
	for i in "${apart[@]}"; do
		stamp "$VIEW" 0x44 "${i}m" 4k
	done
	run_ok "the view goes on; flush" blkio flush "$VIEW"
	crash p q
	run_ok "after a crash the failover ends" wait_stage q "done" 20
	for i in "${apart[@]}"; do
		expect "$VIEW" 0x44 "${i}m" 4k "what was flushed is there: stretch $i"
	done
	unpair q
	run_ok "failover again" msg p failover
	run_ok "it ends" wait_stage p "done" 20
	unpair p
}

# --- a group, of which one member was not concerned -------------------------------

# The first member's superblock says completed, the last one's not yet.
group_half_done()
{
	local set epoch before

	for set in a b c d e f x y; do
		disks "$set"
	done
	dm_make slow "0 $end delay ${disk[c-metadata]} 0 0 ${disk[c-metadata]} 0 0" ||
		bail "no dm-delay"
	disk[c-raw]=${disk[c-metadata]}
	disk[c-metadata]=$DISK
	for set in a b c; do
		stamp "${disk[$set-secondary]}" 0x10 0 8m
		load "$set" fenced -- group g
	done
	msg a start all
	msg a stop
	for set in b c; do
		stamp "/dev/mapper/$set-origin" 0x22 0 64k
	done
	for epoch in 2 3 4 5 6; do
		checkpoint_half
		[ "$(completed f)" = "$before" ] && break
	done
	is "$(completed f)" "$before" "in try $((epoch - 1)) the other one's was held"
	is "$(st b epoch) $(st c epoch)" "$epoch $epoch" "a checkpoint of two of three pairs"
	klog_mark
	load d fenced -- group h
	load f fenced -- group h
	like "$(st f flags)" in_doubt "a crash in its middle: one waits for the other"
	run_fails "its fence cannot be lifted" EBUSY omsg f rejoin
	is "$(ost f fence)" fenced "it is not"
	load x fenced -- group h
	like "$(st f flags)" in_doubt "who has joined since settles nothing"
	load e fenced -- group h
	is "$(st e epoch) $(st f epoch)" "$epoch $epoch" "both have made it"
	is "$(stage d) $(stage e) $(stage f)" "stopped running running" "each is where it was"
	expect "$VIEW" 0x22 0 64k "the view is refreshed"
	msg x start
	run_ok "the group goes on" msg e checkpoint all
	load y fenced -- group h
	like "$(st y flags)" in_doubt "the group has gone on: who was away stays in doubt"
	like "$(klog_since)" "has gone on without it" "which is said"
	for set in a b c d e f x y; do
		unpair "$set"
	done
	dmsetup remove slow
}

# A checkpoint of a, b and c; and what was on their disks when b said completed.
# Another table lets go what is held: c is prepared, then b completed. But dm-delay
# holds nothing while it is suspended, so c's own completed may have slipped past.
checkpoint_half()
{
	sleep 2 # both superblocks say the same
	held="0 $end delay ${disk[c-raw]} 0 0 ${disk[c-raw]} 0 1000000"
	dm_swap slow "$held"
	before=$(completed b)
	msg b checkpoint all &
	run_ok "a checkpoint is completed in one of two pairs" \
		wait_until 60 let_go_until_completed b "$before"
	copy a d
	copy b e
	disk[c-metadata]=${disk[c-raw]}
	copy c f
	copy c y
	disk[c-metadata]=/dev/mapper/slow
	dm_swap slow "0 $end linear ${disk[c-raw]} 0"
	wait $!
}

# completed SET: the last transition of its group that the superblocks say is so.
completed()
{
	local at

	for at in 0 4096; do
		dd if="${disk[$1-metadata]}" bs=4k skip="$at" count=1 \
			iflag=direct,skip_bytes status=none |
			od -A n -t x8 -j 72 -N 8
	done
}

completed_anew()
{
	[ "$(completed "$1")" != "$2" ]
}

let_go_until_completed()
{
	sleep 1
	dm_swap slow "$held"
	wait_until 5 completed_anew "$@"
}

# --- fences -----------------------------------------------------------------------

fences()
{
	fresh p
	dmsetup remove p-view
	is "$(ost p fence)" fenced "the view goes: the origin is fenced"
	run_fails "rejoin would lift the fence of a view that is awaited" EBUSY omsg p rejoin
	is "$(ost p fence)" fenced "it does not"
	dmsetup remove p-origin
	load p fenced
	is "$(stage p) $(ost p fence)" "running open" "the view is back"
	unpair p

	dm_make p-origin "$(origin_table "${disk[p-secondary]}")"
	stamp /dev/mapper/p-origin 0x55 5m 4k
	dm_swap p-origin "$(origin_table "${disk[p-secondary]}" fenced)"
	is "$(ost p fence)" fenced "an origin was open and is fenced then"
	dm_make p-view "$(view_table "${disk[p-active]}" "${disk[p-hidden]}" \
		"${disk[p-secondary]}" metadata "${disk[p-metadata]}")"
	is "$(stage p)" invalid "the view has not been guarded"
	unpair p

	fresh p
	unpair p
	dm_make p-view "$(view_table "${disk[p-active]}" "${disk[p-hidden]}" \
		"${disk[p-secondary]}" metadata "${disk[p-metadata]}")"
	dm_make p-origin "$(origin_table "${disk[p-secondary]}" fenced)"
	is "$(stage p) $(ost p fence)" "running open" "an origin that is loaded after its view is not fenced"
	run_ok "promote" msg p promote
	dmsetup remove p-origin
	dm_make p-origin "$(origin_table "${disk[p-secondary]}")"
	is "$(ost p fence)" fenced "the origin of a promoted view is, however loaded"
	unpair p
}

# A pair is found promoted; its origin was loaded open and has writes under way.
fence_is_drained()
{
	local raw=${disk[p-secondary]}

	dm_make p-slow "0 $end delay $raw 0 0 $raw 0 2000" || bail "no dm-delay"
	disk[p-secondary]=$DISK
	fresh p
	msg p promote
	unpair p
	dm_make p-origin "$(origin_table "${disk[p-secondary]}")"
	stamp /dev/mapper/p-origin 0x55 5m 4k &
	sleep 0.5
	dm_make p-view "$(view_table "${disk[p-active]}" "${disk[p-hidden]}" \
		"${disk[p-secondary]}" metadata "${disk[p-metadata]}")"
	is "$(stage p) $(ost p fence)" "done fenced" "promoted, as it was found"
	expect /dev/mapper/p-view 0x55 5m 4k "what the origin had under way was waited for"
	wait $!
	unpair p
	dmsetup remove p-slow
	disk[p-secondary]=$raw
}

# --- a superblock that could not be written ---------------------------------------

super_tried_again()
{
	behind p metadata p-meta
	fresh p on_capture_error drop_view
	dm_swap p-meta "0 $end error"
	run_ok "drop_view while the metadata device fails" stamp "$ORIGIN" 0x77 5m 4k
	is "$(stage p)" invalid "the view is given up"
	sleep 3
	errors=$(st p errors)
	sleep 2
	is "$(st p errors)" "$errors" "trying again counts no error twice"
	dm_swap p-meta "0 $end linear $raw_metadata 0"
	sleep 3
	unlike "$(st p flags)" unsafe "the device is back, and is written by itself"
	crash p q
	is "$(stage q)" invalid "after a crash the view is found given up"
	unpair q
	unpair p
}

# One superblock cannot be written: the other one can.
one_bad_super()
{
	behind p metadata p-meta
	fresh p
	sleep 2 # both say the same
	{
		echo "0 8 linear $raw_metadata 0"
		echo "8 8 error"
		echo "16 $((end - 16)) linear $raw_metadata 16"
	} | swap p-meta
	msg p checkpoint 2>/dev/null || msg p checkpoint 2>/dev/null
	isnt $? 1 "of two checkpoints one succeeds"
	run_ok "so does the next" msg p checkpoint
	run_ok "and the next" msg p checkpoint
	epoch=$(st p epoch)
	sleep 3
	disk[p-metadata]=$raw_metadata # also what cannot be read
	crash p q
	is "$(stage q) $(st q epoch)" "running $epoch" "after a crash it is where it was"
	unpair q
	dm_swap p-meta "0 $end linear $raw_metadata 0"
	sleep 3
	unlike "$(st p flags)" unsafe "the other one is back, and written"
	unpair p
	run_ok "both are whole" dmrepl-metadata check /dev/mapper/p-meta
}

# --- errors and reloads -----------------------------------------------------------

commit_flush_fails()
{
	behind p secondary p-sec
	fresh p
	unflushed "$raw_secondary" | swap p-sec
	msg p failover
	run_ok "secondary cannot be flushed: the failover fails" \
		wait_stage p failover_failed 20
	like "$(msg p get_error)" "^-5 commit sector" "get_error says why"
	echo "0 $end linear $raw_secondary 0" | swap p-sec
	run_ok "failover again" msg p failover
	run_ok "it ends" wait_stage p "done" 20
	unpair p
}

other_devices()
{
	blkio zeroout "${disk[p-metadata]}" 0 8m
	load p fenced
	klog_mark
	run_fails "a view with metadata does not change its devices" EBUSY \
		dmsetup load p-view --table "$(view_table "${disk[q-active]}" \
			"${disk[q-hidden]}" "${disk[q-secondary]}" \
			metadata "${disk[p-metadata]}")"
	like "$(klog_since)" "With metadata secondary or replica cannot change" "which is said"
	unpair p
}

null_disk spare-active 8 || bail "no disk"
disk[spare-active]=$DISK
disks p completion_nsec=20000000 irqmode=2
disks q
raw_metadata=${disk[p-metadata]}
raw_secondary=${disk[p-secondary]}

[ $# -gt 0 ] || set -- neighbours lost_and_committed failed_but_written \
	group_half_done fences fence_is_drained super_tried_again one_bad_super \
	commit_flush_fails other_devices
for name; do
	"$name"
	disk[p-metadata]=$raw_metadata
	disk[p-secondary]=$raw_secondary
	for device in p-meta p-sec; do
		[ ! -e "/dev/mapper/$device" ] || dmsetup remove "$device"
	done
done
plan_end
