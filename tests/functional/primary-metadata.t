#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# vm: --smp 2 --mem 768 --timeout 600
#
# A primary's feature metadata: after a crash, and after a removal, all that the
# replica may lack is dirty, and little more. Crashes at every request are
# primary-powercut.t's.

# shellcheck source=tests/lib/guest.sh
. "$(dirname "$0")/../lib/guest.sh"
# shellcheck source=tests/lib/primary.sh
. "$(dirname "$0")/../lib/primary.sh"

mib=16
STRETCH=2048 # sectors that a mark covers

# A primary p, and copies of its disks, on which q is what p were after a crash.
make_disks()
{
	local name

	two_faulty $mib cache_size=8 || return
	for name in local replica; do
		null_disk "copy-$name" $mib && COPY[$name]=$DISK || return
	done
}

# make_metadata NAME [KEY=VALUE]...: from now on the metadata is there.
make_metadata()
{
	local DISK_SECTORS=2048

	META=$1
	faulty "$META" 1 "${@:2}" || return
	null_disk "copy-$META" 1 "${@:2}" && COPY[metadata]=$DISK
}

declare -A COPY

start_equal()
{
	mend local replica
	mend_metadata
	dmio zeroout "${RAW_DISK[$META]}" 0 1m
	stamp "${RAW_DISK[local]}" 0x10 0 ${mib}m
	stamp "${RAW_DISK[replica]}" 0x10 0 ${mib}m
	make_p in_sync metadata "/dev/mapper/$META" autostart
}

# break_metadata KIND, mend_metadata: its length is another than the others'.
break_metadata()
{
	local DISK_SECTORS=2048

	break_disk "$META" "$@"
}

mend_metadata()
{
	local DISK_SECTORS=2048

	mend "$META"
}

# crash: q comes up on what the disks hold now; sets DIRTY.
crash()
{
	local role name

	for role in metadata local replica; do
		name=$role
		[ $role != metadata ] || name=$META
		dd if="${RAW_DISK[$name]}" of="${COPY[$role]}" bs=1M \
			iflag=direct oflag=direct status=none || bail "dd"
	done
	klog_mark
	tables "create q 0 $DISK_SECTORS replication primary ${COPY[replica]} 5 local ${COPY[local]} in_sync metadata ${COPY[metadata]}" ||
		bail "no q"
	DIRTY=$(P=q pst dirty)
}

# made_good TEXT: what q takes for dirty is all that differs; q goes.
made_good()
{
	P=q pmsg start || diag "$ANSWER"
	P=q pmsg start_resync || diag "$ANSWER"
	P=q comes_to "$1: q's resync ends" 20 "dirty flags" "0"
	dmio same "${COPY[local]}" "${COPY[replica]}" "${DISK_SECTORS}s"
	ok $? "$1: its disks are equal" || diag "$ANSWER"
	tables "remove q"
}

# crashed TEXT DIRTY: after a crash so much is dirty, and enough.
crashed()
{
	crash
	is "$DIRTY" "$2" "$1: after a crash so much is dirty"
	made_good "$1, crash"
}

# dump: of p's metadata
dump()
{
	blockdev --flushbufs "${RAW_DISK[$META]}"
	dmrepl-metadata dump "${RAW_DISK[$META]}"
}

# marks: what its records say, "FIRST+LENGTH ..."
marks()
{
	dump |
		sed -n 's/.*<dirty begin="\([0-9]*\)" length="\([0-9]*\)".*/\1+\2/p' |
		xargs
}

marks_are()
{
	[ "$(marks)" = "$1" ]
}

# All records are of the present epoch and empty: none is said by the flag.
cleaned_all()
{
	crash
	tables "remove q"
	[ "$DIRTY" = 0 ]
}

check()
{
	blockdev --flushbufs "${RAW_DISK[$META]}"
	dmrepl-metadata check "${RAW_DISK[$META]}"
}

# byte OFFSET: one byte of the metadata becomes another one.
byte()
{
	printf '\x5a' | dd of="${RAW_DISK[$META]}" bs=1 seek="$1" \
		conv=notrunc,fsync status=none
	blockdev --flushbufs "${RAW_DISK[$META]}"
}

# no_cleaning: until local is mended. The cleaner waits for its flush.
no_cleaning()
{
	break_disk local hold-flushes
}

# cleaned TEXT MARKS: the cleaner leaves these.
cleaned()
{
	wait_until 40 marks_are "$2"
	is "$(marks)" "$2" "$1"
}

make_disks || bail "no disks"
make_metadata metadata || bail "no metadata"

t="new, in_sync"
run_ok "$t: a blank device is formatted" start_equal
is "$(pst stage dirty flags)" "running 0" "$t: it runs, nothing is dirty"
like "$(dmsetup table p)" ' 6 autostart local [0-9:]+ in_sync metadata [0-9:]+$' \
	"$t: the table names it"
