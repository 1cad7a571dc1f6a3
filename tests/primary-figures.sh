#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
#
# What a primary costs: mean latency at queue depth 1 and requests a second at
# 16, of random requests of 4 KiB. With
#
#	tests/vm/boot --icount --timeout 500 tests/primary-figures.sh
#
# time is a count of instructions, so that the figures repeat; each disk takes
# 10 us for a request.

# shellcheck source=tests/lib/guest.sh
. "$(dirname "$0")/lib/guest.sh"

MIB=64
OPTIONS=(irqmode=2 completion_nsec=10000 submit_queues=1 hw_queue_depth=64)

# fio_field DEVICE DEPTH READ_OR_WRITE FIELD
fio_field()
{
	fio --name=f --filename="$1" --direct=1 --rw="rand$3" --bs=4k --ioengine=libaio \
		--iodepth="$2" --number_ios=4000 --size=${MIB}m --randseed=1 --thread=1 \
		--output-format=terse --terse-version=3 | cut -d ';' -f "$4"
}

# row TEXT DEVICE READ_OR_WRITE: terse fields: 40 and 81 are mean latencies, 8
# and 49 requests a second, of reads and writes.
row()
{
	local lat=40 iops=8

	[ "$3" = read ] || lat=81 iops=49
	printf '%-34s %-5s %8.1f us %8d /s\n' "$1" "$3" \
		"$(fio_field "$2" 1 "$3" "$lat")" "$(fio_field "$2" 16 "$3" "$iops")"
}

null_disk local $MIB "${OPTIONS[@]}" || exit 1
local=$DISK
null_disk replica $MIB "${OPTIONS[@]}" || exit 1
replica=$DISK
null_disk metadata 1 "${OPTIONS[@]}" || exit 1
metadata=$DISK
total=$(sectors "$local")
dd if=/dev/zero of="$local" bs=1M count=$MIB oflag=direct status=none
dd if=/dev/zero of="$replica" bs=1M count=$MIB oflag=direct status=none

row "the disk itself" "$local" write
dm_make linear "0 $total linear $local 0"
row "dm-linear" "$DISK" read
row "dm-linear" "$DISK" write
dmsetup remove linear
dm_make p "0 $total replication primary $replica"
dmsetup message p 0 start
row "pure forwarder" "$DISK" write
dmsetup remove p
dm_make p "0 $total replication primary $replica 3 local $local in_sync"
row "primary, not started" "$DISK" write
dmsetup message p 0 start
row "primary" "$DISK" read
row "primary" "$DISK" write
began=${EPOCHREALTIME/./}
dmsetup message p 0 start_resync full
wait_until 60 eval 'dmsetup status p | grep -q "/[0-9]* 0 0 "'
took=$((${EPOCHREALTIME/./} - began))
echo "resync of $MIB MiB: $((MIB * 1000000 / took)) MiB/s"
dmsetup remove p
dm_make p "0 $total replication primary $replica 5 local $local in_sync metadata $metadata"
dmsetup message p 0 start
printf '%-34s %-5s %8.1f us\n' "primary with metadata, first" write \
	"$(fio --name=f --filename="$DISK" --direct=1 --rw=write:1020k --bs=4k \
		--ioengine=libaio --iodepth=1 --number_ios=$MIB --size=${MIB}m --thread=1 \
		--output-format=terse --terse-version=3 | cut -d ';' -f 81)"
row "primary with metadata, marked" "$DISK" write
dmsetup remove p
