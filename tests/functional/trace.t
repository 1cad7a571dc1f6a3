#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# vm: --smp 2 --mem 768 --timeout 200
#
# The tracepoints: each says what happened, where and how much, in the words of
# the status; and nothing while it is off.

# shellcheck source=tests/lib/guest.sh
. "$(dirname "$0")/../lib/guest.sh"

tracing=/sys/kernel/tracing
mountpoint -q "$tracing" || mount -t tracefs tracefs "$tracing" || bail "no tracefs"

null_disk active 16
active=$DISK
null_disk hidden 16
hidden=$DISK
null_disk secondary 16
secondary=$DISK
dm_make flaky-hidden "0 $(sectors "$hidden") linear $hidden 0"
flaky=$DISK
pair p "$active" "$flaky" "$secondary" -- hold_mib 1
dev=$(stat -Lc %Hr,%Lr "$secondary")
events=$tracing/events/dm_replication

# The events since they were last asked for, without task and time.
said()
{
	grep -o ' [a-z_]*: [0-9]*,[0-9]* .*' "$tracing/trace" | sed 's/^ //'
	: >"$tracing/trace"
}

# says EVENT TEXT: exactly this one is among them.
says()
{
	like $'\n'"$heard"$'\n' $'\n'"$1"$'\n' "$2"
}

is "$(cd "$events" && printf '%s\n' */ | sort | xargs)" \
	"capture/ checkpoint/ commit_extent/ error/ fence/ spill/" "there are six"
cat "$tracing/available_events" >/tmp/available
is "$(grep -c '^dm_replication:' /tmp/available)" 6 "the tracer knows them"

msg p start
stamp "$ORIGIN" 0x11 0 4k
is "$(said)" "" "they are silent until they are switched on"
is "$(st p captures)" 1 "though something happened"

echo 1 >"$events/enable"
msg p start 2>/dev/null
msg p stop
msg p start
heard=$(said)
says "checkpoint: $dev stage stopped epoch [0-9]+ pause [0-9]+ us" "a stop is told"
is "$(sed -n '$s/.*epoch \([0-9]*\) pause \([0-9]*\) us/\1 \2/p' <<<"$heard")" \
	"$(st p epoch pause | xargs)" "a start with its epoch and the status's last pause"

# --- captures
stamp "$ORIGIN" 0x22 1m 8k
stamp "$ORIGIN" 0x22 1m 12k
heard=$(said)
is "$heard" "capture: $dev sector 2048 pages 2 held
capture: $dev sector 2064 pages 1 held" "each capture once, with its place"
is "$(st p captures)" 3 "as many as the status counts"

msg p set hold_mib 0
stamp "$ORIGIN" 0x22 3m 4k
heard=$(said)
says "capture: $dev sector 6144 pages 1 hidden" "one that went through hidden says so"
msg p set hold_mib 1

# --- spills
msg p checkpoint
said >/dev/null
before=$(st p spills)
stamp "$ORIGIN" 0x33 4m 1m
stamp "$ORIGIN" 0x33 5m 1m
# The status counts a spill a moment after it has told of it.
spilled()
{
	local held spills

	{ read -r held; read -r spills; } < <(st p held spills)
	[ "$held" -le 2048 ] && [ "$spills" -gt "$before" ] &&
		[ "$(grep -c ' spill: ' "$tracing/trace")" = $((spills - before)) ]
}
wait_until 20 spilled
heard=$(said)
is "$(grep -c '^spill: ' <<<"$heard")" $(($(st p spills) - before)) "as many spills as the status counts"
is "$(awk '$1 == "spill:" { n += $6 } END { print n * 8 }' <<<"$heard")" \
	"$(($(st p saved) - $(st p held)))" "of as many pages as are not held any more"
is "$(awk '$1 == "capture:" { n += $6 } END { print n }' <<<"$heard")" \
	"$(st p captures | awk '{ print $1 - 4 }')" "and as many pages were captured"

# --- errors
dm_swap flaky-hidden "0 $(sectors "$hidden") error"
stamp "$ORIGIN" 0x44 6m 1m
stamp "$ORIGIN" 0x44 7m 1m
failed_once()
{
	[ "$(st p errors)" -gt 0 ]
}
wait_until 20 failed_once
dm_swap flaky-hidden "0 $(sectors "$hidden") linear $hidden 0"
heard=$(said)
says "error: $dev class spill error -5 sector [0-9]+" "an error with its class and number"
is "$(grep '^error: ' <<<"$heard" | head -n 1 | sed 's/.*class \([a-z]*\) error \(.*\) sector \(.*\)/\2 \1 sector \3/')" \
	"$(msg p get_error | sed 's/ total.*//')" "the first is the one that get_error answers"

# --- checkpoint, fence, commit
msg p checkpoint
heard=$(said)
says "checkpoint: $dev stage running epoch $(st p epoch) pause $(st p pause) us" \
	"a checkpoint with its pause"
like "$(st p longest_pause)" '^[1-9]' "the longest is in the status"

stamp "$VIEW" 0x55 1m 8k
stamp "$ORIGIN" 0x66 2m 4k
said >/dev/null
msg p failover
wait_stage p "done" 20
heard=$(said)
says "fence: $dev up in stage running" "a failover's fence"
says "checkpoint: $dev stage failover epoch [0-9]+ pause [0-9]+ us" "its drain"
says "commit_extent: $dev sector 2048 \\+ 16 from active" "a copy of what the view wrote"
says "commit_extent: $dev sector 4096 \\+ 8 from held" "a copy of what was held"
is "$(grep -c '^commit_extent' <<<"$heard")" 2 "and no other"
expect "$VIEW" 0x55 1m 8k "the disk is the view's"

unpair p
echo 0 >"$events/enable"
said >/dev/null
pair p "$active" "$flaky" "$secondary"
is "$(said)" "" "switched off they are silent"
echo 1 >"$events/fence/enable"
msg p start
msg p promote
dmsetup remove p-view
omsg p rejoin
is "$(said)" "fence: $dev up in stage running
fence: $dev down in stage none" "a promotion's fence, and a rejoin; one event alone can be on"
echo 0 >"$events/enable"
dmsetup remove p-origin
run_ok "the module goes, once nobody listens" modprobe -r dm_repl
plan_end
