#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# vm: --smp 2 --mem 1536 --timeout 900 --with world
#
# stress-ng's stressors of disks and file systems, one after the other, in a file
# system on the view, while the origin is written all over, again and again.

# shellcheck source=tests/lib/guest.sh
. "$(dirname "$0")/../lib/guest.sh"
# shellcheck source=tests/lib/world.sh
. "$(dirname "$0")/../lib/world.sh"

folder=/mnt/view
size=320

# Those of disks and file systems that need no other kind of file system, and whose
# files can be small enough (copy-file's are at least 128 MiB each).
stressors="hdd aio aiol io iomix seek sync-file readahead revio
fallocate fpunch rename dir dirdeep dentry link symlink filename getdent chdir
chmod chown fstat fiemap file-ioctl flock lockf mknod open touch utime xattr"

# How much of each: bytes and operations, not seconds, would take too long here.
sizes=(--hdd-bytes 4m --iomix-bytes 4m --seek-size 4m --sync-file-bytes 2m
	--readahead-bytes 4m --revio-bytes 4m --fallocate-bytes 4m
	--dirdeep-bytes 64 --dir-dirs 256)

# overwrite: each fourth MiB of the origin, with bytes that are another time's
overwrite()
{
	local at

	for ((at = 0; at < size; at += 4)); do
		blkio write "$ORIGIN" $((0x80 + RANDOM % 64)) "${at}m" 1m || return
	done
}

# stress KIND: each stressor for a second, in two processes, and what it wrote
# verified as far as it can do that
stress()
{
	local name output

	for name in $stressors; do
		output=$(stress-ng "--$name" 2 -t 1 --verify --temp-path $folder "${sizes[@]}" 2>&1)
		ok $? "$1: $name" || diag "$output"
	done
}

for kind in ext4 xfs; do
	world_pair p $size hold_mib 8
	make_fs $kind "$ORIGIN"
	mount_fs $kind "$ORIGIN" $folder
	fill_folder $folder/first 40
	umount $folder
	run_ok "$kind: start" msg p start
	run_ok "$kind: the view mounts" mount_fs $kind "$VIEW" $folder
	touch /tmp/load
	still /tmp/load overwrite >/tmp/load.out 2>&1 &
	load=$!
	stress $kind
	fill_folder $folder/own 20
	umount $folder
	run_ok "$kind: whole after all of it" fs_is_whole $kind "$VIEW"
	run_ok "$kind: it mounts" mount_fs $kind "$VIEW" $folder
	run_ok "$kind: files of before the start" sums_hold $folder/first
	rm /tmp/load
	wait "$load"
	ok $? "$kind: no write of the origin failed" || diag "$(</tmp/load.out)"
	isnt "$(st p captures)" 0 "$kind: old data was saved"
	run_ok "$kind: failover, mounted" msg p failover
	wait_stage p "done" 120
	is "$(stage p)" "done" "$kind: it ends"
	umount $folder
	unpair p
	run_ok "$kind: secondary is whole" fs_is_whole $kind "$SECONDARY"
	run_ok "$kind: it mounts" mount_fs $kind "$SECONDARY" $folder
	run_ok "$kind: files of before the start" sums_hold $folder/first
	run_ok "$kind: and those of the view" sums_hold $folder/own
	umount $folder
done

world_disks_gone
run_ok "the module goes" rmmod dm_repl
plan_end
