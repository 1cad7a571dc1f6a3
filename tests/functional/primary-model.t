#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# vm: --smp 2 --mem 768 --timeout 300
#
# A guest that knows what its disk must contain, and a replica that fails, hangs,
# loses its cache and comes back at random, beside all messages of a primary. At
# the end of each round a resync must make both disks equal. SEED repeats it.

# shellcheck source=tests/lib/guest.sh
. "$(dirname "$0")/../lib/guest.sh"
# shellcheck source=tests/lib/primary.sh
. "$(dirname "$0")/../lib/primary.sh"

ROUNDS=${ROUNDS:-3} ROUND_SECONDS=${ROUND_SECONDS:-15}
seed=${SEED:-$(od -An -N2 -tu2 /dev/urandom | tr -d ' ')}
diag "seeds begin at $seed: SEED=$seed repeats them"

two_faulty 16 discard=1 || bail "no disks"

# One step of the trouble; what it is does not depend on what came of others.
step()
{
	local ms

	case $((RANDOM % 12)) in
	0) break_disk replica writes ;;
	1) break_disk replica writes $((RANDOM % 32000)) 64 ;;
	2) break_disk replica hold-writes ;;
	3) break_disk replica late-writes $((RANDOM % 16000)) 16000 ;;
	4)
		ms=$((RANDOM % 3 * 400 + 400))	# not in the subshell, which has its own
		tables "swap p $(primary_line autostart replica_timeout_ms $ms)"
		;;
	5) pmsg stop && pmsg start ;;
	6) pmsg pause_resync ;;
	7) tables "suspend p" "resume p" ;;
	8) pmsg set resync_rate_mib $((RANDOM % 3 * 4)) ;;
	*)
		mend replica
		pmsg start_resync || pmsg start
		;;
	esac
	return 0
}

# Whatever the trouble has left, the primary comes to be in order.
settle()
{
	# A slow machine is not to be taken for a replica that hangs.
	pmsg set replica_timeout_ms 0
	mend replica
	late_gone "$t"
	pmsg set resync_rate_mib 0
	pmsg start
	wait_until 5 pmsg start_resync || pst_is flags resync
	comes_to "$t: a resync ends" 30 "stage dirty flags" "running 0"
}

for ((round = 1; round <= ROUNDS; round++)); do
	t="round $round, seed $seed"
	RANDOM=$((seed % 32768))
	words=()
	[ $((round % 2)) -eq 0 ] || words=(autostart)
	# The model begins with zeroes.
	dmio discard "${RAW_DISK[local]}" 0 16m
	stamp "${RAW_DISK[replica]}" 0x99 0 16m
	make_p "${words[@]}" replica_timeout_ms 500 || bail "no primary"
	begin guest pmodel $PRIMARY "$ROUND_SECONDS" "$seed"
	steps=0
	until has_ended guest; do
		step
		steps=$((steps + 1))
		sleep 0.$((RANDOM % 9))
	done
	settle
	is "$(outcome guest 60)" OK "$t: the guest finds what it wrote"
	diag "$steps steps, $(<"$SCRATCH/guest.out")"
	equal "$t: the replica equals local"
	works "$t: remove" remove p
	seed=$((seed + 1))
done
run_ok "nothing is left behind" rmmod dm_repl
plan_end
