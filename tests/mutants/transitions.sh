#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# vm: --smp 2 --mem 768 --timeout 90
#
# Checkpoints, promote, groups, and the view's writes that they find.

# shellcheck source=tests/mutants/case.sh
. "$(dirname "$0")/case.sh"

# The other pair of the group, and a disk that can hold its origin's writes.
make_q()
{
	local a h

	null_disk qa 4 || return
	a=$DISK
	null_disk qh 4 || return
	h=$DISK
	disk qs
	pair q "$a" "$h" /dev/mapper/qs -- group g autostart checkpoint_timeout_ms 300
}

# given_up MESSAGE...: it is, and nothing has changed.
given_up()
{
	local before

	before="$(stage p) $(st p epoch)"
	run_fails "$t: $* is given up" ETIMEDOUT msg p "$@"
	is "$(stage p) $(st p epoch)" "$before" "$t: nothing has changed"
}

for name in "$@"; do
	t=$name
	case $name in
	drain)
		fresh checkpoint_timeout_ms 300
		break_disk active hold-writes
		begin write stamp $view 0x21 1m 4k
		wait_held active
		given_up checkpoint
		begin next stamp $origin 0x12 1m 4k
		ended next
		in_model secondary 0x12 1m 4k
		mend active
		ended write
		in_model view 0x21 1m 4k
		;;
	given-up)
		# What parks meanwhile goes on.
		fresh checkpoint_timeout_ms 2000
		break_disk active hold-writes
		begin write stamp $view 0x21 1m 4k
		wait_held active
		begin checkpoint msg p checkpoint
		wait_until 5 deferring
		ok $? "$t: a checkpoint waits"
		begin next stamp $origin 0x12 1m 4k
		under_way next checkpoint
		ended next
		isnt "$(outcome checkpoint 8)" OK "$t: it is given up"
		in_model secondary 0x12 1m 4k
		mend active
		ended write
		in_model view 0x21 1m 4k
		;;
	drain-spill)
		fresh checkpoint_timeout_ms 300 hold_mib 1
		break_disk hidden hold-writes
		put origin 0x12 0 1m
		put origin 0x13 1m 1m
		wait_held hidden
		given_up checkpoint
		mend hidden
		;;
	epoch)
		fresh
		put origin 0x12 1m 64k
		put view 0x21 $((0x140000)) 64k
		run_ok "$t: checkpoint" msg p checkpoint
		now_view
		as_they_must "$t, after the checkpoint"
		is "$(st p held)" 0 "$t: nothing is held any more"
		put origin 0x13 $((0x180000)) 4k
		put view 0x22 $((0x1c0000)) 4k
		;;
	renewed)
		# The leaf is used again before the reclaimer comes, 1 s later.
		fresh
		put origin 0x12 1m 64k
		put view 0x21 $((0x140000)) 64k
		msg p checkpoint && stamp $origin 0x13 $((0x180000)) 4k
		ok $? "$t: a checkpoint and a write at once"
		now_view
		in_model secondary 0x13 $((0x180000)) 4k
		;;
	held-dropped)
		# What an earlier epoch held must not be spilled in this one, where
		# 1 MiB is just held.
		fresh hold_mib 1
		put origin 0x12 1m 4k
		msg p checkpoint
		now_view
		put origin 0x13 1m 4k
		put origin 0x14 2m 1020k
		sleep 0.3
		;;
	parked)
		fresh
		put origin 0x12 1m 4k
		put view 0x21 1m 4k
		break_disk active hold-writes
		begin write stamp $view 0x22 2m 4k
		wait_held active
		begin promote msg p promote
		wait_until 5 deferring
		begin next stamp $view 0x23 3m 4k
		under_way promote next
		mend active
		ended promote write next
		in_model secondary 0x23 3m 4k
		now_view
		;;
	view-write)
		# Neither a write under way nor one that fails shows.
		fresh
		break_disk active late-writes
		begin write stamp $view 0x21 1m 4k
		wait_held active
		holds $view view "$t: what is on its way is not read"
		mend active
		is "$(outcome write 8)" EIO "$t: it fails"
		error_is active 2048
		;;
	group)
		fresh group g checkpoint_timeout_ms 300
		make_q
		ok $? "$t: the other pair"
		before="$(st p epoch) $(st q epoch)"
		for disk in secondary qs; do
			break_disk $disk hold-writes
			if [ $disk = qs ]; then
				begin write stamp /dev/mapper/q-origin 0x12 1m 4k
			else
				begin write stamp $origin 0x12 1m 4k
			fi
			wait_held $disk
			given_up checkpoint all
			is "$(st p epoch) $(st q epoch)" "$before" \
				"$t: neither pair has changed"
			mend $disk
			ended write
		done
		in_model secondary 0x12 1m 4k
		unpair q
		;;
	*)
		bail "no such case: $name"
		;;
	esac
	as_they_must "$t"
	gone
done
plan_end
