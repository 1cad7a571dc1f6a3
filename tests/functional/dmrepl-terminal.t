#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# vm: --smp 2 --mem 768 --timeout 240
#
# dmrepl on a terminal: questions and answers, progress bars, screens.

# shellcheck source=tests/lib/guest.sh
. "$(dirname "$0")/../lib/guest.sh"
# shellcheck source=tests/lib/dmrepl.sh
. "$(dirname "$0")/../lib/dmrepl.sh"

three_disks ''
dmrepl create p "${disks[@]}" --commit-rate-mib 1 || bail "no pair"
dmrepl start p

# typed STATUS INPUT TEXT COMMAND...: it ends so on a terminal where INPUT is
# typed; what was shown is in OUT.
typed()
{
	local want=$1 input=$2 text=$3

	shift 3
	printf '#!/bin/bash\n%s\necho $? >/tmp/status\nstty -a >/tmp/terminal\n' "${*@Q}" >/tmp/command
	chmod +x /tmp/command
	rm -f /tmp/status
	OUT=$(printf '%b' "$input" | socat -t 90 - EXEC:/tmp/command,pty,setsid,ctty,stderr 2>&1)
	is "$(cat /tmp/status)" "$want" "$text" || diag "$OUT"
}

# rates: those that the bars have shown, in KiB/s.
rates()
{
	grep -oE '[0-9.]+ [KMG]iB/s' <<<"$OUT" | awk '{
		print int($1 * ($2 ~ /^G/ ? 1048576 : $2 ~ /^M/ ? 1024 : 1)) }'
}

# --- questions ----------------------------------------------------------------------

stamp /dev/mapper/p 0x11 0 5m
typed 5 'n\n' "promote, and the answer is no" dmrepl promote p
like "$OUT" 'drops 5.0 MiB .*Go on\? \[y/N\] .*not done' "it has asked"
is "$(dmrepl_stage p)" running "nothing is done"
typed 5 '\n' "an empty line is no" dmrepl failover p
typed 5 '\004' "so is the end of what is typed" dmrepl down p
like "$OUT" 'down p drops 5.0 MiB' "down has asked, too"
typed 5 'n\n' "remove, and the answer is no" dmrepl remove p
is "$(dmrepl_stage p)" running "nothing is done"
typed 0 '' "a program around a checkpoint cannot read what is typed" \
	dmrepl checkpoint p --before "head -c 1" --hook-timeout 20s

# --- bars ---------------------------------------------------------------------------

stamp /dev/mapper/p 0x22 0 5m
typed 0 'y\n' "failover --wait, and the answer is yes" dmrepl failover p --wait
like "$OUT" 'p: failover \[==+ +\] +[0-9]+ % of 5.0 MiB, [0-9.]+ [KM]iB/s, [0-9]+ s left' "a bar"
like "$OUT" 'p: failover \[=+\] 100 % of 5.0 MiB' "comes to its end"
is "$(dmrepl_stage p)" "done" "it is done"
dmrepl rejoin p --yes
dmrepl start p
stamp /dev/mapper/p 0x33 0 6m
dmrepl failover p --yes 2>/dev/null
sleep 3
typed 0 '' "failover --wait for one that has begun before" dmrepl failover p --wait
most=$(rates | sort -n | tail -n 1)
[ "$most" -gt 0 ] && [ "$most" -lt 4096 ]
ok $? "its rate is that of the copying" || diag "$most KiB/s"
dmrepl rejoin p --yes
null_disk local 16
local=$DISK
null_disk replica 16
dmrepl create disk --local "$local" --replica "$DISK" --resync-rate-mib 8
dmrepl start disk
typed 0 '' "resync --wait" dmrepl resync disk --wait
like "$OUT" 'disk: resync \[=+\] 100 % of 16 MiB, [0-9.]+ [KM]iB/s, 0 s left' "has a bar, too"

# --- screens ------------------------------------------------------------------------

clear=$'\033\[H\033\[J'
typed 0 '' "status --watch" dmrepl status --watch --count 2 --interval 200ms
like "$OUT" "^$clear.*PAIR.*disk +running.*$clear.*PAIR" "shows a screen, and one more"
SECONDS=0
typed 0 'q' "top" dmrepl top --interval 60s
[ "$SECONDS" -lt 40 ]
ok $? "q ends it"
like "$OUT" "$clear.*PAIR.*disk +running" "after a screen"
like "$(cat /tmp/terminal)" ' icanon .* echo ' "the terminal is as it was"
dmrepl remove disk --yes
dmrepl remove p --yes
nothing_left "nothing is left in the end"
plan_end
