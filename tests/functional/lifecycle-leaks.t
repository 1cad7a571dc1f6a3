#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# vm: --smp 2 --mem 768 --timeout 500
#
# Two hundred pairs come, work and go, two at a time: no slab object, no memory,
# no word of complaint is left.

# shellcheck source=tests/lib/guest.sh
. "$(dirname "$0")/../lib/guest.sh"

features=("hold_mib 0" "hold_mib 1" "hold_mib 32" "discard_passdown" "group both"
	"group both hold_mib 0")
ends=(failover stop promote "")
modprobe dm-mod
declare -A active hidden secondary

for name in a b; do
	size=4096
	[ $name = a ] && size=512
	for role in active hidden secondary; do
		null_disk $name$role 4 blocksize=$size discard=1 || bail "no disk"
		declare "${role}[$name]=$DISK"
	done
done

# tables NAME VERB... : to the pair's own dmtab; prints what it says but "ok".
tables()
{
	local answer

	printf '%s\n' "${*:2}" >&"$to"
	IFS= read -r answer <&"$from"
	[ "$answer" = ok ] || echo "$1: ${*:2}: $answer"
}

# cycle NAME ROUND: prints what goes wrong.
cycle()
{
	local name=$1 end=${ends[$2 / ${#features[@]} % ${#ends[@]}]} words last answers
	local view=/dev/mapper/$1-view origin=/dev/mapper/$1-origin

	read -r -a words <<<"autostart ${features[$2 % ${#features[@]}]}"
	tables "$2" create "$name-view" "0 8192 replication secondary ${active[$name]} ${hidden[$name]} ${secondary[$name]} ${#words[@]} ${words[*]}"
	tables "$2" create "$name-origin" "0 8192 replication origin ${secondary[$name]}"
	last="message $name-view $end"
	[ -n "$end" ] || last="flush $view"
	answers=$(dmio <<-END
		write $origin 1 1000k 128k
		write $view 2 1100k 64k
		holds $view 2 1100k 64k
		message $name-view checkpoint
		holds $view 1 1000k 128k
		write $origin 3 900k 1m
		write $origin 5 2500k 4k
		write $origin 5 3500k 4k
		write $view 4 2m 64k
		$last
		END
	)
	[ -z "${answers//[ok$'\n']/}" ] || echo "round $2, ${features[$2 % ${#features[@]}]}, $end: $answers"
	# not before a failover has ended
	while answers=$(tables "$2" remove "$name-view") && [[ $answers == *EBUSY ]]; do
		sleep 0.1
	done
	echo -n "$answers"
	tables "$2" remove "$name-origin"
}

# cycles NAME COUNT
cycles()
{
	local i to from

	coproc TABLES { exec dmtab; }
	# a subshell gets copies only
	exec {to}>&"${TABLES[1]}" {from}<&"${TABLES[0]}"
	for ((i = 0; i < $2; i++)); do
		cycle "$1" "$i"
	done
}

cycle_both()
{
	cycles a "$1" >/dev/shm/a 2>&1 &
	cycles b "$1" >/dev/shm/b 2>&1 &
	wait
	cat /dev/shm/a /dev/shm/b
}

# What a CPU keeps at hand counts as used until a cache is shrunk.
slabs()
{
	local cache

	for cache in /sys/kernel/slab/dm_repl_*/shrink; do
		echo 1 >"$cache"
	done
	awk '$1 ~ /^dm_repl_/ { n += $2 } END { print n + 0 }' /proc/slabinfo
}

no_slabs()
{
	[ "$(slabs)" = 0 ]
}

# The disks are in memory, and discards empty them.
fill_disks()
{
	local disk

	for disk in "${active[@]}" "${hidden[@]}" "${secondary[@]}"; do
		stamp "$disk" 0x5a 0 4m
	done
}

# free_kib: what is free once caches are dropped, empty slabs given back, and
# what each CPU keeps at hand is counted, too. Any of these is some MiB, and
# another one each time.
free_kib()
{
	local cache

	sync
	echo 3 >/proc/sys/vm/drop_caches
	for cache in /sys/kernel/slab/*/shrink; do
		echo 1 >"$cache"
	done
	sleep 0.2
	awk '$1 == "MemFree:" { free = $2 } $1 == "count:" { free += $2 * 4 }
		END { print free }' /proc/meminfo /proc/zoneinfo
}

# What is freed comes back a while later; so the most of some looks.
most_free()
{
	local now most=0 i

	for ((i = 0; i < 4; i++)); do
		now=$(free_kib)
		[ "$now" -le "$most" ] || most=$now
	done
	echo "$most"
}

# usage: what memory is used for, to tell where it went
usage()
{
	grep -vE '^(MemFree|MemAvailable|Vmalloc)' /proc/meminfo
	awk 'NR > 2 { printf "slab:%s %d kB\n", $1, $15 * $6 * 4 }' /proc/slabinfo
}

as_free_as_before()
{
	[ "$(free_kib)" -ge $((before - 1024)) ]
}

is "$(cycle_both 12)" "" "warm up"
run_ok "the module goes" rmmod dm_repl
fill_disks
before=$(most_free)
usage >/dev/shm/before
klog_mark

is "$(cycle_both 100)" "" "200 pairs come and go"
unlike "$(dmsetup ls --target replication)" "view|origin" "none is left"
wait_until 5 no_slabs
is "$(slabs)" 0 "no leaf is left"
unlike "$(klog_since)" "replication.*([Ee]rror|[Cc]annot|[Ff]ailed)" "nobody complains"
run_ok "the module goes" rmmod dm_repl
is "$(grep -c '^dm_repl' /proc/slabinfo)" 0 "and its slabs"
fill_disks
wait_until 10 as_free_as_before
after=$(free_kib)
# A leak shows in every round; so one round without is enough.
for ((round = 0; round < 2 && after < before - 1024; round++)); do
	diag "memory: $before KiB free before, $after KiB after; once more"
	before=$(most_free)
	cycle_both 100 >/dev/null
	rmmod dm_repl
	fill_disks
	wait_until 10 as_free_as_before
	after=$(free_kib)
done
usage >/dev/shm/after
ok $((after < before - 1024)) "memory: $before KiB free before, $after KiB after" ||
	diag "$(diff -U 0 /dev/shm/before /dev/shm/after | grep '^[-+]')"

plan_end
