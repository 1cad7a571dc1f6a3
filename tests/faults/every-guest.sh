#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
#
# The part of check-faults-every in the guest: makes the disks that count
# and fail, and runs the program every with the arguments given.

# shellcheck source=tests/lib/guest.sh
. "$(dirname "$0")/../lib/guest.sh"
# shellcheck source=tests/faults/quiet.sh
. "$(dirname "$0")/quiet.sh"

LEN=5127	# sectors: three leaves, and a short page at the end
here=$(dirname "$0")

modprobe dm-mod
modprobe dm-fault-nth 2>/dev/null || insmod "$here/nth/dm-fault-nth.ko" ||
	bail "no target fault_nth"
for name in active hidden secondary metadata; do
	null_disk "n-$name" 4 discard=1 || bail "no disk"
	linear_disk "raw-$name" "$DISK" $LEN
	dm_make "f-$name" "0 $LEN fault_nth /dev/mapper/raw-$name" || bail "no disk"
done
modprobe dm-replication
# For --allocations, where the kernel has it: any allocation, without a trace.
for kind in failslab fail_page_alloc; do
	[ -d "/sys/kernel/debug/$kind" ] || continue
	echo N >"/sys/kernel/debug/$kind/ignore-gfp-wait"
	echo 0 >"/sys/kernel/debug/$kind/verbose"
	[ "$kind" = failslab ] || echo 0 >"/sys/kernel/debug/$kind/min-order"
done
[[ $* != *--allocations* ]] || quiet_console
"$here/every" "$@" 2>&1 | cat
status=${PIPESTATUS[0]}
[[ $* != *--allocations* ]] || loud_console
for name in active hidden secondary metadata; do
	dmsetup remove "f-$name" || status=1
done
rmmod dm_repl || status=1
exit "$status"
