#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# vm: --smp 2 --mem 1536 --timeout 400 --with tracers
#
# perf and bpftrace see the events, by the lines of the document.

# shellcheck source=tests/lib/guest.sh
. "$(dirname "$0")/../lib/guest.sh"

mountpoint -q /sys/kernel/tracing || mount -t tracefs tracefs /sys/kernel/tracing
for name in active hidden secondary; do
	null_disk "$name" 16
	disks+=("$DISK")
done
pair p "${disks[@]}"
msg p start

# The commands after "Pauses as they come", each on one line.
mapfile -t commands < <(sed -n '/^Pauses as they come/,/^Without a tool/p' \
	/repo/Documentation/dm-replication.rst | awk '
	/^   # / { if (command) print command; command = substr($0, 6) }
	/^      / { sub(/^ */, " "); command = command $0 }
	END { print command }')
is "${#commands[@]}" 3 "the document has three"

# seen REGEX TEXT COMMAND: it is started, checkpoints are made, it says this.
seen()
{
	local regex=$1 text=$2 output pid

	# As a person ends what does not end by itself.
	timeout --signal=INT --kill-after=60 "$((30 * ${SLOW:-1}))" bash -c "exec $3" >/tmp/said 2>&1 &
	pid=$!
	while kill -0 "$pid" 2>/dev/null; do
		msg p checkpoint
		sleep 0.2
	done
	wait "$pid"
	output=$(tr -d '\0' </tmp/said)
	like "$output" "$regex" "$text: $3"
}

seen 'dm_replication:checkpoint\(.*stage' "pauses as they come" "${commands[0]}"
seen '[1-9][0-9]* +dm_replication:checkpoint' "how often each event comes" "${commands[1]}"
seen '@us: *'$'\n''.*\) +[1-9][0-9]* \|@+' "a histogram of pauses" "${commands[2]}"
unpair p
plan_end
