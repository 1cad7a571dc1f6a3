#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# vm: --mem 768 --timeout 180
#
# The kernel boots; the module comes by each of its names, and goes.

# shellcheck source=tests/lib/guest.sh
. "$(dirname "$0")/../lib/guest.sh"

target()
{
	dmsetup targets | grep '^replication '
}

loaded()
{
	[ -d /sys/module/dm_repl ]
}

is "$(cat /proc/sys/kernel/panic)" -1 "the kernel runs with the command line it was given"
is "$(cat /sys/class/net/lo/operstate 2>/dev/null)" unknown "the loop-back network is up"

if loaded; then
	ok 1 "nothing loads the module before it is asked for"
fi
run_ok "modprobe dm-replication" modprobe dm-replication
run_ok "the module is there" loaded
like "$(target)" '^replication +v[0-9]+\.[0-9]+\.[0-9]+$' "the kernel has the target"
run_ok "rmmod dm_repl" rmmod dm_repl
is "$(target)" "" "the kernel has the target no more"
if loaded; then
	ok 1 "the module is gone"
else
	ok 0 "the module is gone"
fi

null_disk secondary 16 || bail "null_disk"
run_ok "dmsetup loads the module when a table names the target" \
	dm_make r-origin "$(origin_table "$DISK")"
run_ok "the module is there again" loaded
run_fails "it cannot go while a device uses it" EAGAIN bash -c 'rmmod dm_repl 2>&1 | sed "s/is in use/EAGAIN/" >&2; false'
run_ok "the device goes" dmsetup remove r-origin
run_ok "then the module goes" rmmod dm_repl
plan_end
