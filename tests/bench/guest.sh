#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Usage: guest.sh quick|full [TOPIC]...
#
# The guest's part of the bench: prints rows (see README.md). Without topics: all
# that belong to the quick or the full bench.

here=$(dirname "$0")
# shellcheck source=tests/bench/lib.sh
. "$here/lib.sh"
for file in "$here"/topic-*.sh; do
	# shellcheck source=/dev/null
	. "$file"
done

export QUICK='' SIZE=128 COUNT=5000 DEPTHS="1 16"
topics=(base probe snapshot ours sizes brd checkpoint pause failover memory)
if [ "${1:-}" = quick ]; then
	QUICK=1 SIZE=32 COUNT=3000 DEPTHS=16
else
	topics=(base probe snapshot thin ours sizes brd checkpoint pause failover memory
		progress primary qemu)
fi
shift
[ $# -eq 0 ] || topics=("$@")

echo 1 >/proc/sys/kernel/printk		# the log's line costs the guest's time
null_disks "$SIZE" || bail "no disks"
for topic in "${topics[@]}"; do
	declare -F "topic_$topic" >/dev/null || bail "no such topic: $topic"
	say "# $topic"
	"topic_$topic"
done
