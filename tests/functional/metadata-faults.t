#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# vm: --smp 2 --mem 768 --timeout 180
#
# Metadata that is damaged or of somebody else, and a metadata device that fails:
# each is named, and costs what it must and no more.

# shellcheck source=tests/lib/guest.sh
. "$(dirname "$0")/../lib/guest.sh"

declare -A disk
for name in active hidden secondary metadata; do
	null_disk "$name" 8
	disk[$name]=$DISK
done
VIEW=/dev/mapper/p-view ORIGIN=/dev/mapper/p-origin
three=("${disk[active]}" "${disk[hidden]}" "${disk[secondary]}")
total=$(sectors "${disk[metadata]}")
good="0 $total linear ${disk[metadata]} 0"
dm_make meta "$good"
meta=/dev/mapper/meta

load_p()
{
	pair p "${three[@]}" fenced -- metadata "$meta" "$@"
}

# A running pair: the view has 0x10, but what it wrote.
fresh()
{
	stamp "${disk[secondary]}" 0x10 0 8m
	blkio zeroout "$meta" 0 8m
	load_p "$@" || bail "no pair"
	msg p start
	stamp "$ORIGIN" 0x22 0 64k
	stamp "$ORIGIN" 0x22 3m 64k
	stamp "$VIEW" 0x33 2m 4k
	blkio flush "$VIEW"
}

# byte OFFSET: one byte of the metadata becomes another one.
byte()
{
	printf '\x5a' | dd of="$meta" bs=1 seek="$1" conv=notrunc,fsync status=none
	blockdev --flushbufs "$meta"
}

checks()
{
	dmrepl-metadata check "$meta" >/tmp/check
}

# --- a damaged record ----------------------------------------------------------

fresh
unpair p
run_ok "check finds nothing wrong" checks
like "$(dmrepl-metadata dump "$meta")" \
	'stage="running" epoch="1".*<stretch number="0" lost="0">.*<saved begin="0" length="128"/>.*<stretch number="2" lost="0">.*<active begin="4096" length="8"/>' \
	"dump shows it"
byte $((8192 + 70))
if checks; then
	ok 1 "check finds a damaged record"
fi
like "$(</tmp/check)" "^record 0 is damaged: .* sectors 0 to 2047 are lost$" "check names it"
run_ok "the pair is loaded nevertheless" load_p
is "$(stage p)" running "it runs"
is "$(msg p get_error)" "-84 metadata sector 0 total 1" "the error names the stretch"
run_fails "its data is not made up" EIO blkio read "$VIEW" 0 4k
run_fails "nor is what was not saved" EIO blkio read "$VIEW" 512k 4k
expect "$VIEW" 0x10 1m 1m "the rest is there"
expect "$VIEW" 0x33 2m 4k "as the view wrote it"
expect "$VIEW" 0x10 3m 64k "and as it was saved"
run_ok "the stream goes on" stamp "$ORIGIN" 0x44 512k 4k
stamp "$VIEW" 0x55 8k 4k
expect "$VIEW" 0x55 8k 4k "what the view writes there is there"
msg p clear_error
run_ok "failover begins" msg p failover
run_ok "and fails" wait_stage p failover_failed 10
like "$(msg p get_error)" "^-84 commit sector 0 total" "at the lost data"
expect "$VIEW" 0x55 8k 4k "the view serves what it has"
stamp "$VIEW" 0x66 0 1m
run_ok "with the stretch written anew" msg p failover
run_ok "it ends" wait_stage p "done" 10
expect "${disk[secondary]}" 0x66 0 1m "secondary has it"
expect "${disk[secondary]}" 0x10 1m 1m "and the rest"
unpair p

fresh
unpair p
byte $((8192 + 70))
load_p
unpair p
run_ok "a damaged record is made whole when it was found" load_p
run_fails "but stays lost" EIO blkio read "$VIEW" 0 4k
run_ok "until the next checkpoint" msg p checkpoint
expect "$VIEW" 0x22 0 64k "which makes it good"
unpair p
run_ok "check finds nothing wrong" checks

fresh
unpair p
byte $((8192 + 3 * 512 + 4))
run_ok "repair makes a record whole" dmrepl-metadata repair "$meta"
load_p
is "$(msg p get_error)" none "it is no error any more"
run_fails "but lost" EIO blkio read "$VIEW" 3m 4k
run_fails "repair refuses a device that is in use" EBUSY dmrepl-metadata repair "$meta"
unpair p

