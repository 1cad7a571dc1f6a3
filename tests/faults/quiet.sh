# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
#
# For guest scripts that make the module refuse a hundred thousand times: the
# console would be busy with its words for hours. The kernel's log goes on to the
# console without them, so that boot sees every complaint; nor does a cache say
# where it could not be made for want of memory that was ordered.

quiet_console()
{
	echo N >/sys/module/printk/parameters/ignore_loglevel
	dmesg -n 1
	dmesg --follow-new --notime |
		grep --line-buffered -vE 'device-mapper: |Buffer I/O error|I/O error, dev' |
		sed -u '/kmem_cache_create.* failed with error/,/<\/TASK>/d' >/dev/ttyS0 &
}

loud_console()
{
	sleep 1
	kill %%
	echo Y >/sys/module/printk/parameters/ignore_loglevel
}
