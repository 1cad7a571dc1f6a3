#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# vm: --smp 2 --mem 768 --timeout 150
#
# Errors of a primary's disks, and a replica that loses its cache: what becomes
# dirty, what the guest hears, and that a resync mends it all.

# shellcheck source=tests/lib/guest.sh
. "$(dirname "$0")/../lib/guest.sh"
# shellcheck source=tests/lib/primary.sh
. "$(dirname "$0")/../lib/primary.sh"

# The replica has a volatile cache: what is not flushed is lost in a power cut.
# (null_blk's cache takes only what was never on its disk, so fresh places are
# written. Both disks are empty, and read as zeroes.)
DISK_SECTORS=$((16 * 2048))
faulty local 16 discard=1 || bail "no local"
faulty replica 16 cache_size=8 discard=1 || bail "no replica"

# power_cut: the replica is gone, and comes back without what its cache held.
power_cut()
{
	tables "swap replica 0 $DISK_SECTORS error"
	echo 0 >/sys/kernel/config/nullb/replica0/power
}

power_on()
{
	local path

	echo 1 >/sys/kernel/config/nullb/replica0/power
	path=/dev/replica0
	[ -b "$path" ] || path=/dev/nullb$(</sys/kernel/config/nullb/replica0/index)
	RAW_DISK[replica]=$path
	tables "swap replica 0 $DISK_SECTORS linear $path 0"
}

make_p autostart in_sync || bail "no primary"

# --- unsettled blocks --------------------------------------------------------------

t="a power cut of the replica"
works "$t: write, to be flushed" write $PRIMARY 0x21 0 64k
works "$t: flush" flush $PRIMARY
works "$t: write, not flushed" write $PRIMARY 0x22 1m 64k
works "$t: zeroes, not flushed" zeroout $PRIMARY 2m 64k
is "$(pst dirty)" 0 "$t: nothing is dirty before"
power_cut
works "$t: write, which fails there" write $PRIMARY 0x24 3m 4k
breaks "$t"
comes_to "$t: what was not flushed is dirty, and no more" 5 dirty 264
power_on
on $REPLICA 0x21 0 64k "$t: what was flushed is there"
on $REPLICA 0 1m 64k "$t: the cache was lost indeed"
resynced "$t"

# The flush of a resync, too: a power cut after it loses nothing.
t="a power cut after a resync"
power_cut
power_on
equal "$t: still equal"
works "$t: write" write $PRIMARY 0x25 4m 64k
is "$(pst dirty flags)" 0 "$t: the primary did not notice"

# ... and one in the middle of a resync makes dirty again what it had copied.
t="a power cut in a resync"
works "$t: flush" flush $PRIMARY
works "$t: stop" message p stop
works "$t: write" write $PRIMARY 0x26 8m 4m
works "$t: start" message p start
works "$t: slowly" message p set resync_rate_mib 1
works "$t: start_resync" message p start_resync
copied_some()
{
	[ "$(pst "done")" -ge 2048 ]
}
wait_until 10 copied_some
ok $? "$t: some is copied"
power_cut
breaks "$t"
comes_to "$t: all of it is dirty" 5 dirty 8192
power_on
differ "$t: the replica lacks it"
works "$t: fast" message p set resync_rate_mib 0
resynced "$t"

# A flush that fails: the same, and the guest does not hear of it.
t="a failed flush"
works "$t: write" write $PRIMARY 0x27 5m 64k
break_disk replica writes
works "$t: the guest's succeeds" flush $PRIMARY
breaks "$t"
comes_to "$t: what it was for is dirty" 5 dirty 128
power_cut
power_on
on $REPLICA 0 5m 64k "$t: the cache was lost indeed"
works "$t: flush, broken" flush $PRIMARY
resynced "$t"

# What was in flight when a flush left is not settled by it.
t="a flush beside a write"
break_disk replica hold-data 12288 128
begin held blkio write $PRIMARY 0x28 6m 64k
wait_held replica 1
works "$t: a flush passes" flush $PRIMARY
mend replica
is "$(outcome held)" OK "$t: the write ends"
power_cut
works "$t: write, which fails there" write $PRIMARY 0x29 3m 4k
breaks "$t"
comes_to "$t: it is dirty" 5 dirty 136
power_on
on $REPLICA 0 6m 64k "$t: it is lost"
resynced "$t"

# --- errors ------------------------------------------------------------------------

t="errors of the replica"
works "$t: stop clears" message p stop
works "$t: start" message p start
break_disk replica writes 4096 8
works "$t: write across a bad place" write $PRIMARY 0x31 2m 1m
breaks "$t"
works "$t: write elsewhere" write $PRIMARY 0x32 9m 4k
is "$(error_of_p)" "-5 forward sector 4096 total 1" "$t: the first is told, no more come"
comes_to "$t: all of both is dirty" 5 dirty 2056

t="an error in a resync"
works "$t: start_resync" message p start_resync
breaks "$t"
comes_to "$t: it has ended" 5 flags broken
isnt "$(pst dirty)" 0 "$t: the rest is dirty"
is "$(error_of_p)" "-5 forward sector 4096 total 2" "$t: it counts"
mend replica
resynced "$t"
works "$t: clear_error" message p clear_error
is "$(pst error errors)" "none 0" "$t: it is forgotten"

t="a write error of local"
break_disk local writes 2048 8
fails "$t: the guest hears it" EIO write $PRIMARY 0x33 1m 64k
is "$(error_of_p)" "-5 local sector 2048 total 1" "$t: it is recorded"
is "$(pst dirty flags)" 128 "$t: local and replica may differ there, the replica is sound"
mend local
works "$t: again" write $PRIMARY 0x34 1m 64k
resynced "$t"

t="a read error of local"
works "$t: clear_error" message p clear_error
break_disk local reads 2048 8
fails "$t: the guest hears it" EIO read $PRIMARY 1m 4k
is "$(error_of_p)" "-5 local sector 2048 total 1" "$t: it is recorded"
works "$t: start_resync full" message p start_resync full
comes_to "$t: the resync is paused" 10 flags paused
isnt "$(pst dirty)" 0 "$t: the rest is dirty"
mend local
resynced "$t"

# --- discard, zeroes, FUA ------------------------------------------------------------

t="discard and zeroes"
works "$t: write" write $PRIMARY 0x35 0 2m
works "$t: discard" discard $PRIMARY 64k 256k
on "${RAW_DISK[local]}" 0 64k 256k "$t: discarded on local"
on "${RAW_DISK[replica]}" 0 64k 256k "$t: and on the replica"
works "$t: zeroes" zeroout $PRIMARY 512k 1m
on "${RAW_DISK[local]}" 0 512k 1m "$t: zeroed on local"
on "${RAW_DISK[replica]}" 0 512k 1m "$t: and on the replica"
works "$t: discard all" discard $PRIMARY 0 16m
equal "$t: equal"
is "$(pst dirty flags)" 0 "$t: nothing is dirty"
works "$t: fua" fua $PRIMARY 0x36 1m 4k
power_cut
power_on
on $REPLICA 0x36 1m 4k "$t: FUA is durable on the replica"
equal "$t: still"

works "remove" remove p
run_ok "nothing is left behind" rmmod dm_repl
plan_end
