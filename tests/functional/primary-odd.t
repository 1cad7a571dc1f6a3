#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# vm: --smp 2 --mem 768 --timeout 200
#
# A primary over odd disks: blocks of 2 KiB, chunks of 192 KiB, a disk that
# refuses what it has offered, a namespace that goes and comes back, a disk
# that is slower than the guest.

# shellcheck source=tests/lib/guest.sh
. "$(dirname "$0")/../lib/guest.sh"
# shellcheck source=tests/lib/primary.sh
. "$(dirname "$0")/../lib/primary.sh"

two_faulty 16 discard=1 || bail "no disks"

# over DEVICE [FEATURE]...: p is over local and this replica, in sync.
over()
{
	REPLICA=$1
	RAW_DISK[replica]=${2:-$1}
	make_p autostart || bail "no primary over $1"
	resynced "$t"
}

# --- blocks between the two that are tracked ----------------------------------------

t="blocks of 2 KiB"
null_disk coarse 16 blocksize=2048 || bail "null_disk"
over "$DISK"
is "$(blockdev --getss $PRIMARY)" 2048 "$t: the guest's are these"
works "$t: stop" message p stop
works "$t: a write" write $PRIMARY 0x21 2k 2k
is "$(pst dirty)" 4 "$t: all of it is dirty"
works "$t: a longer write" write $PRIMARY 0x22 66k 6k
is "$(pst dirty)" 16 "$t: all of that, too"
works "$t: start" message p start
resynced "$t: after a stop"
works "$t: remove" remove p
null_gone coarse

# --- a namespace of NVMe over TCP ------------------------------------------------------

nvmet=/sys/kernel/config/nvmet
namespace_comes()
{
	mkdir "$nvmet/subsystems/s/namespaces/1" &&
		echo "$1" >"$nvmet/subsystems/s/namespaces/1/device_path" &&
		echo 1 >"$nvmet/subsystems/s/namespaces/1/enable"
}

# Every request is answered "invalid namespace", which is no error of a path.
namespace_goes()
{
	rmdir "$nvmet/subsystems/s/namespaces/1"
}

# serve DEVICE: it is a namespace, and a disk here: DISK.
serve()
{
	local port=$nvmet/ports/1

	ip link set lo up
	modprobe -a nvmet-tcp nvme-tcp || return
	mkdir "$nvmet/subsystems/s" "$port" || return
	echo 1 >"$nvmet/subsystems/s/attr_allow_any_host"
	namespace_comes "$1" || return
	echo 127.0.0.1 >"$port/addr_traddr"
	echo tcp >"$port/addr_trtype"
	echo 4420 >"$port/addr_trsvcid"
	echo ipv4 >"$port/addr_adrfam"
	ln -s "$nvmet/subsystems/s" "$port/subsystems/" || return
	echo "transport=tcp,traddr=127.0.0.1,trsvcid=4420,nqn=s,keep_alive_tmo=0" \
		>/dev/nvme-fabrics || return
	wait_until 20 test -b /dev/nvme0n1 || return
	nvme-quiet /dev/nvme0
	DISK=/dev/nvme0n1
}

unserve()
{
	echo 1 >/sys/class/nvme/nvme0/delete_controller
	rm "$nvmet/ports/1/subsystems/s"
	namespace_goes
	rmdir "$nvmet/ports/1" "$nvmet/subsystems/s"
}

t="a namespace"
# Without a cache it would have nothing to flush, and newer kernels know that.
null_disk served 16 discard=1 cache_size=16 || bail "null_disk"
served=$DISK
serve "$served" || bail "no NVMe over TCP"
over "$DISK" "$served"

for what in write flush; do
	t="a namespace is gone at a $what"
	works "$t: an unsettled write" write $PRIMARY 0x31 1m 64k
	namespace_goes
	case $what in
	write) works "$t: it succeeds" write $PRIMARY 0x32 2m 64k ;;
	flush) works "$t: it succeeds" flush $PRIMARY ;;
	esac
	breaks "$t"
	is "$(error_of_p | cut -d " " -f 1-2)" "-95 forward" "$t: get_error says EOPNOTSUPP"
	if [ $what = write ]; then
		comes_to "$t: both are dirty" 5 dirty 256
	else
		comes_to "$t: what was unsettled is dirty" 5 dirty 128
	fi
	namespace_comes "$served"
	ok $? "$t: it is back"
	resynced "$t"
	works "$t: the error is forgotten" message p clear_error
