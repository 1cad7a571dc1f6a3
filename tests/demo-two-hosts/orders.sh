#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
#
# One order of the primary's host to the standby: a line in, a line out.

cd "$(dirname "$0")" || exit 1
ME=standby
# shellcheck source=tests/demo-two-hosts/both.sh
. ./both.sh

# send WORD...: to the view.
send()
{
	local words

	if words=$(dmsetup message d-view 0 "$@" 2>&1); then
		echo ok
	else
		words=${words%%$'\n'*}
		echo "refused: ${words##*: }"
	fi
}

# What a report on the standby sees; it is mounted all the while.
report()
{
	echo 3 >/proc/sys/vm/drop_caches
	sqlite3 -batch /report/bank.db \
		"PRAGMA integrity_check; SELECT count(*), max(id) FROM entries" 2>&1 | xargs
}

unmount_report()
{
	if mountpoint -q /report; then
		umount /report
	fi
}

read -r -a order
case ${order[0]} in
alive) echo ok ;;
start|guard) send "${order[@]}" ;;
checkpoint)
	# Its own mount is of the old state.
	[ "${order[1]}" != for-good ] || unmount_report
	answer=$(send checkpoint)
	[ "$answer" != ok ] || answer="ok $(st d pause)"
	echo "$answer"
	;;
report) report ;;
sum) disk_sum /dev/vda ;;
waits) waits ;;
*) echo "no such order: ${order[*]}" ;;
esac
