#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
#
# The main job on real files, in plain words. One machine plays both hosts: the
# primary is all that happens under /primary, through NBD; the rest is standby.

# shellcheck source=tests/lib/guest.sh
. "$(dirname "$0")/../lib/guest.sh"

begin=${EPOCHREALTIME/./}
checks=0
lv_mib=64
writer=

now()
{
	echo $((${EPOCHREALTIME/./} - begin))
}

chapter()
{
	printf '\n%s\n' "$*"
}

# say WORDS: with the time since the start.
say()
{
	local us

	us=$(now)
	printf '%3d.%d s  %s\n' $((us / 1000000)) $((us / 100000 % 10)) "$*"
}

fail()
{
	say "FAILED: $*"
	dmsetup status | sed 's/^/         /'
	exit 1
}

# must WORDS COMMAND...: it is so, or the demonstration ends.
must()
{
	local words=$1 output

	shift
	if ! output=$("$@" 2>&1); then
		printf '%s\n' "$output" | tail -n 5
		fail "$words"
	fi
	checks=$((checks + 1))
	say "ok: $words"
}

# quietly COMMAND...: a step that says nothing unless it fails.
quietly()
{
	local output

	if ! output=$("$@" 2>&1); then
		printf '%s\n' "$output" | tail -n 5
		fail "$*"
	fi
}

# took COMMAND...: sets MS to how long it took.
took()
{
	local from=${EPOCHREALTIME/./}

	quietly "$@"
	MS=$(((${EPOCHREALTIME/./} - from) / 1000))
}

# --- the two hosts -----------------------------------------------------------

make_disks()
{
	null_disk pv $((3 * lv_mib + 16)) discard=1
	quietly pvcreate -q "$DISK"
	quietly vgcreate -q standby "$DISK"
	for name in active hidden secondary; do
		quietly lvcreate -q -y -Wn -Zn -L "${lv_mib}M" -n $name standby
	done
}

# The server that receives the primary's writes. It first searches a prime for
# the encryption that nobody uses here: that may go on beside other work.
start_server()
{
	cat >/tmp/nbd.conf <<-END
		[generic]
		listenaddr = 127.0.0.1
		[replica]
		exportname = /dev/mapper/r-origin
		flush = true
		fua = true
	END
	quietly nbd-server -C /tmp/nbd.conf -p /run/nbd.pid
}

connect_primary()
{
	quietly modprobe nbd nbds_max=1
	quietly wait_until 60 test -s /run/nbd.pid
	quietly wait_until 60 nbd-client 127.0.0.1 /dev/nbd0 -N replica -b 512
}

# The primary is struck by lightning.
cut_stream()
{
	pkill -9 -P "$(</run/nbd.pid)"
	# The client would wait for the server for ever.
	nbd-client -d /dev/nbd0 >/dev/null 2>&1
	wait "$writer"
	writer=
	umount /primary
}

# What the primary does all day: files come, change and go, until it fails.
keep_writing()
{
	local i=0

	while tar -C /primary -xf /data/second.tar --transform "s|^|busy-$((i % 2))/|" &&
			sync -f /primary; do
		i=$((i + 1))
		rm -rf "/primary/busy-$((i % 2))" || break
	done
}

start_writing()
{
	keep_writing >/dev/null 2>&1 &
	writer=$!
}

stop_writing()
{
	kill "$writer"
	wait "$writer" 2>/dev/null
	writer=
	quietly sync -f /primary
}

# sums DIR: the checksums of all files in it.
sums()
{
	(cd "$1" && find . -type f -print0 | sort -z | xargs -0 sha256sum --)
}

same_files()
{
	(cd "$1" && sha256sum --quiet -c "$2")
}

same_tree()
{
	diff <(sums "$1") "$2"
}

count()
{
	wc -l <"$1"
}

# --- what is shown -----------------------------------------------------------

