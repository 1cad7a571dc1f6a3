#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# vm: --smp 2 --mem 768 --timeout 300
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

	two_faulty $mib || return
	for name in local replica; do
		null_disk "copy-$name" $mib && COPY[$name]=$DISK || return
	done
}

# make_metadata [KEY=VALUE]...
make_metadata()
{
	local sectors=$DISK_SECTORS

	DISK_SECTORS=2048
	faulty metadata 1 "$@" || return
	DISK_SECTORS=$sectors
	null_disk copy-metadata 1 "$@" && COPY[metadata]=$DISK
}

declare -A COPY

start_equal()
{
	mend local replica
	mend_metadata
	dmio zeroout "${RAW_DISK[metadata]}" 0 1m
	stamp "${RAW_DISK[local]}" 0x10 0 ${mib}m
	stamp "${RAW_DISK[replica]}" 0x10 0 ${mib}m
	make_p in_sync metadata /dev/mapper/metadata autostart
}

# break_metadata KIND, mend_metadata: its length is another than the others'.
break_metadata()
{
	local DISK_SECTORS=2048

	break_disk metadata "$@"
}

mend_metadata()
{
	local DISK_SECTORS=2048

	mend metadata
}

# crash: q comes up on what the disks hold now; sets DIRTY.
crash()
{
	local name

	for name in metadata local replica; do
		dd if="${RAW_DISK[$name]}" of="${COPY[$name]}" bs=1M \
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

# marks: of p's metadata, what differs, "FIRST+LENGTH ..."
marks()
{
	blockdev --flushbufs "${RAW_DISK[metadata]}"
	dmrepl-metadata dump "${RAW_DISK[metadata]}" |
		sed -n 's/.*<active begin="\([0-9]*\)" length="\([0-9]*\)".*/\1+\2/p' |
		xargs
}

marks_are()
{
	[ "$(marks)" = "$1" ]
}

# cleaned TEXT MARKS: the cleaner leaves these.
cleaned()
{
	wait_until 20 marks_are "$2"
	is "$(marks)" "$2" "$1"
}

make_disks && make_metadata || bail "no disks"

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
works "$t" write $PRIMARY 0x21 $((1024 * 1024 + 4096)) 4k
is "$(marks)" "2048+2048" "$t: its stretch is marked"
is "$(pst dirty)" 0 "$t: nothing is dirty"
crashed "$t" $STRETCH
works "$t: another to two stretches" write $PRIMARY 0x22 $((3 * 1024 * 1024 - 512)) 1k
is "$(marks)" "2048+2048 4096+2048 6144+2048" "$t: they are marked, too"
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

works "remove" remove p
run_ok "nothing is left behind" rmmod dm_repl
plan_end
