#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# vm: --smp 2 --mem 768 --timeout 200
#
# A primary is suspended, reloaded and removed in every stage and in the middle
# of everything; queue limits; no memory is left behind.

# shellcheck source=tests/lib/guest.sh
. "$(dirname "$0")/../lib/guest.sh"
# shellcheck source=tests/lib/primary.sh
. "$(dirname "$0")/../lib/primary.sh"

two_faulty 16 || bail "no disks"

# load: the guest writes for a while; its errors end it.
load()
{
	fio --name=load --filename=$PRIMARY --direct=1 --rw=randwrite --bs=4k-64k \
		--ioengine=libaio --iodepth=8 --time_based --runtime="$1" --size=16m \
		--randrepeat=0 --fsync=32 >"$SCRATCH/load.out" 2>&1
}

# reach SITUATION: makes p and brings it there; all is slow enough to be met.
reach()
{
	break_disk replica writes 0 8
	mend replica
	case $1 in
	none) make_p ;;
	running) make_p autostart ;;
	stopped) make_p autostart && pmsg stop ;;
	resync) make_p autostart resync_rate_mib 2 && pmsg start_resync ;;
	paused) make_p autostart resync_rate_mib 2 && pmsg start_resync && pmsg pause_resync ;;
	broken)
		make_p autostart && break_disk replica writes &&
			dmio write $PRIMARY 1 0 4k && wait_until 5 broken && mend replica
		;;
	esac
}

for situation in none running stopped resync paused broken; do
	t=$situation
	reach $situation || ok 1 "$t: reached"
	flags=$(pst flags)
	stage=$(pst stage)
	begin load load 3
	wait_until 5 grep -q . "$(sysblock $PRIMARY)/inflight"
	run_ok "$t: suspend under load" dmsetup suspend p
	before=$(pst "done")
	sleep 0.7
	is "$(pst "done")" "$before" "$t: nothing is copied meanwhile"
	run_ok "$t: resume" dmsetup resume p
	dmio table p
	table=${ANSWER#ok }
	tables "swap p $table"
	ok $? "$t: reload under load"
	is "$(pst stage)" "$stage" "$t: the stage is kept"
	is "$(pst flags)" "$flags" "$t: so is the rest"
	is "$(outcome load 20)" OK "$t: the load has gone well" ||
		diag "$(tail -n 3 "$SCRATCH/load.out")"
	if [ "$stage" = running ] && [ "$situation" != broken ]; then
		# Dirty or not, both have what was written: the rest is copied.
		works "$t: fast" message p set resync_rate_mib 0
		[ "$situation" = resync ] || works "$t: resync" message p start_resync
		comes_to "$t: it ends" 20 "dirty flags" 0
		equal "$t: equal"
	fi
	works "$t: remove" remove p
	# The next one's replica is to be another.
	stamp $REPLICA 0x99 0 1m
done

t="removed in the middle of a resync"
reach resync
works "$t" remove p
t="removed when broken"
reach broken
works "$t" remove p

t="other devices"
null_disk other 16
make_p autostart in_sync
fails "$t: not in running" EBUSY load p "$(primary_line in_sync | sed "s|$LOCAL|$DISK|")"
works "$t: stop" message p stop
works "$t: when stopped" swap p "$(primary_line in_sync | sed "s|$LOCAL|$DISK|")"
is "$(pst stage dirty)" "stopped 0" "$t: in_sync holds for them"
works "$t: and back" swap p "$(primary_line)"
is "$(pst stage dirty)" "stopped $DISK_SECTORS" "$t: all is dirty"
works "$t: remove" remove p

t="limits"
null_disk narrow 16 blocksize=4096 discard=1
tables "create p 0 $DISK_SECTORS replication primary $DISK 2 local $LOCAL"
is "$(blockdev --getss $PRIMARY)" 4096 "$t: the larger block"
is "$(<"$(sysblock $PRIMARY)/queue/discard_max_bytes")" 0 "$t: no discard if one cannot"
works "$t: remove" remove p
null_gone narrow

t="memory"
null_disk big 4096 memory_backed=0
BIG=$DISK
null_disk huge 4096 memory_backed=0
tables "create p 0 $((4096 * 2048)) replication primary $BIG 3 autostart local $DISK"
works "$t: start_resync of 4 GiB" message p start_resync
leaves()
{
	awk '$1 == "dm_repl_leaf_512" { print $2 }' /proc/slabinfo
}
most=0
while ! pst_is "dirty flags" 0; do
	now=$(leaves)
	[ "${now:-0}" -le "$most" ] || most=$now
	sleep 0.05
done
ok $((most == 0 || most > 2500)) "$t: at most $most leaves of 4096 stretches at a time"
is "$(pst progress)" "8388608/8388608" "$t: all was copied"
works "$t: remove" remove p

run_ok "nothing is left behind" rmmod dm_repl
plan_end