like "$(dmsetup status p)" ' 8 resync_rate_mib 0 replica_timeout_ms 0 autostart on metadata [0-9:]+$' \
	"$t: so does status"
crashed "$t" 0
is "$(marks)" "" "$t: there is no mark"

t="a write"
no_cleaning
works "$t" write $PRIMARY 0x21 $((1024 * 1024 + 4096)) 4k
is "$(marks)" "2048+2048" "$t: its stretch is marked"
is "$(pst dirty)" 0 "$t: nothing is dirty"
crashed "$t" $STRETCH
works "$t: another to two stretches" write $PRIMARY 0x22 $((3 * 1024 * 1024 - 512)) 1k
is "$(marks)" "2048+2048 4096+2048 6144+2048" "$t: they are marked, too"
mend local
cleaned "$t: later, nobody has flushed, nothing is marked" ""
crashed "$t, later" 0

t="a broken replica"
break_disk replica writes
works "$t: a write" write $PRIMARY 0x31 5m 64k
breaks "$t"
works "$t: another" write $PRIMARY 0x32 6m 4k
is "$(pst dirty)" 136 "$t: so much is dirty"
cleaned "$t: later, that is marked" "10240+128 12288+8"
crashed "$t" 136
mend replica
resynced "$t, mended"
cleaned "$t: after the resync nothing is marked" ""


t="the metadata device makes wait"
works "$t: a write before" write $PRIMARY 0x41 10m 4k
break_metadata hold-writes
works "$t: where a mark is, a write passes" write $PRIMARY 0x43 $((10 * 1024 * 1024 + 65536)) 4k
begin one blkio write $PRIMARY 0x42 8m 4k
wait_held "$META" 1
begin two blkio write $PRIMARY 0x42 $((8 * 1024 * 1024 + 65536)) 4k
sleep 1
isnt "$(outcome one 0)" OK "$t: where none is, it waits"
isnt "$(outcome two 0)" OK "$t: so does another one there"
on $LOCAL 0x10 8m 128k "$t: nothing of it is on local"
on $REPLICA 0x10 8m 128k "$t: nor on the replica"
mend_metadata
is "$(outcome one)" OK "$t: it ends"
is "$(outcome two)" OK "$t: so does the other"
equal "$t: they are on both"

t="local makes wait"
break_disk local hold-data
begin one blkio write $PRIMARY 0x51 12m 4k
wait_held local 1
wait_until 10 dmio holds $REPLICA 0x51 12m 4k
ok $? "$t: the replica has it already"
cleaned "$t: a mark stays while it is under way" "24576+2048"
sleep 8
is "$(marks)" "24576+2048" "$t: however long"
crashed "$t" $STRETCH
mend local
is "$(outcome one)" OK "$t: it ends"
cleaned "$t: later, nothing is marked" ""

t="the replica's cache"
break_disk replica hold-flushes
works "$t: a write" write $PRIMARY 0x53 15m 4k
cleaned "$t: what is not flushed stays marked" "30720+8"
sleep 4
is "$(marks)" "30720+8" "$t: however long"
mend replica
cleaned "$t: it is flushed, and not marked" ""

t="the cache of local"
no_cleaning
works "$t: a write" write $PRIMARY 0x54 15m 4k
sleep 9
is "$(marks)" "30720+2048" "$t: what is not flushed stays marked"
mend local
cleaned "$t: it is flushed, and not marked" ""

t="the metadata device fails"
pmsg clear_error
klog_mark
break_metadata writes
works "$t: a write succeeds" write $PRIMARY 0x61 13m 4k
is "$(pst error flags)" "metadata:-5 unsafe" "$t: status"
like "$(klog_since)" 'marks cannot be written: after a crash send start_resync full' "$t: the log"
works "$t: another" write $PRIMARY 0x62 14m 4k
equal "$t: both are on the replica"
no_cleaning
mend_metadata
comes_to "$t, mended: safe again, by itself" 15 "flags" ""
crashed "$t, mended" "$DISK_SECTORS"
mend local
pmsg clear_error
cleaned "$t, mended: later, nothing is marked" ""
wait_until 40 cleaned_all
crashed "$t, later" 0

t="start_resync full"
pmsg set resync_rate_mib 1
works "$t" message p start_resync full
crash
ok $((DIRTY <= 8 * 2048)) "$t: after a crash it is not forgotten" || diag "$DIRTY"
made_good "$t, crash"
pmsg set resync_rate_mib 0
comes_to "$t: it ends" 20 "dirty flags" "0"
wait_until 40 cleaned_all
ok $? "$t: later, nothing is marked"
crashed "$t, later" 0