done
works "$t: remove" remove p
unserve
null_gone served

# --- a disk of SCSI: chunks, and refused discards ---------------------------------------

t="chunks of 192 KiB"
modprobe -a sd_mod || bail "no sd_mod"
modprobe scsi_debug dev_size_mb=16 lbpu=1 lbpws=0 lbpws10=0 unmap_granularity=384 || bail "no scsi_debug"
for disk in /sys/bus/pseudo/drivers/scsi_debug/adapter*/host*/target*/*:*/block/*; do
	scsi=/dev/${disk##*/}
done
wait_until 20 test -b "$scsi" || bail "no disk of SCSI"
stamp "$scsi" 0x99 0 16m
over "$scsi"
works "$t: write" write $PRIMARY 0x41 0 4m
works "$t: discard over a border of 1 MiB" discard $PRIMARY 0 3m
on "$scsi" 0 0 3m "$t: no chunk is lost"
is "$(pst dirty flags)" "0" "$t: nothing is dirty"

t="a refused discard"
works "$t: write" write $PRIMARY 0x42 0 4m
# It has no such command.
echo writesame_16 >"$(echo /sys/class/scsi_disk/*/provisioning_mode)"
works "$t: it succeeds" discard $PRIMARY 1920k 192k
is "$(pst dirty flags)" "384" "$t: it is dirty, and breaks nothing"
is "$(error_of_p)" none "$t: it is no error"
resynced "$t"
works "$t: remove" remove p
rmmod scsi_debug

# --- more than there are pages for --------------------------------------------------------

t="a replica slower than the guest"
null_disk slow 128 mbps=4 max_sectors=64 memory_backed=0 || bail "null_disk"
slow=$DISK
null_disk quick 128 memory_backed=0 || bail "null_disk"
quick=$DISK
tables "create p 0 $((128 * 2048)) replication primary $slow 4 autostart local $quick in_sync"
worker_ticks()
{
	awk -v FS='[)] ' '{ split($2, a, " "); print a[12] + a[13] }' \
		"/proc/$(pgrep '^dm_repl/')/stat"
}
free_mib()
{
	awk '$1 == "MemFree:" { free = $2 } $1 == "count:" { free += $2 * 4 }
		END { print int(free / 1024) }' /proc/meminfo /proc/zoneinfo
}
free=$(free_mib)
as_free_as_before()
{
	least=$(free_mib)
	[ "$least" -ge $((free - 12)) ]
}
before=$(worker_ticks)
began=${EPOCHREALTIME/./}
begin small fio --name=small --filename=$PRIMARY --direct=1 --rw=write --bs=4k \
	--size=64m --ioengine=libaio --iodepth=16384
# shellcheck disable=SC2016 # awk's
wait_until 20 awk '$2 > 10000 { found = 1 } END { exit !found }' "$(sysblock $PRIMARY)/inflight"
ok $? "$t: more is under way than there are pages for"
asked=${EPOCHREALTIME/./}
begin large blkio write $PRIMARY 0x51 100m 1m
is "$(outcome large 60)" OK "$t: a large write ends"
large=$(((${EPOCHREALTIME/./} - asked) / 1000))
is "$(outcome small 60)" OK "$t: so do the small ones"
took=$(((${EPOCHREALTIME/./} - began) / 10000))
ticks=$(($(worker_ticks) - before))
diag "large after $large ms, all after ${took}0 ms; the worker ran for ${ticks}0 ms"
ok $((ticks * 3 > took)) "$t: the worker runs for less than a third of the time"
is "$(pst dirty flags)" "0" "$t: nothing is dirty"
wait_until 10 as_free_as_before
ok $? "$t: its pages go back to the system" || diag "$free MiB were free, $least are"
works "$t: remove" remove p

# Each time it has pages that it never gives back while it lives.
t="primaries that come and go"
line="0 $((128 * 2048)) replication primary $slow 3 local $quick in_sync"
for ((i = 0; i < 40; i++)); do
	if ! tables "create p $line" || ! dmio remove p; then
		break
	fi
done
is "$i" 40 "$t: 40 of them"
wait_until 10 as_free_as_before
ok $? "$t: they take no memory along" || diag "$free MiB were free, $least are"

run_ok "nothing is left behind" rmmod dm_repl
plan_end