checkpoint()
{
	quietly msg r checkpoint
	say "checkpoint: the view is now the replica of this instant; requests waited $(st r pause) us"
}

# Several, while the primary writes: the pause does not depend on how much.
checkpoints_under_load()
{
	local i dropped pauses=()

	for i in 1 2 3 4 5; do
		sleep 1
		dropped=$(st r saved)
		quietly msg r checkpoint
		pauses+=("$(st r pause) us ($((dropped / 2)) KiB changed)")
	done
	say "five checkpoints while the primary writes; requests waited for the slowest one under way:"
	for i in "${pauses[@]}"; do
		printf '         %s\n' "$i"
	done
}

show_status()
{
	local field

	mapfile -t field < <(st r stage epoch error active saved held)
	say "status of the view: stage ${field[0]}, epoch ${field[1]}, error ${field[2]}"
	printf '         view wrote %d KiB, old data kept %d KiB (%d KiB of it in memory)\n' \
		$((field[3] / 2)) $((field[4] / 2)) $((field[5] / 2))
}

# standby_works NAME: somebody uses the view: a report and a data base.
standby_works()
{
	mkdir -p "/standby/$1"
	find /standby -type f -printf '%s %P\n' | sort >"/standby/$1/report"
	if command -v sqlite3 >/dev/null; then
		{
			echo "create table file(size int, name text); begin;"
			sed "s/'/''/g; s/^\\([0-9]*\\) \\(.*\\)/insert into file values(\\1, '\\2');/" \
				"/standby/$1/report"
			echo "commit;"
		} | sqlite3 "/standby/$1/files.db"
	fi
	cp /data/first.sums "/standby/$1/"
	sync -f /standby
}

disk_sum()
{
	sha256sum "$1" | cut -d ' ' -f 1
}

same_disks()
{
	local view secondary

	blockdev --flushbufs "$VIEW"
	blockdev --flushbufs /dev/standby/secondary
	view=$(disk_sum "$VIEW")
	secondary=$(disk_sum /dev/standby/secondary)
	echo "view $view, secondary $secondary"
	echo "$secondary" >/tmp/disk.sum
	[ "$view" = "$secondary" ]
}

refused()
{
	! blkio write "$ORIGIN" 0 0 4k
}

clean()
{
	e2fsck -fn "$VIEW"
}

set_up()
{
	chapter "1. A standby host with a replica disk that a primary keeps overwriting"
	start_server
	make_disks
	say "lvm made three logical volumes of $lv_mib MiB: active, hidden, secondary"
	quietly modprobe dm-replication
	pair r /dev/standby/active /dev/standby/hidden /dev/standby/secondary --
	connect_primary
	say "an NBD server exports $ORIGIN; the primary's replica disk is /dev/nbd0"
	quietly mkfs.ext4 -q /dev/nbd0
	mkdir -p /primary /standby
	quietly mount /dev/nbd0 /primary
	quietly msg r start
	say "the primary made and mounted ext4 on it; the view $VIEW was started"
}

frozen_view()
{
	local files

	chapter "2. The standby looks at a disk that stands still"
	took tar -C /primary -xf /data/first.tar
	quietly sync -f /primary
	files=$(count /data/first.sums)
	say "the primary wrote $files files ($(du -sm /primary | cut -f 1) MiB) in $((MS / 1000)).$((MS / 100 % 10)) s"
	checkpoint
	start_writing
	say "the primary goes on writing and never stops"
	quietly mount "$VIEW" /standby
	must "all $files files of the checkpoint are in the view, each as on the host it came from" \
		same_files /standby /data/first.sums
	quietly standby_works work
	say "the standby wrote its own files into the view: $(find /standby/work -printf '%f ')"
	must "they did not disturb the others" same_files /standby /data/first.sums
	quietly umount /standby
	show_status
	checkpoints_under_load
	stop_writing
}

