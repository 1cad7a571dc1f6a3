#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
#
# The primary's host: a database on a primary, whose replica is the standby's.
# Its output is also the log of acknowledged transactions.

cd "$(dirname "$0")" || exit 1
ME=primary
# shellcheck source=tests/demo-two-hosts/both.sh
. ./both.sh

MIB=64
STATE=/dev/shm

# ask WORD...: an order to the standby; sets REPLY to its answer.
ask()
{
	REPLY=$(echo "$*" | socat -t 60 - "TCP:$STANDBY_HOST:$ORDERS,connect-timeout=5" 2>/dev/null)
	[ -n "$REPLY" ]
}

# order WORD...: it must be obeyed.
order()
{
	ask "$@"
	[ "$REPLY" = ok ] || fail "the standby: $*: $REPLY"
}

status()
{
	local values

	read -r -a values < <(dmsetup status --noflush p)
	echo "${values[*]:4}"
}

is_broken()
{
	[[ $(status) == *" broken "* ]]
}

is_mended()
{
	[[ $(status) =~ ^running\ [^\ ]+\ 0\ [0-9/]+\ [0-9]+\ 0\  ]]
}

# The replica is a dm device over an NBD device, so that it can change its wire.
connect()
{
	must wait_until 60 nbd-client "$STANDBY_HOST" "$1" -N replica -b 512
}

make_primary()
{
	null_disk local "$MIB" || fail "no disk"
	LOCAL=$DISK
	modprobe nbd nbds_max=2 || fail "no nbd"
	connect /dev/nbd0
	must dm_make wire "0 $((MIB * 2048)) linear /dev/nbd0 0"
	must dm_make p "0 $((MIB * 2048)) replication primary /dev/mapper/wire 5 autostart local $LOCAL replica_timeout_ms 4000"
	say "a new primary: $(status | cut -d ' ' -f 3) sectors differ from the replica"
}

# Brings the replica up to date: the standby is told before the first block is
# copied, and after the flush that ends it.
resync()
{
	local began

	order guard on
	began=$(now_ms)
	must dmsetup message p 0 start_resync
	"$@"
	must wait_until 120 is_mended
	RESYNCED=$(status | cut -d ' ' -f 4)
	order guard off
	say "resync: ${RESYNCED%/*} of $((MIB * 2048)) sectors were copied in $(($(now_ms) - began)) ms"
}

heartbeat()
{
	while :; do
		while echo alive; do
			sleep 0.3
		done 2>/dev/null | socat -u - "TCP:$STANDBY_HOST:$HEARTBEAT,connect-timeout=2" 2>/dev/null
		sleep 0.5
	done
}

open_bank()
{
	must mkfs.ext4 -q /dev/mapper/p
	mkdir -p /bank
	must mount /dev/mapper/p /bank
	must sqlite3 -batch /bank/bank.db "PRAGMA journal_mode = DELETE; CREATE TABLE entries (id INTEGER PRIMARY KEY, text TEXT, check_value INTEGER)"
}

# One transaction after the other; each is said when it is acknowledged.
transact()
{
	local n=0 answer

	mkfifo $STATE/sql $STATE/answers
	sqlite3 -batch /bank/bank.db <$STATE/sql >$STATE/answers 2>&1 &
	exec 3>$STATE/sql 4<$STATE/answers
	echo "PRAGMA synchronous = FULL;" >&3
	while :; do
		n=$((n + 1))
		echo "INSERT INTO entries VALUES ($n, hex(randomblob(300)), $((n * 7919 % 10007))); SELECT 'done $n';" >&3
		read -r -t 60 answer <&4 || answer="no answer ($?; over 128: in 60 s)"
		[ "$answer" = "done $n" ] || fail "transaction $n: $answer"
		echo "ack $n"
		echo "$n" >$STATE/acknowledged
		sleep 0.03
	done
}

acknowledged()
{
	local n=

	until [ -n "$n" ]; do
		n=$(<$STATE/acknowledged)
	done
	echo "$n"
}

# The file system is frozen for the moment of the checkpoint.
checkpoint()
{
	local began n

	began=$(now_ms)
	must fsfreeze --freeze /bank
	n=$(acknowledged)
	ask checkpoint "${1:-}"
	must fsfreeze --unfreeze /bank
	began=$(($(now_ms) - began))
	[[ $REPLY == "ok "* ]] || fail "checkpoint: $REPLY"
	say "checkpoint: has transactions up to $n (${REPLY#ok } us; with asking for it the file system stood still for $began ms)"
}

# The other host dies. Nothing stops here.
survive()
{
	local before dirty

	must wait_until 60 is_broken
	before=$(acknowledged)
	say "the replica does not answer: broken; $(status | cut -d ' ' -f 3) sectors are dirty"
	must wait_until 30 eval "[ \$(acknowledged) -gt $((before + 20)) ]"
	dirty=$(status | cut -d ' ' -f 3)
	say "goes on: $(($(acknowledged) - before)) transactions later $dirty sectors are dirty"
	say "GOES ON"
	until ask alive; do
		sleep 0.5
	done
	must nbd-client -d /dev/nbd0
	connect /dev/nbd1
	must dm_swap wire "0 $((MIB * 2048)) linear /dev/nbd1 0"
	say "the standby is back, on another wire"
}

# Beside a resync: what the standby can do, and what it cannot.
beside_resync()
{
	ask checkpoint
	[[ $REPLY == "refused: Device or resource busy"* ]] || fail "a checkpoint in a resync: $REPLY"
	say "in the resync: a checkpoint is refused"
	ask report
	[[ $REPLY == "ok "* ]] || fail "a report in a resync: $REPLY"
	say "in the resync: a report on the view reads: $REPLY"
	must dmsetup message p 0 set resync_rate_mib 0
}

compare_disks()
{
	local sum

	must fsfreeze --freeze /bank
	sum=$(disk_sum "$LOCAL")
	ask sum
	must same /dev/mapper/wire "$LOCAL" 0 $((MIB << 20))
	must fsfreeze --unfreeze /bank
	[ "$REPLY" = "$sum" ] || fail "the disks differ: $sum here, $REPLY there"
	say "both disks are equal, byte by byte: SHA-256 ${sum:0:16}... on either host"
}

make_primary
resync true
order start
open_bank
heartbeat &
transact &
must wait_until 60 test -s $STATE/acknowledged
for _ in 1 2 3; do
	sleep 1
	checkpoint
done
say "STRIKE THE STANDBY"
survive
must dmsetup message p 0 set resync_rate_mib 1
resync beside_resync
compare_disks
checkpoint for-good
for _ in 1 2; do
	sleep 1
	checkpoint
done
say "STRIKE THE PRIMARY"
sleep 600
