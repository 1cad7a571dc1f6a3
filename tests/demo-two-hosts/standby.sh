#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
#
# The standby's host. Its replica is /dev/vda, which outlives the machine.
#
#   standby.sh first	the replica is empty
#   standby.sh again	it has been here before

cd "$(dirname "$0")" || exit 1
ME=standby
# shellcheck source=tests/demo-two-hosts/both.sh
. ./both.sh

make_pair()
{
	local name

	for name in active hidden; do
		null_disk "$name" $(($(sectors /dev/vda) / 2048)) || fail "no disk $name"
		declare "$name=$DISK"
	done
	# shellcheck disable=SC2154 # declared in the loop
	pair d "$active" "$hidden" /dev/vda || fail "no pair"
}

serve()
{
	cat >/tmp/nbd.conf <<-END
		[generic]
		[replica]
		exportname = $ORIGIN
		flush = true
		fua = true
	END
	must nbd-server -C /tmp/nbd.conf -p /run/nbd.pid
	socat -t 60 "TCP-LISTEN:$ORDERS,reuseaddr,fork" EXEC:./orders.sh &
}

# The replica as its stream left it when this machine died: a consistent state
# to work with, and to fall back to, while it is resynchronised.
frozen_report()
{
	must msg d start
	must msg d guard on
	mkdir -p /report
	must mount "$VIEW" /report
	say "guarded; the view shows the state of the moment it died, mounted: $(
		echo report | ./orders.sh)"
}

# Returns when the primary has not been heard of for 3 s. Sets LAST_SIGN.
listen()
{
	local line

	exec 9< <(socat -u "TCP-LISTEN:$HEARTBEAT,reuseaddr" -)
	read -r line <&9
	while read -r -t 3 line <&9; do
		LAST_SIGN=$(now_ms)
	done
}

# How old the view's checkpoint was when the last sign of life came.
recovery_point()
{
	echo $(($(st d age) * 1000 - ($(now_ms) - LAST_SIGN)))
}

take_over()
{
	local point mounted

	point=$(recovery_point)
	say "no sign of the primary for 3 s: failover"
	must msg d failover
	mkdir -p /bank
	must mount "$VIEW" /bank
	is_whole
	mounted=$(now_ms)
	say "recovery point: the last checkpoint, some $((point > 0 ? point : 0)) ms before the primary's last sign"
	say "recovery time: $((mounted - LAST_SIGN)) ms from that sign to a mounted, verified database (3000 of them waiting)"
}

is_whole()
{
	local words

	words=$(sqlite3 -batch /bank/bank.db "PRAGMA integrity_check" 2>&1)
	[ "$words" = ok ] || fail "the database: $words"
	say "found $(sqlite3 -batch -separator ' ' /bank/bank.db "SELECT count(*), max(id), ifnull(sum(check_value <> id * 7919 % 10007), 0) FROM entries")"
}

finish()
{
	wait_stage d "done" 60 || fail "the failover does not end"
	must sqlite3 -batch /bank/bank.db "INSERT INTO entries (id, text, check_value) VALUES (-1, 'after the failover', 0)"
	must umount /bank
	say "the failover is done, the standby has written its first entry, the origin is $(ost d fence)"
	must e2fsck -fn "$VIEW"
	[ "$(disk_sum "$VIEW")" = "$(disk_sum /dev/vda)" ] || fail "the view is not what is on the disk"
	say "the file system is clean, and the view is what is on the disk"
}

make_pair
[ "$1" = first ] || frozen_report
serve
say "serves the replica"
listen
take_over
finish
