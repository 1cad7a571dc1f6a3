#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
#
# The part of check-hostile in the guest: makes the disks, runs the program
# hostile with the arguments given.

# shellcheck source=tests/lib/guest.sh
. "$(dirname "$0")/../lib/guest.sh"
# shellcheck source=tests/faults/quiet.sh
. "$(dirname "$0")/quiet.sh"

LEN=5127	# sectors: three leaves, and a short page at the end
here=$(dirname "$0")

modprobe dm-mod || bail "no device mapper"
for name in active hidden secondary metadata; do
	null_disk "n-$name" 4 || bail "no disk"
	linear_disk "h-$name" "$DISK" $LEN
done
modprobe dm-replication
quiet_console
"$here/hostile" "$@" 2>&1 | cat
status=${PIPESTATUS[0]}
loud_console
rmmod dm_repl || status=1
exit "$status"
