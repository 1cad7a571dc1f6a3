#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# vm: --smp 2 --mem 768 --timeout 240
#
# dmrepl metrics: each figure is the status's, in the unit of its name; the form
# is that of Prometheus; the file changes as a whole or not at all.

# shellcheck source=tests/lib/guest.sh
. "$(dirname "$0")/../lib/guest.sh"
# shellcheck source=tests/lib/dmrepl.sh
. "$(dirname "$0")/../lib/dmrepl.sh"

three_disks ''

# status NAME: the words of its status, from the stage on, in FIELD.
status()
{
	read -r -a FIELD < <(dmsetup status "$1")
	FIELD=("${FIELD[@]:4}")
}

# metric NAME [PAIR]: what was said last of it.
metric()
{
	sed -n "s/^dm_replication_$1{pair=\"${2:-p}\"} //p" <<<"$OUT"
}

# bytes SECTORS
bytes()
{
	echo $(($1 * 512))
}

# seconds US
seconds()
{
	awk -v us="$1" 'BEGIN { printf "%.15g\n", us / 1e6 }'
}

# The stages that the pair is said to be in.
stages()
{
	sed -n 's/^dm_replication_stage{pair="p",stage="\(.*\)"} 1$/\1/p' <<<"$OUT" | xargs
}

# What does not have the form: a comment or a sample; a name's samples stand
# together after its two comments, each once.
misshapen()
{
	awk '
		function bad(why) { print NR ": " why ": " $0 }
		/^# HELP dm_replication_[a-z_]+ .+\.$/ {
			if (seen[$3]++) bad("a second time")
			name = $3; typed = 0; next
		}
		/^# TYPE dm_replication_[a-z_]+ (gauge|counter)$/ {
			if ($3 != name || typed) bad("not after its HELP")
			if (($4 == "counter") != ($3 ~ /_total$/)) bad("its name does not fit")
			typed = 1; next
		}
		/^dm_replication_[a-z_]+{pair="([^"\\]|\\["\\])+"(,[a-z]+="[a-z_]+")?} [0-9]+(\.[0-9]+)?(e[+-][0-9]+)?$/ {
			split($0, part, "{")
			if (part[1] != name || !typed) bad("not after its TYPE")
			sub(/ [^ ]*$/, "")
			if (sample[$0]++) bad("twice")
			next
		}
		{ bad("neither comment nor sample") }' <<<"$OUT"
}

spilled()
{
	status p
	[ "${FIELD[6]}" -le 2048 ] && [ "${FIELD[10]}" -gt 0 ]
}

# --- a view -------------------------------------------------------------------------

dmrepl create p "${disks[@]}" --hold-mib 1 --commit-rate-mib 1 || bail "no pair"
gives 0 "metrics before the start" dmrepl metrics
is "$(stages)" none "the stage is none"
is "$(misshapen)" "" "its form is right"
dmrepl start p
# More than seconds will pass.
dmrepl checkpoint p --every 1ms --count 60
stamp /dev/mapper/p-origin 0x11 0 3m
stamp /dev/mapper/p 0x22 4m 192k
wait_until 30 spilled
ok $? "old data is held, and some of it is spilled"
null_bad secondary +32000-32007
blkio read /dev/mapper/p 16384000 4k >/dev/null 2>&1
dmrepl guard p on
sleep 2
gives 0 "metrics" dmrepl metrics
status p
is "$(misshapen)" "" "its form is right"
is "$(stages)" running "the stage is running"
is "$(metric epoch)" "${FIELD[2]}" "the epoch"
is "${FIELD[2]}" 61 "which is number 61"
age=$(metric checkpoint_age_seconds)
[ "$age" -ge 2 ] && [ "$age" -le "${FIELD[3]}" ]
ok $? "the checkpoint's age" || diag "$age, the status says ${FIELD[3]}"
is "$(metric failover_undoes_bytes) $(metric promote_drops_bytes)" "$((3 << 20)) $((192 << 10))" \
	"what a failover would undo, and what a promote would drop"
is "$(metric held_bytes)" "$(bytes "${FIELD[6]}")" "what is held"
is "$(metric memory_bytes)" "${FIELD[12]}" "the memory of the records"
is "$(metric captures_total) $(metric spills_total)" "${FIELD[9]} ${FIELD[10]}" "captures and spills"
is "${FIELD[9]}" 768 "3 MiB of pages were captured"
is "$(metric pause_last_seconds) $(metric pause_longest_seconds)" \
	"$(seconds "${FIELD[8]%/*}") $(seconds "${FIELD[8]#*/}")" "the last pause and the longest"
