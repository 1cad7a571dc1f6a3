#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# vm: --smp 2 --mem 512 --timeout 240
#
# The overlay's KUnit tests in the debug kernel: they run as the module loads.

# shellcheck source=tests/lib/guest.sh
. "$(dirname "$0")/../lib/guest.sh"

# Data races can be in the last suite only: where one thread does it all, the watch
# would look for them ten times as long.
watch=/sys/kernel/debug/kcsan
watch_the_races()
{
	echo off >$watch
	until dmesg | grep -q 'Subtest: dm-replication-overlay-race'; do
		sleep 1
	done
	echo on >$watch
}

modprobe kunit enable=1 || bail "the kernel has no KUnit"
klog_mark
[ ! -e $watch ] || watch_the_races &
run_ok "the module of the tests loads" modprobe dm-repl-kunit
run_ok "and goes" rmmod dm_repl_kunit
[ ! -e $watch ] || diag "$(grep -E '^(setup_watchpoints|data_races)' $watch)"
klog_since >/tmp/ktap
sed 's/^/# /' /tmp/ktap
while read -r line; do
	ok "$([[ $line == ok* ]]; echo $?)" "suite ${line#*- }"
done < <(grep -E '^(not )?ok ' /tmp/ktap)
is "$(grep -c '^ok ' /tmp/ktap)" 3 "three suites have passed"
is "$(grep -c 'not ok ' /tmp/ktap)" 0 "no case has failed"
plan_end
