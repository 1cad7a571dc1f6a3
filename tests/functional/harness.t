#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# vm: --mem 768 --timeout 240
#
# The tests' own tools: they see what is so, and what is not.

# shellcheck source=tests/lib/guest.sh
. "$(dirname "$0")/../lib/guest.sh"

# fails TEXT COMMAND...: an assertion that must report a failure.
fails()
{
	local text=$1 output

	shift
	output=$("$@")
	like "$output" '^not ok ' "$text"
}

fails "is tells two words apart" is a b x
fails "isnt tells one word" isnt a a x
fails "like needs a match" like abc '^b' x
fails "run_ok needs success" run_ok x false
fails "run_fails needs a failure" run_fails x EIO true
fails "run_fails needs the right errno" run_fails x EIO cat /nonexistent
fails "run_fails needs a known errno" run_fails x ENONSENSE false
run_fails "run_fails reads strerror's words" ENOENT cat /nonexistent
run_fails "run_fails reads an errno's name" EBUSY bash -c 'echo EBUSY >&2; false'

run_ok "a disk in memory" null_disk bulk 16
null_disk small 8 blocksize=4096 || bail "null_disk"
small=$DISK
is "$(blockdev --getss "$small")" 4096 "null_disk takes attributes"
is "$(sectors "$small")" 16384 "null_disk has its size"
null_disk main 16 discard=1 || bail "null_disk"
main=$DISK

run_ok "stamp" stamp "$main" 0xaa 0 1m
expect "$main" 0xaa 0 1m "expect"
stamp "$main" 0xbb 1s 1s
expect "$main" 0xaa 0 512 "one sector was written: before it"
expect "$main" 0xbb 512 512 "one sector was written: it"
expect "$main" 0xaa 1024 $((1048576 - 1024)) "one sector was written: after it"
fails "expect sees one wrong byte" expect "$main" 0xaa 0 1m x
run_fails "stamp past the end" ENOSPC stamp "$main" 1 16m 4k
run_fails "stamp of a part of a sector" EINVAL stamp "$main" 1 0 100
run_ok "zeroout" blkio zeroout "$main" 4k 4k
expect "$main" 0 4k 4k "zeroout makes zeroes"
run_ok "discard" blkio discard "$main" 0 64k
run_ok "flush" blkio flush "$main"
run_ok "fua" blkio fua "$main" 0x11 0 4k

writes=$(diskstat "$main" writes)
sectors=$(diskstat "$main" written_sectors)
stamp "$main" 1 0 64k
is $(($(diskstat "$main" writes) - writes)) 1 "diskstat counts one request for one stamp"
is $(($(diskstat "$main" written_sectors) - sectors)) 128 "diskstat counts its sectors"

null_bad main +8-15
run_fails "a bad sector fails a write" EIO stamp "$main" 1 4k 4k
run_fails "a bad sector fails a read" EIO expect "$main" 1 4k 4k x
run_ok "its neighbour is well" stamp "$main" 1 8k 4k
null_bad main -8-15
run_ok "a bad sector can be mended" stamp "$main" 2 4k 4k

run_ok "a part of a disk" linear_disk part "$main" 1001 7
is "$(sectors /dev/mapper/part)" 1001 "of an odd length"
stamp /dev/mapper/part 0x77 0 512
expect "$main" 0x77 7s 512 "which starts where it should"
run_ok "dm_swap puts another table under it" dm_swap part 0 1001 error
run_fails "which takes effect" EIO stamp /dev/mapper/part 1 0 512
run_ok "remove it" dmsetup remove part

run_ok "brd disk" brd_disk one 8
# shellcheck disable=SC2016 # the inner shell's
run_fails "brd disks have one size" EINVAL bash -c '. "$0"; brd_disk a 8; brd_disk b 9 || echo EINVAL; false' \
	"$GUEST_LIB/guest.sh"
loop_disk file 8 4096
is "$(blockdev --getss "$DISK")" 4096 "loop disk with its sector size"

klog_mark
echo "something was said" >/dev/kmsg
is "$(klog_since)" "something was said" "klog_since"
run_ok "wait_until ends when it is so" wait_until 5 true
# shellcheck disable=SC2016 # the inner shell's
run_fails "wait_until ends when it is never so" EIO bash -c '. "$0"; wait_until 1 false || { echo EIO; false; }' \
	"$GUEST_LIB/guest.sh"

# leak FRAME...: what kmemleak says of an object allocated so.
leak()
{
	local frame

	printf '%s\n' 'unreferenced object 0xffff888006770b68 (size 8):' \
		'  comm "every", pid 84, jiffies 4294928375' '  backtrace:'
	for frame in __kmem_cache_alloc_node+0x1c9/0x2d0 "$@"; do
		echo "    [<0000000041625f00>] $frame"
	done
}

frames=(__kmalloc_node_track_caller+0x4c/0x110 kstrdup_const+0x49/0x80
	kvasprintf_const+0xce/0x140 kobject_set_name_vargs+0x44/0x120
	kobject_init_and_add+0xbb/0x120)
core=("${frames[@]}" "dm_sysfs_init+0x64/0x80 [dm_mod]" "table_load+0x4fd/0x620 [dm_mod]")
slab=("${frames[@]}" sysfs_slab_add+0x1a0/0x220 bioset_init+0x475/0x6d0 0xffffffffa0144157)

# leaks TEXT KNOWN UNKNOWN LEAK: the leaks that are told of each kind
leaks()
{
	local told

	told=$(awk -f "$GUEST_LIB/../vm/leaks.awk" <<<"$4")
	is "$(grep -c '^unreferenced' <<<"$told") $(sed -n 's/.*a known leak.*: //p' <<<"$told" | sort |
		tr '\n' ' ')" "$3 $2" "leaks: $1"
}

leaks "none" "" 0 ""
leaks "dm core's" "1 " 0 "$(leak "${core[@]}")"
leaks "twice" "2 " 0 "$(leak "${core[@]}"; leak "${core[@]}")"
leaks "dm core's with the module below it" "" 1 "$(leak "${core[@]}" 0xffffffffa0144157)"
leaks "or with its name" "" 1 "$(leak "${core[@]}" 'repl_ctr+0x1/0x2 [dm_repl]')"
leaks "another object of dm core's" "" 1 "$(leak "${core[@]:5}")"
leaks "one that is made on the way" "" 1 "$(leak kobject_create+0x1/0x2 "${core[@]}")"
leaks "another name" "" 1 "$(leak "${frames[@]}" 'dm_init+0x1/0x2 [dm_mod]')"
leaks "a cache's name, whoever makes it" "1 " 0 "$(leak "${slab[@]}")"
leaks "the module's" "" 1 "$(leak kmalloc_trace+0x1/0x2 0xffffffffa0144157)"
leaks "the module's among others" "1 2 " 1 \
	"$(leak "${slab[@]}"; leak "${core[@]}"; leak 0xffffffffa0144157; leak "${core[@]}")"
plan_end
