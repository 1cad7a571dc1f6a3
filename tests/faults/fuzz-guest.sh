#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
#
# The part of check-fuzz in the guest: makes the disks, runs the program fuzz
# with the arguments given.

# shellcheck source=tests/lib/guest.sh
. "$(dirname "$0")/../lib/guest.sh"
# shellcheck source=tests/faults/quiet.sh
. "$(dirname "$0")/quiet.sh"

LEN=4096	# sectors
here=$(dirname "$0")

modprobe dm-mod || bail "no device mapper"
for name in a h s l r x y w; do
	null_disk "n-$name" 2 discard=1 || bail "no disk"
	linear_disk "raw-$name" "$DISK" $LEN
	linear_disk "z-$name" "/dev/mapper/raw-$name" $LEN
done
linear_disk z-short /dev/mapper/raw-w 4000
null_disk n-ro 2
blockdev --setro "$DISK"
ln -s "$DISK" /dev/mapper/z-ro
null_disk n-big 2 blocksize=4096
ln -s "$DISK" /dev/mapper/z-big
modprobe dm-replication
quiet_console
"$here/fuzz" "$@" 2>&1 | cat
status=${PIPESTATUS[0]}
loud_console
if [ "$status" != 0 ]; then
	dmsetup info --columns
	dmsetup table
	dmsetup status --noflush
fi
rmmod dm_repl || status=1
exit "$status"
