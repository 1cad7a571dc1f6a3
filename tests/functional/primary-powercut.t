#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# vm: --smp 2 --mem 1024 --timeout 900
#
# The power of a primary fails at any request: see tests/powercut/primary.c.
# Arguments are the cases to be tried, by default: plain, block (of 4096 bytes);
# "full" is plain at each and every event.

top=$(cd "$(dirname "$0")/../.." && pwd)
declare -A options=(
	[plain]="--ops 60 --cuts 250"
	[block]="--ops 30 --cuts 80 --block 4096"
	[full]="--ops 80 --rounds 2"
)

[ $# -gt 0 ] || set -- plain block
modprobe nbd nbds_max=8 max_part=0
modprobe brd rd_nr=8 rd_size=6428 max_part=0 # KiB: the 12856 sectors
modprobe dm-replication
seed=${SEED:-$RANDOM}
for name; do
	echo "# $name: seed $seed"
	# shellcheck disable=SC2086
	"$top/tests/powercut/powercut" --primary --seed "$seed" ${options[$name]} || {
		# Devices of a run that failed would be in the way of the next.
		echo "1..1"
		exit 1
	}
done
echo "1..$#"
