#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# vm: --smp 2 --mem 768 --timeout 90
#
# A primary with a disk of its own: what goes where, in each stage.

# shellcheck source=tests/lib/guest.sh
. "$(dirname "$0")/../lib/guest.sh"
# shellcheck source=tests/lib/primary.sh
. "$(dirname "$0")/../lib/primary.sh"

two_faulty 16 || bail "no disks"

t="none"
make_p resync_rate_mib 0 || bail "no primary"
is "$(pst stage error dirty progress errors flags)" "none none $DISK_SECTORS 0/0 0" \
	"$t: a new primary is all dirty"
works "$t: a write" write $PRIMARY 0x21 1m 64k
on $LOCAL 0x21 1m 64k "$t: it is on local"
on $REPLICA 0x99 1m 64k "$t: it is not on the replica"
works "$t: a read" holds $PRIMARY 0x21 1m 64k
works "$t: a flush" flush $PRIMARY

t="running"
works "$t: start" message p start
is "$(pst stage error dirty flags)" "running none $DISK_SECTORS" "$t: status"
works "$t: a write" write $PRIMARY 0x22 2m 64k
on $LOCAL 0x22 2m 64k "$t: it is on local"
on $REPLICA 0x22 2m 64k "$t: it is on the replica"
works "$t: a wide write, oddly placed" write $PRIMARY 0x23 4587s 6661s
on $LOCAL 0x23 4587s 6661s "$t: it is on local"
on $REPLICA 0x23 4587s 6661s "$t: it is on the replica"
works "$t: FUA" fua $PRIMARY 0x24 7m 4k
on $REPLICA 0x24 7m 4k "$t: it is on the replica"
works "$t: a flush" flush $PRIMARY
resynced "$t"
is "$(pst progress)" "$DISK_SECTORS/$DISK_SECTORS" "$t: all of it was copied"
works "$t: a write after it" write $PRIMARY 0x25 3m 1m
is "$(pst dirty)" 0 "$t: it makes nothing dirty"
equal "$t: still equal"

t="the replica fails"
break_disk replica writes
works "$t: a write succeeds" write $PRIMARY 0x31 5m 64k
breaks "$t"
on $PRIMARY 0x31 5m 64k "$t: it is there"
is "$(error_of_p)" "-5 forward sector 10240 total 1" "$t: get_error"
works "$t: another" write $PRIMARY 0x32 6m 4k
mend replica
on $REPLICA 0x25 3m 64k "$t: the replica is as it was"
works "$t: and another" write $PRIMARY 0x33 8m 512
on $REPLICA 0x10 8m 512 "$t: that one was not sent"
differ "$t: local and replica differ"
is "$(pst stage error)" "running forward:-5" "$t: status"
resynced "$t, mended"
works "$t: a write after it" write $PRIMARY 0x34 9m 64k
equal "$t: is on both"

t="stop"
works "$t" message p stop
is "$(pst stage error)" "stopped none" "$t: status"
works "$t: a write" write $PRIMARY 0x41 10m 8k
works "$t: a write of 512" write $PRIMARY 0x42 21001s 1s
on $REPLICA 0x25 3m 64k "$t: the replica stands still"
fails "$t: no resync" EINVAL message p start_resync
works "$t: start again" message p start
resynced "$t"

works "remove" remove p
run_ok "nothing is left behind" rmmod dm_repl
plan_end