# --- superblocks ---------------------------------------------------------------

for at in 100 4196; do
	fresh
	unpair p
	byte "$at"
	klog_mark
	run_ok "one of two superblocks is damaged at byte $at: it is loaded" load_p
	like "$(klog_since)" "one of two superblocks is damaged" "with a warning"
	is "$(stage p)" running "where it was"
	expect "$VIEW" 0x33 2m 4k "with its data"
	unpair p
	run_ok "and it is whole again" checks
done

fresh
unpair p
byte 100
byte 4196
klog_mark
run_fails "both are damaged: it is refused" EINVAL load_p
like "$(klog_since)" "Both superblocks of the metadata device are damaged" "with words"
run_fails "check says so, too" EINVAL bash -c 'dmrepl-metadata check '"$meta"' 2>&1 | sed "s/no superblock is whole: damaged, damaged/EINVAL/" >&2; false'

# super NAME VALUE: a 32-bit number at byte NAME of both superblocks, sealed.
super()
{
	perl -e '
	my ($path, $at, $value) = @ARGV;
	open(my $f, "+<", $path) or die;
	for my $base (0, 4096) {
		my $s;
		sysseek($f, $base, 0); sysread($f, $s, 512);
		substr($s, $at, 4) = pack("V", $value);
		my $crc = 0xffffffff;
		for my $b (unpack("C*", substr($s, 4))) {
			$crc ^= $b;
			$crc = $crc & 1 ? $crc >> 1 ^ 0x82f63b78 : $crc >> 1 for 1 .. 8;
		}
		substr($s, 0, 4) = pack("V", $crc);
		sysseek($f, $base, 0); syswrite($f, $s);
	}' "$meta" "$1" "$2"
	sync
	blockdev --flushbufs "$meta"
}

# refused TEXT WORDS
refused()
{
	klog_mark
	run_fails "$1 is refused" EINVAL load_p
	like "$(klog_since)" "$2" "with words"
}

fresh
unpair p
super 4 2
refused "a newer format" "newer format than this module knows"
super 4 1
super 40 4096
refused "another block" "of blocks of 4096 bytes, these have 512"
super 40 512
super 44 2
refused "another mode" "not of mode secondary"
super 44 1
super 56 17
refused "a stage that does not exist" "a stage that does not exist"
super 56 1
# The epoch goes back: as if the newer superblock had been lost.
super 48 0
klog_mark
run_fails "records newer than their superblock are refused" EILSEQ load_p
like "$(klog_since)" "newer than its superblock" "with words"
run_ok "repair" dmrepl-metadata repair "$meta"
run_ok "makes it loadable" load_p
is "$(stage p)" invalid "but the view is given up"
run_ok "it can be started anew" msg p start
unpair p
load_p
is "$(stage p) $(st p active) $(st p saved)" "running 0 0" "with nothing of the lost epoch"
expect "$VIEW" 0x22 0 64k "the view is what the stream has written"
expect "$VIEW" 0x10 2m 4k "without what the view had"
unpair p

# The newer superblock is lost, and the older one says that there is no view.
fresh
unpair p
super 48 0
super 56 0
byte 100
klog_mark
run_fails "one superblock, of stage none, older than the records, is refused" EILSEQ load_p
like "$(klog_since)" "newer than its superblock" "with words"

# --- a device that cannot be read for a moment -------------------------------------

# unread SECTOR: what is there cannot be read, but written.
unread()
{
	dm_make unread "0 8 error"
	{
		[ "$1" -eq 0 ] || echo "0 $1 linear ${disk[metadata]} 0"
		echo "$1 8 delay /dev/mapper/unread 0 0 ${disk[metadata]} $1 0"
		echo "$(($1 + 8)) $((total - $1 - 8)) linear ${disk[metadata]} $(($1 + 8))"
	} | dmsetup load meta
	dmsetup suspend --noflush --nolockfs meta
	dmsetup resume meta
}

