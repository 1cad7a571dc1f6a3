#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# vm: --smp 2 --mem 1024 --timeout 300 --with world
#
# A DRBD resource whose standby has the origin as its disk, both hosts being this
# one: what DRBD acknowledges, resyncs and keeps as its own metadata goes through
# the origin; the view stands still meanwhile and becomes DRBD's disk by failover.

# shellcheck source=tests/lib/guest.sh
. "$(dirname "$0")/../lib/guest.sh"
# shellcheck source=tests/lib/world.sh
. "$(dirname "$0")/../lib/world.sh"

# drbd_half N DISK: a resource that finds the other one by its port.
drbd_half()
{
	local n=$1 disk=$2

	drbdmeta --force "$n" v08 "$disk" internal create-md &&
		attach "$n" "$disk" && meet "$n"
}

attach()
{
	drbdsetup-84 new-resource "r$1" &&
		drbdsetup-84 new-minor "r$1" "$1" 0 &&
		drbdsetup-84 attach "$1" "$2" "$2" internal --resync-rate=1G
}

meet()
{
	drbdsetup-84 connect "r$1" "ipv4:127.0.0.1:$((7789 + $1))" \
		"ipv4:127.0.0.1:$((7790 - $1))" --protocol=C
}

# drbd_is STATE: minor 0's connection, roles and disks.
drbd_is()
{
	grep -q "^ *0: $1 " /proc/drbd
}

comes_to()
{
	wait_until 60 drbd_is "$1"
	ok $? "$2" || diag "$(</proc/drbd)"
}

# same_as DISK OTHER MIB: as far as DRBD's data reach
same_as()
{
	cmp -n $(($3 << 20)) <(blkio read "$1" 0 "${3}m") <(blkio read "$2" 0 "${3}m")
}

connected="cs:Connected ro:Primary/Secondary ds:UpToDate/UpToDate"
data=60	# MiB; DRBD's metadata follow

modprobe drbd usermode_helper=/bin/true || bail "no DRBD"
mkdir -p /var/lock
world_pair p 64 hold_mib 1
null_disk local 64 || bail "no disk"
local=$DISK
{
	drbd_half 0 "$local" && drbd_half 1 "$ORIGIN"
} >/tmp/drbd.out 2>&1 || bail "DRBD: $(</tmp/drbd.out)"
wait_until 60 drbd_is "cs:Connected ro:Secondary/Secondary ds:Inconsistent/Inconsistent"

# --- a first resync through the origin -----------------------------------------

stamp "$SECONDARY" 0x77 0 "${data}m"
run_ok "the view starts over an old replica" msg p start
run_ok "one side is made primary by force" drbdsetup-84 primary 0 --force
comes_to "$connected" "all of it is resynced through the origin"
run_ok "the replica has what the primary has" same_as "$local" "$SECONDARY" $data
expect "$VIEW" 0x77 0 "${data}m" "the view stands still"

# --- load over DRBD, checkpoints -------------------------------------------------

run_ok "a file system on DRBD" make_fs ext4 /dev/drbd0
mkdir -p /mnt/drbd
run_ok "it mounts" mount /dev/drbd0 /mnt/drbd
fill_folder /mnt/drbd/first 30
sync -f /mnt/drbd
mkdir -p /mnt/drbd/mark
touch /tmp/load
still /tmp/load fs_mark -d /mnt/drbd/mark -n 30 -s 8192 -t 2 -l /tmp/fs_log >/tmp/load.out 2>&1 &
load=$!
for round in 1 2 3; do
	run_ok "checkpoint $round under load" msg p checkpoint
	run_ok "the view mounts" mount_fs ext4 "$VIEW" /mnt/view
	run_ok "what was synced before is there" sums_hold /mnt/view/first
	fill_folder /mnt/view/own 20
	umount /mnt/view
	run_ok "it is whole" fs_is_whole ext4 "$VIEW"
done
rm /tmp/load
wait "$load"
ok $? "no error comes to DRBD's guest" || diag "$(tail -n 5 /tmp/load.out)"

# --- the connection goes, comes back, and DRBD resyncs what changed ---------------

run_ok "the hosts lose each other" drbdsetup-84 disconnect ipv4:127.0.0.1:7790 ipv4:127.0.0.1:7789
fill_folder /mnt/drbd/alone 20
sync -f /mnt/drbd
drbdsetup-84 disconnect ipv4:127.0.0.1:7789 ipv4:127.0.0.1:7790 >/tmp/drbd.out 2>&1
run_ok "they meet again, the one" meet 1
run_ok "and the other" meet 0
comes_to "$connected" "what changed is resynced"
umount /mnt/drbd
run_ok "the replica has what the primary has" same_as "$local" "$SECONDARY" $data
run_ok "the view still has its own" mount_fs ext4 "$VIEW" /mnt/view
run_ok "with its sums" sums_hold /mnt/view/own
run_fails "and nothing of what came later" ENOENT ls /mnt/view/alone
umount /mnt/view

# --- the primary dies; the view becomes the disk ------------------------------------

drbdsetup-84 secondary 0
drbdsetup-84 down r0
drbdsetup-84 down r1
run_ok "failover" msg p failover
wait_stage p "done" 60
is "$(stage p)" "done" "it ends"
unpair p
run_ok "the replica is the view's file system" fs_is_whole ext4 "$SECONDARY"
run_ok "it mounts" mount_fs ext4 "$SECONDARY" /mnt/view
run_ok "with the view's own files" sums_hold /mnt/view/own
umount /mnt/view
# DRBD's own metadata came with the replica, as after a crash.
run_ok "DRBD's log of what was being written is applied" \
	drbdmeta 2 v08 "$SECONDARY" internal apply-al
run_ok "DRBD takes that disk" attach 2 "$SECONDARY"
drbdsetup-84 down r2

rmmod drbd
world_disks_gone
null_gone local
run_ok "the module goes" rmmod dm_repl
plan_end
