# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
#
# For guest scripts that run dmrepl-verify; needs guest.sh.
#
# Seeds are fresh unless SEED says where they begin: then they repeat.

verify_bin=/repo/tools/dmrepl-verify
verify_ops=0 verify_compares=0 verify_runs=0
verify_base=${SEED:-$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')}
seed=$verify_base

diag "seeds begin at $verify_base: SEED=$verify_base repeats them"

next_seed()
{
	seed=$((seed + 1))
}

# The value of NAME= in a line of figures.
figure()
{
	local value=${2##* "$1"=}

	echo "${value%% *}"
}

# verify TEXT COMMAND ARGS...: one test; what it says is shown as it comes, as
# a request that hangs may never let the program end.
verify()
{
	local text=$1 last status

	shift
	"$verify_bin" "$@" --seed "$seed" 2>&1 | tee /tmp/verify.out |
		sed -u '/^begin /d; s/^/# /'
	status=${PIPESTATUS[0]}
	last=$(grep -E '^(ok|failed) ' /tmp/verify.out | tail -n 1)
	ok "$status" "$text, seed $seed" || true
	verify_runs=$((verify_runs + 1))
	if [ -n "$last" ]; then
		verify_ops=$((verify_ops + $(figure ops "$last")))
		verify_compares=$((verify_compares + $(figure compares "$last")))
	fi
	return 0
}

# slow NAME DISK READ_MS WRITE_MS: a disk that takes its time; sets DISK
slow()
{
	dm_make "$1" "0 $(sectors "$2") delay $2 0 $3 $2 0 $4"
}

verify_total()
{
	diag "figures: runs=$verify_runs ops=$verify_ops compares=$verify_compares first_seed=$verify_base"
}

# use ACTIVE HIDDEN SECONDARY: what fresh_pair makes pairs of from now on.
use()
{
	used=("$@")
}

# fresh_pair NAME FEATURE...: the pair NAME on the devices in use.
fresh_pair()
{
	local name=$1

	shift
	pair "$name" "${used[@]}" -- "$@" || bail "no pair of ${used[*]} with $*"
}

# model_runs TEXT "PAIR FEATURES" ARGS...: five seeds on fresh pairs, with each
# of the ends.
model_runs()
{
	local text=$1 features=$2 end

	shift 2
	for end in failover promote failover stop failover; do
		next_seed
		# shellcheck disable=SC2086 # the features are words
		fresh_pair m $features
		verify "$text, end $end" model --view /dev/mapper/m-view \
			--origin /dev/mapper/m-origin --secondary "${used[2]}" \
			--end "$end" "$@"
		unpair m
	done
}