t="removal"
break_disk replica writes
works "$t: a write" write $PRIMARY 0x71 5m 64k
breaks "$t"
works "$t" remove p
is "$(marks)" "10240+128" "$t: the marks are exact"
like "$(dump)" ' clean="1" mode="primary"' "$t: a clean mark is there"
run_ok "$t: check finds nothing wrong" check
mend replica
klog_mark
run_ok "$t: p is back" make_p in_sync metadata "/dev/mapper/$META" autostart
is "$(pst stage dirty)" "running 128" "$t: in_sync does not count"
like "$(klog_since)" 'removed in good order: 128 sectors are dirty' "$t: the log says what was found"
like "$(klog_since)" 'in_sync has no effect' "$t: and what has no effect"
like "$(dump)" ' clean="0"' "$t: the clean mark is gone"
resynced "$t"
works "$t: a write that nobody flushes" write $PRIMARY 0x72 7m 64k
works "$t, in order" remove p
is "$(marks)" "" "$t, in order: nothing is marked"

t="a new primary"
dmio zeroout "${RAW_DISK[$META]}" 0 1m
run_ok "$t: all is dirty" make_p metadata "/dev/mapper/$META" autostart
crashed "$t" "$DISK_SECTORS"
works "$t: a write" write $PRIMARY 0x81 3m 64k
resynced "$t"
wait_until 40 cleaned_all
ok $? "$t: after its resync nothing is marked"
crashed "$t, copied" 0

t="other devices"
works "$t: stop" message p stop
other="0 $DISK_SECTORS replication primary $REPLICA 4 local ${COPY[local]} metadata /dev/mapper/$META"
run_ok "$t: another local" tables "swap p $other"
is "$(pst stage dirty)" "stopped $DISK_SECTORS" "$t: all is dirty"
like "$(dump)" ' all="1"' "$t: durably"
run_ok "$t: another, in_sync" tables "swap p $(primary_line in_sync metadata "/dev/mapper/$META")"
is "$(pst stage dirty)" "stopped 0" "$t: nothing is dirty"
like "$(dump)" ' all="0"' "$t: durably"
klog_mark
dmtab swap p "0 $DISK_SECTORS replication primary ${COPY[replica]} 4 local $LOCAL metadata /dev/mapper/$META"
like "$(klog_since)" 'With metadata secondary or replica cannot change' "$t: another replica is refused"
dmtab swap p "$(primary_line metadata "${COPY[metadata]}")"
like "$(klog_since)" 'The metadata device of a primary cannot change' "$t: another metadata device is refused"
works "remove" remove p

t="a damaged record"
byte $((8192 + 3 * 512 + 100))
check >"$SCRATCH/said"
like "$(<"$SCRATCH/said")" 'record 3 is damaged: .*: sectors 6144 to 8191 count as dirty' "$t: check"
klog_mark
run_ok "$t: a primary takes it" make_p metadata "/dev/mapper/$META"
is "$(pst dirty error)" "2048 metadata:-84" "$t: its stretch is dirty"
works "$t: start" message p start
like "$(klog_since)" 'record 3 of the metadata is damaged: sectors 6144 to 8191 count as dirty' "$t: the log"
crashed "$t" 2048
resynced "$t"
works "$t: remove" remove p
run_ok "$t: check finds nothing wrong later" check
byte $((8192 + 4 * 512 + 100))
run_ok "$t: repair" dmrepl-metadata repair "/dev/mapper/$META"
is "$(marks)" "8192+2048" "$t: it is marked"

t="damaged superblocks"
byte 100
klog_mark
run_ok "$t: one does no harm" make_p metadata "/dev/mapper/$META"
is "$(pst dirty)" 2048 "$t: the marks are there"
works "$t: remove" remove p
byte 100
byte 4196
klog_mark
dmtab create p "$(primary_line metadata "/dev/mapper/$META")"
isnt "$ANSWER" ok "$t: both are too many"
like "$(klog_since)" 'Both superblocks of the metadata device are damaged' "$t: the log"

t="a unit of several records"
make_metadata metadata4 blocksize=4096 || bail "no disk"
run_ok "$t: p" start_equal
break_disk replica writes
works "$t: a write" write $PRIMARY 0x91 5m 64k
breaks "$t"
works "$t: another" write $PRIMARY 0x92 6m 4k
cleaned "$t: exact" "10240+128 12288+8"
no_cleaning
works "$t: one beside them" write $PRIMARY 0x93 7m 4k
is "$(marks)" "10240+2048 12288+2048 14336+2048" "$t: nothing is lost of the others"
crashed "$t" $((3 * 2048))
mend local
cleaned "$t: exact again" "10240+128 12288+8 14336+8"
crashed "$t, exact" 144
mend replica
resynced "$t"
cleaned "$t: nothing" ""
works "$t: remove" remove p

run_ok "nothing is left behind" rmmod dm_repl
plan_end
