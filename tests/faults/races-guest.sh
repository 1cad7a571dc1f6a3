#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
#
# The part of check-races in the guest: makes the disks, runs the program races
# with the arguments given.

# shellcheck source=tests/lib/guest.sh
. "$(dirname "$0")/../lib/guest.sh"
# shellcheck source=tests/faults/quiet.sh
. "$(dirname "$0")/quiet.sh"

LEN=10247	# sectors: six leaves, and a short page at the end
here=$(dirname "$0")

echo $((20 * ${SLOW:-1})) >/proc/sys/kernel/hung_task_timeout_secs
modprobe dm-delay || bail "no dm-delay"
for name in active hidden secondary metadata local replica; do
	null_disk "n-$name" 6 discard=1 || bail "no disk"
	linear_disk "raw-$name" "$DISK" $LEN
	linear_disk "r-$name" "/dev/mapper/raw-$name" $LEN
done
modprobe dm-replication
# Allocations that the module asked for, in whatever thread, without a trace.
module=/sys/module/dm_repl
for kind in failslab fail_page_alloc; do
	knobs=/sys/kernel/debug/$kind
	[ -d "$knobs" ] || continue
	begin=$(<$module/sections/.text)
	echo "$begin" >$knobs/require-start || bail "no stack filter"
	printf "0x%x\n" $((begin + $(<$module/coresize))) >$knobs/require-end
	echo 2147483647 >$knobs/times
	echo 0 >$knobs/verbose
	echo N >$knobs/ignore-gfp-wait
	[ "$kind" = failslab ] || echo 0 >$knobs/min-order
done
quiet_console
# A process that hangs holds its pipe open: nobody waits for that.
"$here/races" "$@" > >(cat) 2>&1
status=$?
loud_console
if [ "$status" = 0 ]; then
	rmmod dm_repl || status=1
else
	dmsetup info -c
	dmsetup table
	dmsetup status --noflush
	dmesg | tail -n 40
fi
exit "$status"
