#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# vm: --smp 2 --mem 1536 --timeout 900 --with world
#
# PostgreSQL with data checksums: one server works through the origin under
# pgbench, one on the view, started at each checkpoint from what a crash would
# have left. Then a failover under pgbench. pg_checksums and amcheck look at all
# of it, and the bank's books must balance.

# shellcheck source=tests/lib/guest.sh
. "$(dirname "$0")/../lib/guest.sh"
# shellcheck source=tests/lib/world.sh
. "$(dirname "$0")/../lib/world.sh"

for path in /usr/lib/postgresql/*/bin; do
	PATH=$PATH:$path
done
primary=/mnt/primary
standby=/mnt/standby

# It does not want to be root.
pg()
{
	setpriv --reuid nobody --regid nogroup --clear-groups env HOME=/tmp "$@"
}

port_of()
{
	case $1 in
	"$primary") echo 5432 ;;
	*) echo 5433 ;;
	esac
}

# serve FOLDER: start the server of a folder; ends when it accepts connections.
serve()
{
	local options=(-p "$(port_of "$1")" -k /tmp -c listen_addresses= -c jit=off
		-c shared_buffers=32MB -c max_wal_size=64MB -c max_connections=20)

	pg pg_ctl -s -w -t $((120 * ${SLOW:-1})) -D "$1/db" -l "/tmp/pg.$(port_of "$1")" \
		-o "${options[*]}" start
}

# stop FOLDER [MODE]
stop()
{
	pg pg_ctl -s -w -t $((120 * ${SLOW:-1})) -D "$1/db" -m "${2:-fast}" stop
}

sql()
{
	pg psql -h /tmp -p "$(port_of "$1")" -At -d postgres -c "$2"
}

# bench FOLDER SECONDS
bench()
{
	pg pgbench -h /tmp -p "$(port_of "$1")" -n -c 4 -j 2 -T "$2" postgres
}

# Each transaction adds one number to three balances, and writes it down.
balanced()
{
	sql "$1" "select (select sum(abalance) from pgbench_accounts) =
			all (array[(select sum(bbalance) from pgbench_branches),
			(select sum(tbalance) from pgbench_tellers),
			(select coalesce(sum(delta), 0) from pgbench_history)])"
}

history_of()
{
	sql "$1" "select count(*) from pgbench_history"
}

# looks_well TEXT FOLDER: the server is up
looks_well()
{
	is "$(balanced "$2")" t "$1: the books balance"
	run_ok "$1: amcheck finds nothing" pg pg_amcheck -h /tmp -p "$(port_of "$2")" \
		--heapallindexed --parent-check postgres
}

checksums_hold()
{
	pg pg_checksums --check -D "$1/db"
}

# --- the primary ------------------------------------------------------------------

world_pair p 320
make_fs ext4 "$ORIGIN"
mount_fs ext4 "$ORIGIN" $primary
chown nobody:nogroup $primary
chmod 1777 /tmp
run_ok "a cluster with checksums, through the origin" \
	pg initdb -D $primary/db -k --locale=C -E UTF8 --no-sync -A trust --no-instructions ||
	bail "no cluster"
# It has synced nothing itself, as a cluster needs that is to outlive a crash.
sync -f $primary
run_ok "its server starts" serve $primary || bail "$(cat /tmp/pg.5432)"
run_ok "pgbench fills its tables" pg pgbench -h /tmp -p 5432 -i -s 1 -q postgres
sql $primary "create extension amcheck" >/dev/null
run_ok "start, the server being up" msg p start
bench $primary 3000 >/tmp/primary.out 2>&1 &
load=$!

# --- the standby, at each checkpoint -------------------------------------------------

before=0
for round in 1 2 3; do
	run_ok "checkpoint $round under pgbench" msg p checkpoint
	run_ok "the view mounts" mount_fs ext4 "$VIEW" $standby
	rm -f $standby/db/postmaster.pid
	run_ok "a server recovers there" serve $standby
	now=$(history_of $standby)
	ok "$((now < before))" "it has what was committed before: $now transactions"
	before=$now
	looks_well "round $round" $standby
	run_ok "pgbench on the view, beside the other" bench $standby 6
	looks_well "round $round, after pgbench" $standby
	[ "$(history_of $standby)" -gt "${now:-0}" ]
	ok $? "round $round: the view's server has worked"
	run_ok "it stops" stop $standby
	run_ok "all checksums hold" checksums_hold $standby
	umount $standby
	run_ok "the file system is whole" fs_is_whole ext4 "$VIEW"
done

# --- failover -----------------------------------------------------------------------

run_ok "the last checkpoint" msg p checkpoint
run_ok "the view mounts" mount_fs ext4 "$VIEW" $standby
rm -f $standby/db/postmaster.pid
run_ok "a server recovers there" serve $standby
kill "$load" 2>/dev/null
wait "$load" 2>/dev/null
is "$(balanced $primary)" t "the primary's books balance, too"
stop $primary immediate
umount $primary
bench $standby 10 >/tmp/standby.out 2>&1 &
load=$!
sleep 3
run_ok "failover under pgbench" msg p failover
wait_stage p "done" 120
is "$(stage p)" "done" "it ends"
wait "$load"
ok $? "pgbench saw no error" || diag "$(tail -n 5 /tmp/standby.out)"
looks_well "after the failover" $standby
now=$(history_of $standby)
run_ok "the server stops" stop $standby
umount $standby
unpair p

run_ok "secondary is whole" fs_is_whole ext4 "$SECONDARY"
run_ok "it mounts without the module" mount_fs ext4 "$SECONDARY" $standby
run_ok "all checksums hold" checksums_hold $standby
run_ok "a server starts there" serve $standby
is "$(history_of $standby)" "$now" "it has all that the view's server committed"
looks_well "on secondary" $standby
stop $standby
umount $standby

world_disks_gone
run_ok "the module goes" rmmod dm_repl
plan_end