is "$(metric guarded) $(metric fenced) $(metric has_origin)" "1 0 1" "guarded, not fenced, with an origin"
is "$(sed -n 's/^dm_replication_first_error{pair="p",class="\(.*\)"} /\1 /p' <<<"$OUT")" "secondary 5" \
	"the first error"
errors=$(sed -n 's/^dm_replication_errors_total{pair="p",class="\(.*\)"} /\1 /p' <<<"$OUT" | xargs)
is "$errors" "$(dmsetup message p 0 get_errors)" "each class of errors, and how many there were"
like "$errors" 'secondary [1-9]' "there were some"
null_bad secondary -32000-32007
dmrepl guard p off

# --- the file -----------------------------------------------------------------------

gives 0 "into a file" dmrepl metrics --output /tmp/p.prom
before=$(cat /tmp/p.prom)
exec 9</tmp/p.prom
dmrepl guard p on
gives 0 "into the same file" dmrepl metrics --output /tmp/p.prom
dmrepl guard p off
is "$(cat <&9)" "$before" "who has it open reads the old one to its end"
exec 9<&-
is "$(sed -n 's/^dm_replication_guarded{.*} //p' /tmp/p.prom)" 1 "who opens it, the new one"
mkdir -p /mnt/small
mount -t tmpfs -o size=32k tmpfs /mnt/small
dmrepl metrics --output /mnt/small/p.prom
before=$(cat /mnt/small/p.prom)
dd if=/dev/zero of=/mnt/small/rest bs=4k 2>/dev/null
gives 1 "into a file system that is full" dmrepl metrics --output /mnt/small/p.prom
like "$OUT" '^dmrepl: /mnt/small/p.prom cannot be written: No space left on device$' "says so"
is "$(cat /mnt/small/p.prom)" "$before" "the old file is there, whole"
is "$(find /mnt/small -type f | sort | xargs)" "/mnt/small/p.prom /mnt/small/rest" "and nothing beside it"
umount /mnt/small
gives 1 "into a folder that is not there" dmrepl metrics --output /tmp/nowhere/p.prom
like "$OUT" '^dmrepl: /tmp/nowhere/p.prom cannot be written: No such file or directory$' "says so"
run_fails "and does not make what may be a slip" ENOENT ls /tmp/nowhere

# --- a failover ---------------------------------------------------------------------

status p
all=$(bytes $((FIELD[4] + FIELD[5])))
dmrepl failover p --yes 2>/dev/null
gives 0 "metrics meanwhile" dmrepl metrics
is "$(stages)" failover "the stage is failover"
is "$(metric to_commit_bytes)" "$all" "what there is to copy"
[ "$(metric committed_bytes)" -lt "$all" ]
ok $? "it is not all copied"
is "$(metric failover_undoes_bytes) $(metric promote_drops_bytes)" "0 0" "there is no choice left"
is "$(metric fenced)" 1 "it is fenced"
dmrepl wait p --for "done" --timeout 60s
gives 0 "metrics after it" dmrepl metrics
is "$(stages) $(metric committed_bytes)" "done $all" "all is copied"
dmsetup remove p-origin
gives 0 "metrics without an origin" dmrepl metrics
is "$(metric has_origin) $(metric fenced)" "0 0" "say so"
dmrepl down p
gives 0 "metrics of a pair that is down" dmrepl metrics
is "$(stages)" down "say so"
is "$(metric epoch)" "" "and nothing else of it"
dmrepl remove p --yes

# --- a primary ------------------------------------------------------------------------

null_disk local 16
local=$DISK
null_disk replica 16
linear_disk wire "$DISK" 32768
dmrepl create disk --local "$local" --replica /dev/mapper/wire || bail "no primary"
dmrepl start disk
gives 0 "metrics of a primary" dmrepl metrics
is "$(metric dirty_bytes disk) $(metric resynced_bytes disk) $(metric to_resync_bytes disk)" \
	"$((16 << 20)) 0 0" "all of it is dirty"
is "$(metric epoch disk)$(metric fenced disk)" "" "nothing that views only have"
dmrepl resync disk --wait >/dev/null 2>&1
gives 0 "metrics" dmrepl metrics
is "$(metric dirty_bytes disk) $(metric resynced_bytes disk) $(metric to_resync_bytes disk) $(metric broken disk)" \
	"0 $((16 << 20)) $((16 << 20)) 0" "all of it was copied"
dm_swap wire 0 32768 error
stamp /dev/mapper/disk 0x33 0 64k
gives 0 "metrics when the replica is broken" dmrepl metrics
is "$(misshapen)" "" "its form is right"
is "$(metric broken disk) $(metric dirty_bytes disk)" "1 65536" "say so"
dmrepl remove disk --yes
dmsetup remove wire
nothing_left "nothing is left in the end"
plan_end
