#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# vm: --smp 2 --mem 512 --timeout 120
#
# The overlay's KUnit tests in the debug kernel: they run as the module loads.

# shellcheck source=tests/lib/guest.sh
. "$(dirname "$0")/../lib/guest.sh"

modprobe kunit enable=1 || bail "the kernel has no KUnit"
klog_mark
run_ok "the module of the tests loads" modprobe dm-repl-kunit
run_ok "and goes" rmmod dm_repl_kunit
klog_since >/tmp/ktap
sed 's/^/# /' /tmp/ktap
while read -r line; do
	ok "$([[ $line == ok* ]]; echo $?)" "suite ${line#*- }"
done < <(grep -E '^(not )?ok ' /tmp/ktap)
is "$(grep -c '^ok ' /tmp/ktap)" 3 "three suites have passed"
is "$(grep -c 'not ok ' /tmp/ktap)" 0 "no case has failed"
plan_end
