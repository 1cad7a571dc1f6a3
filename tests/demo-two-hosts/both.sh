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

fail()
{
	say "FAILED: $*"
	dmsetup status
	dmesg | grep replication: | tail -n 10
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