for at in 0 8 16; do
	fresh
	unpair p
	unread "$at"
	klog_mark
	run_fails "sector $at cannot be read: it is refused" EIO load_p
	like "$(klog_since)" "cannot be read.* dmrepl-metadata repair" "with words"
	dm_swap meta "$good"
	dmsetup remove unread
	run_ok "sector $at can be read again: it is loaded" load_p
	is "$(stage p) $(msg p get_error)" "running none" "where it was"
	expect "$VIEW" 0x10 0 64k "with what was saved"
	expect "$VIEW" 0x33 2m 4k "and what the view wrote"
	unpair p
done

blkio zeroout "$meta" 0 8m
table=$(view_table "${three[@]}" metadata "$meta")
dmsetup create p-view --uuid PAIR-ONE --table "$table"
dmsetup remove p-view
klog_mark
run_fails "a view with another uuid" EINVAL dmsetup create p-view --uuid PAIR-TWO --table "$table"
like "$(klog_since)" 'of a view with uuid PAIR-ONE, not "PAIR-TWO"' "is refused with words"
run_ok "the one it belongs to is not" dmsetup create p-view --uuid PAIR-ONE --table "$table"
is "$(dmsetup table p-view | sed 's/[0-9]*:[0-9]*/DEV/g')" \
	"0 16384 replication secondary DEV DEV DEV 2 metadata DEV" "its table"
run_ok "loads again" bash -c 'dmsetup table p-view | dmsetup load p-view && dmsetup suspend p-view && dmsetup resume p-view'
klog_mark
run_fails "without metadata it does not" EBUSY dmsetup load p-view --table "$(view_table "${three[@]}")"
like "$(klog_since)" "metadata device of a view cannot change" "which is said"
dmsetup clear p-view
dmsetup remove p-view

# --- a metadata device that fails ------------------------------------------------

fresh
dm_swap meta "0 $total error"
run_fails "no record can be written: a first write fails" EIO stamp "$ORIGIN" 0x77 5m 4k
# After a second the other superblock is tried, too, which is another error.
like "$(msg p get_error)" "^-5 metadata sector 10240 total [12]$" "get_error says why"
like "$(st p flags)" unsafe "status says that nothing is promised"
run_fails "a flush fails" EIO bash -c 'blkio write '"$VIEW"' 0x34 6m 4k && blkio flush '"$VIEW"
epoch=$(st p epoch)
run_fails "a checkpoint fails" EIO msg p checkpoint
is "$(stage p) $(st p epoch)" "running $epoch" "nothing has changed"
run_fails "a failover fails" EIO msg p failover
is "$(stage p) $(ost p fence)" "running open" "nothing has changed"
run_fails "guard on fails" EIO msg p guard on
run_ok "a rewrite needs no record" stamp "$ORIGIN" 0x78 0 4k
expect "$VIEW" 0x10 0 64k "the view stands still"
expect "$VIEW" 0x34 6m 4k "and has its data"
dm_swap meta "$good"
run_ok "the device is back: a first write succeeds" stamp "$ORIGIN" 0x77 5m 4k
run_ok "so does a flush" blkio flush "$VIEW"
unlike "$(st p flags)" unsafe "promises are kept again"
expect "$VIEW" 0x10 5m 4k "the view stands still"
unpair p
load_p
is "$(stage p) $(st p epoch)" "running $epoch" "it is found where it was"
expect "$VIEW" 0x34 6m 4k "with its data"
unpair p

# Records 4 and 6 are written together with what lies between them, if that can be.
fresh
bad=$((16 + 5))
{
	echo "0 $bad linear ${disk[metadata]} 0"
	echo "$bad 1 error"
	echo "$((bad + 1)) $((total - bad - 1)) linear ${disk[metadata]} $((bad + 1))"
} | dmsetup load meta
dmsetup suspend --noflush --nolockfs meta
dmsetup resume meta
stamp "$VIEW" 0x35 4m 4k
stamp "$VIEW" 0x35 6m 4k
run_ok "a bad sector between two records keeps neither from its disk" blkio flush "$VIEW"
is "$(msg p get_error)" none "nor is it an error"
dm_swap meta "$good"
unpair p

fresh on_capture_error drop_view
dm_swap meta "0 $total error"
run_ok "drop_view: the stream goes on" stamp "$ORIGIN" 0x77 5m 4k
is "$(stage p)" invalid "the view is given up"
dm_swap meta "$good"
unpair p
load_p
is "$(stage p)" invalid "it is found given up"
unpair p
plan_end
