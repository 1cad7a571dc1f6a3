# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
#
# For the tests of tests/world: file systems on a pair. After guest.sh.

# world_pair NAME SIZE_MIB [FEATURE]...: a pair over disks in memory, in stage
# none; VIEW and ORIGIN are its devices, SECONDARY its replica.
world_pair()
{
	local name=$1 size=$2 role made=()

	shift 2
	for role in active hidden secondary; do
		if [ ! -d "/sys/kernel/config/nullb/$role" ]; then
			null_disk "$role" "$size" blocksize=512 discard=1 || bail "no disk"
			DISK_OF[$role]=$DISK
		fi
		made+=("${DISK_OF[$role]}")
	done
	pair "$name" "${made[@]}" -- "$@" || bail "no pair"
	SECONDARY=${made[2]}
}
declare -A DISK_OF
# shellcheck disable=SC2034 # for the test
SECONDARY=

# world_disks_gone: what they hold is not wanted any more.
world_disks_gone()
{
	local role

	for role in active hidden secondary; do
		null_gone "$role"
	done
}

# make_fs KIND DEVICE
make_fs()
{
	case $1 in
	ext4) mkfs.ext4 -q -E lazy_itable_init=0,lazy_journal_init=0 -O metadata_csum "$2" ;;
	xfs) mkfs.xfs -q -f -m crc=1 "$2" ;;
	esac
}

# mount_fs KIND DEVICE FOLDER: the other side may have mounted what has the same
# UUID.
mount_fs()
{
	local options=()

	[ "$1" != xfs ] || options=(-o nouuid)
	mkdir -p "$3"
	mount -t "$1" "${options[@]}" "$2" "$3"
}

# fs_is_whole KIND DEVICE: nothing is to be mended, and nothing is changed.
fs_is_whole()
{
	case $1 in
	ext4) e2fsck -fn "$2" ;;
	xfs) xfs_repair -n "$2" ;;
	esac
}

# fill_folder FOLDER COUNT: files of many lengths, and a list of their sums.
fill_folder()
{
	local i

	mkdir -p "$1"
	head -c 1M /dev/urandom >/tmp/random
	for ((i = 1; i <= $2; i++)); do
		head -c $((i * i * 397 % 300000 + 1)) /tmp/random | tail -c +$i >"$1/file$i"
	done
	(cd "$1" && sha256sum file* >sums)
}

# sums_hold FOLDER
sums_hold()
{
	(cd "$1" && sha256sum --quiet -c sums)
}

# still FILE COMMAND...: again and again, as long as there is the file. Prints
# what went wrong, at once.
still()
{
	local file=$1

	shift
	while [ -e "$file" ]; do
		"$@" || return
	done
}
