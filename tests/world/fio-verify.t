#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# vm: --smp 2 --mem 768 --timeout 600
#
# fio writes view and origin at once and verifies both, by each of its checksums;
# then what it wrote is looked for where it must be: the origin's on secondary at
# once and in the view from the next checkpoint on, the view's on secondary after
# a failover.

# shellcheck source=tests/lib/guest.sh
. "$(dirname "$0")/../lib/guest.sh"

seed=${SEED:-$(od -An -N3 -tu4 /dev/urandom | tr -d ' ')}
diag "seeds begin at $seed: SEED=$seed repeats them"

disks=()
for role in active hidden secondary; do
	null_disk "$role" 16 blocksize=512 discard=1 || bail "no disk"
	disks+=("$DISK")
done

new_pair()
{
	pair p "${disks[@]}" -- hold_mib 1 autostart || bail "no pair"
}

# job NAME DEVICE SEED: the options of one.
job()
{
	printf '[%s]\nfilename=%s\nrandseed=%s\n' "$@"
}

# fio_says TEXT KIND ARGS...: runs the jobs of /tmp/jobs.
fio_says()
{
	local text=$1 kind=$2

	shift 2
	fio --ioengine=libaio --direct=1 --iodepth=8 --rw=randwrite --size=3m --offset=4m \
		--bsrange=512-32k --verify="$kind" --verify_pattern=0x5e6d7c8b \
		--verify_fatal=1 "$@" /tmp/jobs >/tmp/fio.out 2>&1
	ok $? "$text" || diag "$(grep -vE '^ |^$' /tmp/fio.out | head -n 30)"
}

# is_on TEXT KIND DEVICE SEED: what the job with that seed wrote is there.
is_on()
{
	job look "$3" "$4" >/tmp/jobs
	fio_says "$1" "$2" --verify_only
}

mapfile -t kinds < <(fio --cmdhelp=verify | sed -nE 's/^.*: ([a-z0-9-]+) +Use .* checksums.*/\1/p')
like "${#kinds[@]}" '^[1-9][0-9]$' "fio's checksums: ${kinds[*]}"

new_pair
n=0
for kind in "${kinds[@]}" pattern; do
	n=$((n + 1))
	{ job view "$VIEW" $((seed + 1)); job origin "$ORIGIN" $((seed + 2)); } >/tmp/jobs
	fio_says "$kind: view and origin at once" "$kind" --do_verify=1
	is_on "$kind: the origin's is on secondary" "$kind" "${disks[2]}" $((seed + 2))
	is_on "$kind: the view's is still in the view" "$kind" "$VIEW" $((seed + 1))
	if [ $((n % 2)) -eq 0 ]; then
		run_ok "$kind: checkpoint" msg p checkpoint
		is_on "$kind: the origin's is in the view" "$kind" "$VIEW" $((seed + 2))
	else
		run_ok "$kind: failover" msg p failover
		wait_stage p "done" 20
		is_on "$kind: the view's is on secondary" "$kind" "${disks[2]}" $((seed + 1))
		unpair p
		new_pair
	fi
	seed=$((seed + 2))
done

unpair p
run_ok "the module goes" rmmod dm_repl
plan_end
