#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# What a kernel that was booted with Secure Boot does with the modules that
# tests/packages/secure-boot has signed.

# shellcheck source=tests/lib/guest.sh
. "$(dirname "$0")/../lib/guest.sh"

# refused FILE WORDS TEXT: and insmod or the kernel's log says why.
refused()
{
	klog_mark
	if insmod "/data/$1.ko" 2>/tmp/said; then
		rmmod dm_repl
		ok 1 "$3: refused"
		return
	fi
	like "$(</tmp/said) $(klog_since)" "$2" "$3: refused"
}

mount -t securityfs securityfs /sys/kernel/security
like "$(</sys/kernel/security/lockdown)" '\[integrity\]' "Secure Boot is on: the kernel is locked down"
modprobe -a dm_mod libcrc32c
refused unsigned 'unsigned module is rejected' "the module without a signature"
refused stranger 'unavailable key is rejected' "signed with a key that nobody has enrolled"
refused changed 'Key was rejected' "changed after it was signed with a key of the firmware's"
run_ok "signed with a key of the firmware's: it is loaded" insmod /data/known.ko
like "$(dmsetup targets)" '^replication' "its target is there"
plan_end
