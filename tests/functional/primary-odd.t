#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# vm: --smp 2 --mem 768 --timeout 200
#
# A primary over odd disks: blocks of 2 KiB.

# shellcheck source=tests/lib/guest.sh
. "$(dirname "$0")/../lib/guest.sh"
# shellcheck source=tests/lib/primary.sh
. "$(dirname "$0")/../lib/primary.sh"

two_faulty 16 discard=1 || bail "no disks"

# over DEVICE [FEATURE]...: p is over local and this replica, in sync.
over()
{
	REPLICA=$1
	RAW_DISK[replica]=${2:-$1}
	make_p autostart || bail "no primary over $1"
	resynced "$t"
}

# --- blocks between the two that are tracked ----------------------------------------

t="blocks of 2 KiB"
null_disk coarse 16 blocksize=2048 || bail "null_disk"
over "$DISK"
is "$(blockdev --getss $PRIMARY)" 2048 "$t: the guest's are these"
works "$t: stop" message p stop
works "$t: a write" write $PRIMARY 0x21 2k 2k
is "$(pst dirty)" 4 "$t: all of it is dirty"
works "$t: a longer write" write $PRIMARY 0x22 66k 6k
is "$(pst dirty)" 16 "$t: all of that, too"
works "$t: start" message p start
resynced "$t: after a stop"
works "$t: remove" remove p
null_gone coarse

run_ok "nothing is left behind" rmmod dm_repl
plan_end
