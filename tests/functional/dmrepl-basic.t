#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# vm: --smp 2 --mem 768 --timeout 240
#
# dmrepl against the real target: a pair's whole life, from create to remove.

# shellcheck source=tests/lib/guest.sh
. "$(dirname "$0")/../lib/guest.sh"
# shellcheck source=tests/lib/dmrepl.sh
. "$(dirname "$0")/../lib/dmrepl.sh"

disks=()
for name in active hidden secondary; do
	null_disk "$name" 16
	disks+=("$DISK")
done
create=(create db --active "${disks[0]}" --hidden "${disks[1]}" --secondary "${disks[2]}")
origin=/dev/mapper/db-origin
view=/dev/mapper/db

# --- create ------------------------------------------------------------------

gives 0 "create --dry-run" dmrepl "${create[@]}" --hold-mib 8 --dry-run
like "$OUT" "dmsetup create db-origin --uuid DMREPL-origin-db --table '0 32768 replication origin ${disks[2]}'" \
	"create --dry-run prints the origin's dmsetup line"
like "$OUT" "dmsetup create db --uuid DMREPL-view-db --table '0 32768 replication secondary ${disks[*]} 2 hold_mib 8'" \
	"and the view's"
is "$(dmsetup ls)" "No devices found" "and does nothing"
[ ! -e /etc/dmrepl.d/db.conf ]
ok $? "no configuration file either"

gives 0 "create" dmrepl "${create[@]}" --hold-mib 8
is "$(dmsetup table db)" "0 32768 replication secondary $(numbers "${disks[@]}") 2 hold_mib 8" \
	"the view is there, with its tunable"
is "$(dmsetup info -c --noheadings -o uuid db db-origin | sort | xargs)" \
	"DMREPL-origin-db DMREPL-view-db" "both have uuids of our own"
gives 1 "create again" dmrepl "${create[@]}"
like "$OUT" "/etc/dmrepl.d/db.conf already; dmrepl up, or dmrepl remove first" "says what to do"

# --- start, checkpoint, stop -----------------------------------------------------

stamp $origin 0x11 0 1m
gives 0 "start" dmrepl start db
gives 4 "start again" dmrepl start db
like "$OUT" 'start is refused: .*running' "says why, in the kernel's words"
stamp $origin 0x22 0 64k
expect $view 0x11 0 1m "the view stands still"
gives 0 "checkpoint" dmrepl checkpoint db
expect $view 0x22 0 64k "the view is fresh"
gives 0 "guard on" dmrepl guard db on
gives 4 "checkpoint under guard" dmrepl checkpoint db
gives 4 "promote under guard" dmrepl promote db --yes
like "$OUT" 'guarded.*dmrepl failover db goes back' "says what would be possible"
gives 0 "guard off" dmrepl guard db off
gives 0 "set" dmrepl set db hold_mib 9
like "$(dmsetup table db)" 'hold_mib 9' "set changes it"
gives 4 "set of something that is not there" dmrepl set db nothing 9
gives 0 "errors" dmrepl errors db
is "$OUT" none "there are no errors"
gives 0 "stop" dmrepl stop db
is "$(dmrepl_stage db)" stopped "stop stops"
gives 4 "failover of a stopped view" dmrepl failover db --yes
gives 0 "start after stop" dmrepl start db

# --- status ------------------------------------------------------------------

stamp $origin 0x33 1m 128k
stamp $view 0x44 2m 64k
gives 0 "status" dmrepl status
like "$OUT" 'db +running +[0-9]+ s +128 KiB +64 KiB +128 KiB' "status shows stage and both prices"
gives 0 "status --json" dmrepl status --json db
is "$(json '.pairs[0].failover_undoes_bytes')" 131072 "the same in JSON"
is "$(json '.pairs[0].promote_drops_bytes')" 65536 "both of them"
is "$(json '.pairs[0].origin.fence')" open "and the fence"
gives 3 "status of nobody" dmrepl status nobody
gives 0 "metrics" dmrepl metrics
like "$OUT" 'dm_replication_stage\{pair="db",stage="running"\} 1' "metrics: the stage"
like "$OUT" 'dm_replication_failover_undoes_bytes\{pair="db"\} 131072' "metrics: the price"
gives 0 "metrics into a file" dmrepl metrics --output /tmp/dmrepl.prom
is "$(grep -c '^dm_replication_epoch' /tmp/dmrepl.prom)" 1 "it is there"
gives 0 "top" dmrepl top --batch --count 2 --interval 200ms
like "$OUT" 'db +running' "top shows the pair"

# --- failover ------------------------------------------------------------------

gives 5 "failover without --yes and without a terminal" dmrepl failover db
like "$OUT" 'undoes 128 KiB .* keeps 64 KiB' "says what it would cost"
is "$(dmrepl_stage db)" running "and does nothing"
[ ! -e /var/lib/dmrepl/db ]
ok $? "nor does it note a promotion"
gives 0 "failover --wait" dmrepl failover db --yes --wait
is "$(dmrepl_stage db)" "done" "it is done when it returns"
expect $view 0x44 2m 64k "the view's writes are on the disk"
expect "${disks[2]}" 0 1m 128k "the stream's are undone"
is "$(sed -n 's/^state = //p' /var/lib/dmrepl/db)" "done" "the promotion is noted"
gives 0 "failover again" dmrepl failover db --yes
gives 0 "wait --for done" dmrepl wait db --for "done"
like "$(dmrepl status db)" 'promoted by failover' "status says so"

# --- rejoin, promote, down and up ------------------------------------------------

gives 5 "rejoin asks" dmrepl rejoin db
gives 0 "rejoin" dmrepl rejoin db --yes
is "$(dmrepl_stage db)" none "the view is new"
[ ! -e /var/lib/dmrepl/db ]
ok $? "the promotion is forgotten"
run_ok "the stream is let in" stamp $origin 0x55 0 4k
gives 0 "start after rejoin" dmrepl start db
gives 5 "promote asks" dmrepl promote db
gives 6 "wait --timeout" dmrepl wait db --for "done" --timeout 300ms
stamp $view 0x66 0 4k
gives 0 "promote" dmrepl promote db --yes
expect $view 0x55 0 4k "the stream's write is kept"
gives 0 "down" dmrepl down db
is "$(dmsetup ls)" "No devices found" "nothing is left"
gives 3 "checkpoint of a pair that is down" dmrepl checkpoint db
like "$OUT" 'db is not up; dmrepl up db' "says what to do"
gives 0 "up of a promoted pair" dmrepl up db
is "$(dmsetup table db)" "0 32768 linear $(numbers "${disks[2]}") 0" "the disk has the view's name"
is "$(dmsetup status db-origin)" "0 32768 replication origin alone fenced" "the origin is fenced"
is "$(dmrepl_stage db)" "done" "status says done"
gives 0 "rejoin after that" dmrepl rejoin db --yes
is "$(dmrepl_stage db) $(dmsetup status db-origin)" "none 0 32768 replication origin none open" \
	"the pair is whole again"
gives 0 "remove" dmrepl remove db --yes
is "$(dmsetup ls)$(ls /etc/dmrepl.d /var/lib/dmrepl/.creating)" \
	"No devices found/etc/dmrepl.d:

/var/lib/dmrepl/.creating:" "nothing is left"
plan_end
