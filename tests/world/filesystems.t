#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# vm: --smp 2 --mem 1536 --timeout 900 --with world
#
# ext4 and xfs, mounted through the origin and on the view at once, each under
# dbench and fs_mark. Checkpoints come while the origin's is in full use: the
# view's is then what a power cut would leave, so its journal must make it whole.

# shellcheck source=tests/lib/guest.sh
. "$(dirname "$0")/../lib/guest.sh"
# shellcheck source=tests/lib/world.sh
. "$(dirname "$0")/../lib/world.sh"

primary=/mnt/primary
standby=/mnt/standby

# dbench_in FOLDER SECONDS: two clients
dbench_in()
{
	mkdir -p "$1"
	dbench -D "$1" -c /usr/share/dbench/client.txt -t "$2" 2
}

# fs_mark_in FOLDER: files of 10 KiB, each synced as fs_mark's methods 1 and 3 do
fs_mark_in()
{
	mkdir -p "$1/mark1" "$1/mark3"
	fs_mark -d "$1/mark1" -n 60 -s 10240 -S 1 -t 2 -l /tmp/fs_log.$$ &&
		fs_mark -d "$1/mark3" -n 60 -s 10240 -S 3 -t 2 -l /tmp/fs_log.$$
}

# both TEXT COMMAND ARG...: the command in a folder of each of them, at once.
both()
{
	local text=$1 command=$2 pid first=0 second=0

	shift 2
	"$command" "$primary/$command" "$@" >/tmp/both.1 2>&1 &
	pid=$!
	"$command" "$standby/$command" "$@" >/tmp/both.2 2>&1 || second=$?
	wait "$pid" || first=$?
	is "$first $second" "0 0" "$text: both" ||
		diag "$(tail -n 5 /tmp/both.1 /tmp/both.2)"
}

# planned KIND: the first checkpoint, of a frozen file system; then both in use
planned()
{
	local kind=$1

	run_ok "$t: made through the origin" make_fs "$kind" "$ORIGIN"
	run_ok "$t: mounted there" mount_fs "$kind" "$ORIGIN" $primary
	fill_folder $primary/first 40
	fsfreeze -f $primary
	run_ok "$t: start" msg p start
	fsfreeze -u $primary
	run_ok "$t: mounted on the view" mount_fs "$kind" "$VIEW" $standby
	run_ok "$t: it has the files" sums_hold $standby/first
	both "$t: dbench" dbench_in 8
	both "$t: fs_mark" fs_mark_in
	fill_folder $standby/own 40
	umount $standby
	run_ok "$t: whole after use" fs_is_whole "$kind" "$VIEW"
	run_ok "$t: mounted again" mount_fs "$kind" "$VIEW" $standby
	run_ok "$t: the files of before are there" sums_hold $standby/first
	run_ok "$t: and its own" sums_hold $standby/own
	umount $standby
}

# unplanned KIND: checkpoints under load
unplanned()
{
	local kind=$1 round pid status=0

	touch /tmp/load
	still /tmp/load dbench_in $primary/load 3 >/tmp/load.out 2>&1 &
	pid=$!
	for round in 1 2 3; do
		fill_folder "$primary/round$round" 20
		sync -f $primary
		run_ok "$t: checkpoint $round under load" msg p checkpoint
		run_ok "$t: it mounts" mount_fs "$kind" "$VIEW" $standby
		run_ok "$t: what was synced is there" sums_hold "$standby/round$round"
		run_ok "$t: so are old files" sums_hold $standby/first
		fill_folder $standby/own 30
		umount $standby
		run_ok "$t: whole after checkpoint $round" fs_is_whole "$kind" "$VIEW"
	done
	rm /tmp/load
	wait "$pid" || status=$?
	is "$status" 0 "$t: the origin's load had no error" || diag "$(tail -n 5 /tmp/load.out)"
	run_ok "$t: own files are there" mount_fs "$kind" "$VIEW" $standby
	run_ok "$t: with their sums" sums_hold $standby/own
}

# fail_over KIND: while the view's is in full use
fail_over()
{
	local kind=$1 pid status=0

	fill_folder $primary/late 5
	umount $primary
	dbench_in $standby/load 8 >/tmp/load.out 2>&1 &
	pid=$!
	sleep 3
	run_ok "$t: failover under load" msg p failover
	wait_stage p "done" 60
	is "$(stage p)" "done" "$t: it ends"
	wait "$pid" || status=$?
	is "$status" 0 "$t: the view's load had no error" || diag "$(tail -n 5 /tmp/load.out)"
	fill_folder $standby/after 20
	umount $standby
	run_ok "$t: the view's is whole" fs_is_whole "$kind" "$VIEW"
	unpair p
	run_ok "$t: secondary's is whole" fs_is_whole "$kind" "$SECONDARY"
	run_ok "$t: it mounts without the module" mount_fs "$kind" "$SECONDARY" $standby
	run_ok "$t: files of before" sums_hold $standby/first
	run_ok "$t: the view's own" sums_hold $standby/own
	run_ok "$t: and those after the failover" sums_hold $standby/after
	run_fails "$t: none of the origin's late ones" ENOENT ls $standby/late
	umount $standby
}

for kind in ext4 xfs; do
	t=$kind
	world_pair p 320
	planned $kind
	unplanned $kind
	fail_over $kind
done

world_disks_gone
run_ok "the module goes" rmmod dm_repl
plan_end
