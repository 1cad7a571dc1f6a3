#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# vm: --smp 2 --mem 768 --timeout 120
#
# What was wrong once and is not covered elsewhere.

# shellcheck source=tests/lib/guest.sh
. "$(dirname "$0")/../lib/guest.sh"

declare -A disk
for name in active hidden secondary active2 secondary2; do
	null_disk "$name" 8 || bail "no disk"
	disk[$name]=$DISK
done

reload_view()
{
	dmsetup load p-view --table "$(view_table "$@")"
}

again()
{
	dmsetup suspend "$1" && dmsetup resume "$1"
}

pair p "${disk[active]}" "${disk[hidden]}" "${disk[secondary]}" || bail "no pair"

other_tables()
{
	# A table that is just being replaced was taken for one that waits.
	run_ok "another active and autostart are loaded" \
		reload_view "${disk[active2]}" "${disk[hidden]}" "${disk[secondary]}" autostart
	run_ok "and resumed" again p-view
	is "$(stage p)" running "the view has started by itself"
	run_ok "stop" msg p stop

	# A table with another secondary belongs to another pair, and was not seen.
	run_ok "a table with another secondary is loaded" \
		reload_view "${disk[active2]}" "${disk[hidden]}" "${disk[secondary2]}"
	run_fails "start is refused: a resume would end what it starts" EBUSY msg p start
	run_ok "the table is cleared" dmsetup clear p-view
	run_ok "then start succeeds" msg p start
	run_fails "now such a table is refused" EBUSY \
		reload_view "${disk[active2]}" "${disk[hidden]}" "${disk[secondary2]}"
}

# With metadata a view never gets other devices by a reload.
if [ -z "${METADATA:-}" ]; then
	other_tables
else
	msg p start
fi

# The event came before the pair had let go of the view.
stamp "$VIEW" 0x55 0 64k
event=$(dmsetup info -c --noheadings -o events p-view)
run_ok "failover" msg p failover
while [ "$(stage p)" = failover ]; do
	timeout 20 dmsetup wait p-view "$event" || bail "no event"
	event=$(dmsetup info -c --noheadings -o events p-view)
done
run_ok "who waits for the last event can remove the view" dmsetup remove p-view
run_ok "and the origin" dmsetup remove p-origin

# A failover by force: the table is taken away, the commit ends all the same.
pair p "${disk[active]}" "${disk[hidden]}" "${disk[secondary]}" -- autostart commit_rate_mib 1 ||
	bail "no pair"
stamp "$VIEW" 0x66 0 8m
run_ok "failover, slow" msg p failover
run_fails "the view cannot be removed meanwhile" EBUSY dmsetup remove p-view
run_ok "an error table takes its place" dmsetup wipe_table p-view
expect "${disk[secondary]}" 0x66 0 8m "all that the view had written is on secondary"
run_ok "the view goes" dmsetup remove --retry p-view
run_ok "the origin goes" dmsetup remove p-origin
run_ok "the module goes" rmmod dm_repl
plan_end
