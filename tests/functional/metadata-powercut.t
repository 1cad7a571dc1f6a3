#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# vm: --smp 2 --mem 1024 --timeout 900
#
# The power fails at any request: see tests/powercut/powercut.c. Arguments are
# the cases to be tried, by default all: plain, failover, block (of 4096 bytes),
# group (of two pairs), or "full", plain at each and every event. SEED repeats a
# load as far as threads can be made to.

top=$(cd "$(dirname "$0")/../.." && pwd)
declare -A options=(
	[plain]="--ops 60 --cuts 250"
	[failover]="--failover --rounds 2 --ops 60 --cuts 250"
	[block]="--ops 30 --cuts 100 --block 4096"
	[group]="--pairs 2 --ops 10 --cuts 250"
	[full]="--ops 32"
)

[ $# -gt 0 ] || set -- plain failover block group
modprobe nbd nbds_max=8 max_part=0
modprobe brd rd_nr=8 rd_size=1308 max_part=0 # KiB: the 2616 sectors
modprobe dm-replication
seed=${SEED:-$RANDOM}
for name; do
	echo "# $name: seed $seed"
	# shellcheck disable=SC2086
	"$top/tests/powercut/powercut" --seed "$seed" ${options[$name]} || {
		repeat="power cut: to repeat: SEED=$seed, case $name"
		echo "# $repeat"
		echo "$repeat" >/dev/kmsg
		# Devices of a run that failed would be in the way of the next.
		echo "1..1"
		exit 1
	}
done
echo "1..$#"
