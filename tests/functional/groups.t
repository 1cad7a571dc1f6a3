#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# vm: --smp 2 --mem 768 --timeout 300
#
# Two pairs in one group, written in order, checkpointed together.

# shellcheck source=tests/lib/guest.sh
. "$(dirname "$0")/../lib/guest.sh"
# shellcheck source=tests/lib/verify.sh
. "$(dirname "$0")/../lib/verify.sh"

declare -A disk
for name in a b; do
	for role in active hidden secondary; do
		null_disk "$name$role" 16 blocksize=512
		disk[$name$role]=$DISK
	done
done

# two_pairs [FEATURE...]: pairs a and b in group g
two_pairs()
{
	local name

	for name in a b; do
		pair "$name" "${disk[${name}active]}" "${disk[${name}hidden]}" \
			"${disk[${name}secondary]}" -- group g "$@"
	done
}

groups=(groups --view /dev/mapper/a-view --origin /dev/mapper/a-origin
	--view-b /dev/mapper/b-view --origin-b /dev/mapper/b-origin --interval-ms 50)

two_pairs
next_seed
verify "checkpoint all takes one moment of both" "${groups[@]}" --checkpoints 150

# One that must refuse makes all refuse, and nothing changes in either.
msg a guard on
before="$(st a epoch) $(st b epoch)"
for word in checkpoint stop promote; do
	run_fails "$word all is refused while one pair is guarded" EBUSY \
		dmsetup message b-view 0 "$word" all
	is "$(stage a) $(stage b)" "running running" "both run on after $word"
done
is "$(st a epoch) $(st b epoch)" "$before" "neither epoch has moved"
msg a guard off
run_ok "checkpoint all works with the guard off" dmsetup message b-view 0 checkpoint all
isnt "$(st a epoch) $(st b epoch)" "$before" "both epochs have moved"

run_ok "failover all" dmsetup message a-view 0 failover all
wait_stage a "done" 30
wait_stage b "done" 30
is "$(stage a) $(stage b)" "done done" "both are promoted"
unpair a
unpair b

two_pairs hold_mib 0
next_seed
verify "the same with captures in hidden at once" "${groups[@]}" --checkpoints 60
run_ok "stop all" dmsetup message b-view 0 stop all
is "$(stage a) $(stage b)" "stopped stopped" "both are stopped"
unpair a
unpair b

verify_total
plan_end
