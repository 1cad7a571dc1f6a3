# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
#
# QEMU's own replication filter, see qemu.sh. Few requests: it is slow.
# shellcheck disable=SC2034,SC2153 # variables of lib.sh and guest.sh

# shellcheck source=tests/bench/qemu.sh
. "$(dirname "${BASH_SOURCE[0]}")/qemu.sh"

# qemu_disks SIZE_MIB: those of null_disks, the qcow2 images with room for what
# the format itself takes. Very large ones must stay empty.
qemu_disks()
{
	local name size

	DISKS=() STAT=()
	for name in active hidden secondary; do
		size=$1
		[ "$name" = secondary ] || size=$(($1 + 32 + $1 / 512))
		null_disk "$name" "$size" irqmode=2 completion_nsec=10000 max_sectors=2048 ||
			return
		[ "$size" -gt 1024 ] || fill "$DISK"
		counted "$name" "$DISK"
	done
	DISK_KIND=null
}

# A peer that does not do its job is no peer: the view stands still, and moves
# on at a checkpoint.
qemu_works()
{
	stamp "$QEMU_ORIGIN" 0x11 0 128k && qemu_checkpoint &&
		stamp "$QEMU_ORIGIN" 0x22 4k 4k &&
		blkio expect "$QEMU_VIEW" 0x11 0 128k &&
		stamp "$QEMU_VIEW" 0x33 64k 4k &&
		blkio expect "$QEMU_VIEW" 0x33 64k 4k &&
		blkio expect "$QEMU_ORIGIN" 0x11 64k 4k &&
		qemu_checkpoint &&
		blkio expect "$QEMU_VIEW" 0x22 4k 4k &&
		blkio expect "$QEMU_VIEW" 0x11 64k 4k
}

qemu_rows()
{
	local bs=$1 depth=$2 count=$3

	row()
	{
		io_row qemu "$1" "$2" "$3" "$bs" "$depth" "$count"
	}
	qemu_checkpoint || bail "checkpoint of QEMU"
	row view-read-secondary "$QEMU_VIEW" randread
	row origin-first-write "$QEMU_ORIGIN" randwrite
	row origin-rewrite "$QEMU_ORIGIN" randwrite
	row view-read-hidden "$QEMU_VIEW" randread
	qemu_checkpoint || bail "checkpoint of QEMU"
	row view-first-write "$QEMU_VIEW" randwrite
	row view-rewrite "$QEMU_VIEW" randwrite
	row view-read-active "$QEMU_VIEW" randread
}

# qemu_checkpoints SIZE_MIB DIRTY_MIB...: one half of each by the origin, one by
# the view; QMP's own time taken off.
qemu_checkpoints()
{
	local size=$1 dirty trip

	shift
	qmp_median 9 query-name || return
	trip=$QEMU_TOOK
	figure_row qemu command-round-trip "$trip" us size_mib="$size"
	for dirty in "$@"; do
		qemu_checkpoint && qemu_dirty "$dirty" && qemu_checkpoint || return
		figure_row qemu checkpoint-idle $((QEMU_TOOK - trip)) us \
			size_mib="$size" dirty_mib="$dirty"
	done
}

qemu_dirty()
{
	local half=$(($1 * 512))

	[ "$half" -gt 0 ] || return 0
	fio --name=dirty --filename="$QEMU_ORIGIN" --rw=write --bs=256k --iodepth=4 \
		--direct=1 --ioengine=libaio --size="${half}k" \
		--name=view --filename="$QEMU_VIEW" --rw=write --bs=256k --iodepth=4 \
		--direct=1 --ioengine=libaio --offset="${half}k" --size="${half}k" \
		>/tmp/dirty.words 2>&1 || { cat /tmp/dirty.words >&2; return 1; }
}

# qemu_commit MIB: from the command to the end of the copying.
qemu_commit()
{
	local begun us

	qemu_checkpoint && qemu_dirty "$1" || return
	begun=${EPOCHREALTIME/./}
	qemu_failover || return
	us=$((${EPOCHREALTIME/./} - begun))
	figure_row qemu commit-speed $(($1 * 1000000 / us)) mib_s \
		pattern=whole side=both mib="$1"
}

# qemu_on SIZE_MIB COMMAND...: with fresh disks and a fresh QEMU.
qemu_on()
{
	local size=$1

	shift
	if ! { qemu_disks "$size" &&
		qemu_up "${DISKS[secondary]}" "${DISKS[active]}" "${DISKS[hidden]}" &&
		"$@" && qemu_down && null_disks_gone; }; then
		bail "QEMU on disks of $size MiB: $*"
	fi
}

# What the way there costs, QEMU and NBD without the filter.
bare_rows()
{
	local bs=$1 depth=$2 count=$3

	io_row qemu-bare read "$QEMU_ORIGIN" randread "$bs" "$depth" "$count"
	io_row qemu-bare write "$QEMU_ORIGIN" randwrite "$bs" "$depth" "$count"
}

qemu_all()
{
	bare_rows 4k 1 500
	bare_rows 4k 16 500
	bare_rows 64k 1 200
	bare_rows 64k 16 200
	qemu_start && qemu_works || return
	qemu_rows 4k 1 500
	qemu_rows 4k 16 500
	qemu_rows 64k 1 200
	qemu_rows 64k 16 200
	qemu_checkpoints "$SIZE" 0 1 4 16 64 128 &&
		qemu_commit 128
}

qemu_large()
{
	qemu_start && qemu_checkpoints $((1 << 20)) 0 1 16 64
}

topic_qemu()
{
	null_disks_gone
	qemu_on "$SIZE" qemu_all
	# A disk in memory takes no memory where nothing was written.
	qemu_on $((1 << 20)) qemu_large
	null_disks "$SIZE" || bail "no disks"
}
