#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# vm: --smp 2 --mem 768 --timeout 300
#
# dmrepl with a primary and its resync, and with a pair that has metadata.

# shellcheck source=tests/lib/guest.sh
. "$(dirname "$0")/../lib/guest.sh"
# shellcheck source=tests/lib/dmrepl.sh
. "$(dirname "$0")/../lib/dmrepl.sh"

# --- a primary -----------------------------------------------------------------

null_disk local 16
local=$DISK
null_disk replica 16
replica=$DISK
linear_disk wire "$replica" 32768
gives 0 "create a primary" dmrepl create disk --replica /dev/mapper/wire --local "$local" \
	--resync-rate-mib 8
is "$(dmsetup table disk)" "0 32768 replication primary $(numbers /dev/mapper/wire) 4 local $(numbers "$local") resync_rate_mib 8" \
	"its table line"
gives 0 "start" dmrepl start disk
gives 0 "status" dmrepl status
like "$OUT" 'disk +running .* 16 MiB' "everything is dirty"
gives 0 "status --json" dmrepl status --json
fits "it is as the schema says"
is "$(json '.pairs[0].dirty_bytes') $(json '.pairs[0].devices.local')" "16777216 $local" "dirty, and its disk"
gives 0 "metrics" dmrepl metrics disk
like "$OUT" 'dm_replication_dirty_bytes\{pair="disk"\} 16777216' "the same as a metric"
unlike "$OUT" 'captures_total\{' "what only views have is left out"
gives 0 "resync" dmrepl resync disk
gives 0 "pause" dmrepl resync disk --pause
gives 4 "pause again" dmrepl resync disk --pause
one_line "one line"
gives 0 "resync --wait" dmrepl resync disk --wait
like "$OUT" 'disk: the replica is in sync' "says how it ended"
is "$(json '.pairs[0].stage' <<<"$OUT" 2>/dev/null)$(dmrepl status --json disk | jsonget '.pairs[0].dirty_bytes')" \
	0 "nothing is dirty"
stamp /dev/mapper/disk 0x11 0 64k
expect "$replica" 0x11 0 64k "writes are forwarded"
dm_swap wire 0 32768 error
stamp /dev/mapper/disk 0x22 64k 64k
gives 0 "wait --for error" dmrepl wait disk --for error --timeout 20s
like "$(dmrepl status disk)" 'disk +running .*broken.*error forward' "status says broken"
gives 0 "metrics of it" dmrepl metrics disk
like "$OUT" 'errors_total\{pair="disk",class="forward"\} [1-9]' "metrics: errors of the replica"
like "$OUT" 'errors_total\{pair="disk",class="local"\} 0' "metrics: none of the local disk"
gives 1 "resync --wait to a broken replica" dmrepl resync disk --wait
dm_swap wire 0 32768 linear "$replica" 0
gives 0 "resync --wait when it is back" dmrepl resync disk --wait
expect "$replica" 0x22 64k 64k "the replica has got what it lacked"
gives 4 "promote of a primary" dmrepl promote disk --yes
gives 0 "down" dmrepl down disk
gives 0 "up" dmrepl up disk
gives 0 "remove" dmrepl remove disk --yes
dmsetup remove wire

# --- a pair with metadata ------------------------------------------------------------

three_disks ''
null_disk blank 4
blank=$DISK
null_disk meta 4
gives 0 "create with metadata" dmrepl create m "${disks[@]}" --metadata "$DISK"
gives 0 "start" dmrepl start m
stamp /dev/mapper/m 0x33 0 64k
gives 0 "status --json" dmrepl status --json
fits "it is as the schema says"
is "$(json '.pairs[0].devices.metadata')" "$DISK" "the metadata device is shown"
gives 0 "down asks nothing: nothing is lost" dmrepl down m
gives 0 "up" dmrepl up m
is "$(dmrepl_stage m)" running "the stage is kept"
expect /dev/mapper/m 0x33 0 64k "the view's writes are there"
gives 0 "failover" dmrepl failover m --yes --wait
gives 0 "down" dmrepl down m
gives 0 "up of a promoted pair" dmrepl up m
is "$(dmrepl_stage m) $(dmrepl status --json m | jsonget '.pairs[0].origin.fence')" "done fenced" \
	"it is promoted and fenced"
gives 0 "down" dmrepl down m
cp /etc/dmrepl.d/m.conf /tmp/m.conf
sed -i '/^metadata/d' /etc/dmrepl.d/m.conf
gives 4 "up without the metadata of the promotion" dmrepl up m
like "$OUT" 'promoted with metadata' "says why"
linear_disk blank "$blank" 8192
sed '/^metadata/s/=.*/= \/dev\/mapper\/blank/' /tmp/m.conf >/etc/dmrepl.d/m.conf
gives 4 "up with metadata that know of no promotion" dmrepl up m
like "$OUT" 'knows nothing of that' "says why"
is "$(dmsetup ls --target replication)" "" "no origin is left open"
gives 0 "rejoin gives the promotion up" dmrepl rejoin m --yes
is "$(dmrepl_stage m) $(dmrepl status --json m | jsonget '.pairs[0].origin.fence')" "none open" \
	"it is a new pair"
gives 0 "start" dmrepl start m
gives 0 "promote" dmrepl promote m --yes
gives 0 "down" dmrepl down m
gives 0 "up" dmrepl up m
is "$(dmrepl_stage m)" "done" "it is promoted"
gives 0 "down" dmrepl down m
cp /tmp/m.conf /etc/dmrepl.d/m.conf
gives 0 "up with the metadata that were promoted first" dmrepl up m
dmsetup remove blank
gives 0 "rejoin" dmrepl rejoin m --yes
is "$(dmrepl_stage m) $(dmrepl status --json m | jsonget '.pairs[0].origin.fence')" "none open" \
	"it is a pair again"
gives 0 "down" dmrepl down m
gives 0 "up" dmrepl up m
is "$(dmrepl_stage m) $(dmrepl status --json m | jsonget '.pairs[0].origin.fence')" "none open" \
	"and stays one"
gives 0 "remove" dmrepl remove m --yes
nothing_left "nothing is left in the end"
plan_end