agreed_moment()
{
	rm -rf /primary/busy-0 /primary/busy-1
	mkdir /primary/agreed
	quietly tar -C /primary/agreed -xf /data/second.tar
	quietly sync -f /primary
	sums /primary >/tmp/agreed.sums
	checkpoint
	start_writing
	quietly mount "$VIEW" /standby
}

failover()
{
	local from rate size

	chapter "3. The primary dies; the view becomes the disk (failover)"
	agreed_moment
	must "the new checkpoint has the primary's $(count /tmp/agreed.sums) files, no more and no less" \
		same_tree /standby /tmp/agreed.sums
	quietly standby_works mine
	(cd /standby && sha256sum mine/*) >/tmp/mine.sums
	sleep 1
	cut_stream
	say "the stream is cut in the middle of a write"
	show_status
	mapfile -t size < <(st r active saved)
	rate=$(((size[0] + size[1]) / 2048 / 6 + 1))
	quietly msg r set commit_rate_mib "$rate"
	from=$(now)
	quietly msg r failover
	say "failover begins, slowed down to $rate MiB/s so that it can be watched"
	must "the mounted view takes writes" standby_works during
	must "while the old data is still going home" stage_is r failover
	wait_stage r "done" 60 || fail "the failover does not end"
	say "failover is done after $((($(now) - from) / 1000)) ms"
	say "what the primary wrote since the checkpoint is undone: $(($(st r to_commit) / 2)) KiB were copied"
	must "a late write of the primary is refused" refused
	(cd /standby && sha256sum during/*) >/tmp/during.sums
	quietly umount /standby
	must "the disk and the view have one and the same sha256" same_disks
	say "    $(</tmp/disk.sum)"
	must "fsck finds the file system clean" clean
	quietly mount "$VIEW" /standby
	must "all $(count /tmp/agreed.sums) files of the last checkpoint are there" same_files /standby /tmp/agreed.sums
	must "and all the standby wrote before" same_files /standby /tmp/mine.sums
	must "and all it wrote during the failover" same_files /standby /tmp/during.sums
	quietly rm -r /standby/mine /standby/during
	quietly umount /standby
}

again()
{
	chapter "4. A new pair on the same disk; the primary dies again; the newest replica becomes the disk (promote)"
	quietly dmsetup remove r-view
	quietly omsg r rejoin
	quietly dmsetup create r-view --table \
		"$(view_table /dev/standby/active /dev/standby/hidden /dev/standby/secondary autostart)"
	connect_primary
	quietly mount /dev/nbd0 /primary
	rm -rf /primary/agreed
	agreed_moment
	quietly standby_works mine
	quietly umount /standby
	stop_writing
	quietly tar -C /primary -xf /data/second.tar --transform 's|^|newest/|'
	quietly sync -f /primary
	(cd /primary && find newest -type f -exec sha256sum {} +) >/tmp/newest.sums
	start_writing
	sleep 1
	cut_stream
	say "the stream is cut; since the checkpoint the primary had finished $(count /tmp/newest.sums) more files"
	show_status
	took msg r promote
	must "the view is the disk at once" stage_is r "done"
	say "promote took $MS ms, the program's start included; requests waited $(st r pause) us"
	must "a late write of the primary is refused" refused
	must "the disk and the view have one and the same sha256" same_disks
	say "    $(</tmp/disk.sum)"
	quietly mount "$VIEW" /standby
	must "all $(count /tmp/newest.sums) files written after the checkpoint are there" \
		same_files /standby /tmp/newest.sums
	must "the standby's own files are gone, as promised" test ! -e /standby/mine
	quietly umount /standby
	must "fsck finds the file system clean" clean
}

take_down()
{
	quietly dmsetup remove r-view
	quietly dmsetup remove r-origin
	quietly rmmod dm_repl
}

set_up
frozen_view
failover
again
take_down
chapter "All $checks claims held, in $(($(now) / 1000000)) s."
