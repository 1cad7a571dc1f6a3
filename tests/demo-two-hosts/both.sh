# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
#
# For the scripts of both machines: words, and what they say to each other.

# shellcheck source=tests/lib/guest.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib/guest.sh"

# shellcheck disable=SC2034 # for the two scripts
PRIMARY_HOST=10.0.0.1 STANDBY_HOST=10.0.0.2 ORDERS=7000 HEARTBEAT=7001

say()
{
	printf '%s: %s\n' "$ME" "$*"
}

# Who does not go on, and where: the stack of those that only the kernel wakes.
waits()
{
	local pid state rest

	while read -r pid state rest; do
		case $state$rest in
		D*)
			echo "$pid $state $rest"
			cat "/proc/$pid/stack"
			;;
		*']') ;; # the kernel's own
		*) echo "$pid $state $rest" ;;
		esac
	done < <(ps -eo pid,state,etimes,wchan:24,args)
	dmsetup status --noflush
	dmesg | tail -n 15
}

fail()
{
	say "FAILED: $*"
	waits
	[ "$ME" != primary ] || ask waits
	printf '%s\n' "$REPLY" "$ME: that is all"
	exit 1
}

# must COMMAND...: its words are of interest only if it fails.
must()
{
	local words

	words=$("$@" 2>&1) || fail "$*: $words"
}

now_ms()
{
	echo $((${EPOCHREALTIME/./} / 1000))
}

# The SHA-256 of a device as it is on the disk.
disk_sum()
{
	local sum

	sum=$(dd if="$1" bs=1M iflag=direct status=none | sha256sum) || return
	echo "${sum%% *}"
}
