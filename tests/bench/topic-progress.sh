# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
#
# How far a commit is, sampled while it runs: the view has written one half of
# the first PROGRESS_MIB of the disk, the origin the other half, and what the
# view shows becomes the disk. Once with nothing else to do, once with four
# writers that rewrite these blocks at random, 4 KiB each, one at a time.
#
# A row's points are [microseconds, sectors committed]. QEMU tells nobody how far
# it is: its points count what it has written to secondary, and what the writers
# have changed it writes again.

# shellcheck source=tests/bench/qemu.sh
. "$(dirname "${BASH_SOURCE[0]}")/qemu.sh"

PROGRESS_MIB=128
PROGRESS_DISK_MIB=192
PROGRESS_LIMIT_US=2000000	# who has not ended by then may never
PROGRESS_EVERY=0.004

# Device mapper without a process for each call.
dm_calls_start()
{
	coproc DMIO { exec dmio; }
}

# dm_call WORD...: the answer's words in DM_ANSWER.
dm_call()
{
	echo "$*" >&"${DMIO[1]}"
	read -r -a DM_ANSWER -u "${DMIO[0]}"
	[ "${DM_ANSWER[0]}" = ok ] || { echo "$* gave ${DM_ANSWER[*]}" >&2; return 1; }
}

dm_calls_stop()
{
	local pid=$DMIO_PID to=${DMIO[1]}

	exec {to}>&-
	wait "$pid"
}

# --- the four writers --------------------------------------------------------

WRITERS_PID=

# writers_start COUNT DEVICE: they are at work when it returns, or they wait for
# a device that is suspended.
writers_start()
{
	local tasks=()

	WRITERS_PID=
	[ "$1" -gt 0 ] || return 0
	fio --name=writers --filename="$2" --size="${PROGRESS_MIB}m" --rw=randwrite \
		--bs=4k --direct=1 --ioengine=psync --numjobs="$1" --thread \
		--group_reporting --norandommap --randrepeat=1 --time_based \
		--runtime=3600 --output-format=terse --output=/tmp/writers \
		>/tmp/writers.words 2>&1 &
	WRITERS_PID=$!
	# Two threads are fio's own.
	while [ ${#tasks[@]} -lt $((2 + $1)) ]; do
		doze 0.02
		kill -0 "$WRITERS_PID" || { cat /tmp/writers.words >&2; return 1; }
		tasks=(/proc/"$WRITERS_PID"/task/*)
	done
	doze 0.02
}

# writers_stop PEER: what they saw.
writers_stop()
{
	local words

	[ -n "$WRITERS_PID" ] || return 0
	kill -INT "$WRITERS_PID"
	wait "$WRITERS_PID" 2>/dev/null
	# Format 3: field 49 is the IOPS of the writes, 80 the longest of them.
	words=$(grep '^3;' /tmp/writers)
	figure_row "$1" commit-writers-rate "$(cut -d ';' -f 49 <<<"$words")" iops \
		mib="$PROGRESS_MIB"
	figure_row "$1" commit-writers-longest "$(cut -d ';' -f 80 <<<"$words")" us \
		mib="$PROGRESS_MIB"
}

# --- one commit --------------------------------------------------------------

# progress PEER WRITERS VIEW: PEER_begin starts the commit; PEER_look puts into
# AT how many sectors are done and fails when all are.
progress()
{
	local peer=$1 begun us points='' ended=yes

	writers_start "$2" "$3" || return
	begun=${EPOCHREALTIME/./}
	"${peer}_begin" || return
	while "${peer}_look"; do
		us=$((${EPOCHREALTIME/./} - begun))
		points+="[$us,$AT],"
		if [ "$us" -gt "$PROGRESS_LIMIT_US" ]; then
			ended=no
			break
		fi
		doze "$PROGRESS_EVERY"
	done
	us=$((${EPOCHREALTIME/./} - begun))
	peer=${peer//_/-}
	writers_stop "$peer"
	figure_row "$peer" commit-progress "$us" us writers="$2" \
		mib="$PROGRESS_MIB" ended="$ended" points="[${points}[$us,$AT]]"
}

# progress_fill VIEW ORIGIN: what there is to commit.
progress_fill()
{
	local half=$((PROGRESS_MIB / 2))

	fio --name=view --filename="$1" --rw=write --bs=256k --iodepth=4 --direct=1 \
		--ioengine=libaio --size="${half}m" \
		--name=origin --filename="$2" --rw=write --bs=256k --iodepth=4 --direct=1 \
		--ioengine=libaio --offset="${half}m" --size="${half}m" \
		>/tmp/fill.words 2>&1 || { cat /tmp/fill.words >&2; return 1; }
}

# progress_disks NAME=MIB...: the path of each in the variable of its name.
progress_disks()
{
	local pair

	for pair in "$@"; do
		null_disk "${pair%=*}" "${pair#*=}" irqmode=2 completion_nsec=10000 \
			max_sectors=2048 || return
		# shellcheck disable=SC2153 # null_disk sets it
		fill "$DISK"
		printf -v "${pair%=*}" %s "$DISK"
	done
}

progress_disks_gone()
{
	local name

	for name in "$@"; do
		null_gone "$name"
	done
}

# --- this target ----------------------------------------------------------

ours_begin()
{
	dm_call message p-view failover
}

ours_look()
{
	dm_call status p-view || return
	# ok <start> <length> replication secondary <stage> ... <committed>/<all>
	AT=${DM_ANSWER[12]%/*}
	[ "${DM_ANSWER[5]}" = failover ]
}

progress_ours()
{
	local psecondary pactive phidden

	progress_disks psecondary=$PROGRESS_DISK_MIB pactive=$PROGRESS_DISK_MIB \
		phidden=$PROGRESS_DISK_MIB || return
	pair p "$pactive" "$phidden" "$psecondary" -- autostart &&
		progress_fill "$VIEW" "$ORIGIN" &&
		progress ours "$1" "$VIEW" &&
		unpair p &&
		progress_disks_gone psecondary pactive phidden
}

# --- dm-snapshot -------------------------------------------------------------

# The snapshot is gone when its origin becomes the target that merges it: what
# stands for the view meanwhile is the origin.
snapshot_merge_begin()
{
	MERGE_FULL=
	dmsetup resume p-origin
}

snapshot_merge_look()
{
	local allocated

	dm_call status p-origin || return
	# ok <start> <length> snapshot-merge <allocated>/<all> <metadata>
	allocated=${DM_ANSWER[4]%/*}
	MERGE_FULL=${MERGE_FULL:-$allocated}
	AT=$((MERGE_FULL - allocated))
	[ "$allocated" -gt "${DM_ANSWER[5]}" ]
}

progress_snapshot_merge()
{
	local psecondary pstore length

	modprobe dm-snapshot &&
		progress_disks psecondary=$PROGRESS_DISK_MIB pstore=$PROGRESS_DISK_MIB || return
	length=$(sectors "$psecondary")
	# Only an origin that is resumed after its snapshot copies on write.
	dm_make p-disk "0 $length linear $psecondary 0" &&
		dm_make p-origin "0 $length snapshot-origin /dev/mapper/p-disk" &&
		dmsetup suspend p-origin &&
		dm_make p-view "0 $length snapshot /dev/mapper/p-disk $pstore P 8" &&
		dmsetup resume p-origin &&
		progress_fill /dev/mapper/p-view /dev/mapper/p-origin &&
		dmsetup suspend p-origin &&
		dmsetup remove p-view &&
		dmsetup load p-origin --table \
			"0 $length snapshot-merge /dev/mapper/p-disk $pstore P 8" &&
		progress snapshot_merge "$1" /dev/mapper/p-origin &&
		dmsetup remove p-origin &&
		dmsetup remove p-disk &&
		progress_disks_gone psecondary pstore
}

# --- QEMU --------------------------------------------------------------------

qemu_begin()
{
	QEMU_SECONDARY=$(sysblock "$psecondary")/stat
	qemu_written
	QEMU_BEFORE=$AT
	qmp_send xen-set-replication "$QEMU_FAILOVER"
}

qemu_written()
{
	local values

	read -r -a values <"$QEMU_SECONDARY"
	AT=${values[6]}
}

# It answers when it finds the time: that must not hold up the samples.
qemu_look()
{
	qemu_written
	AT=$((AT - QEMU_BEFORE))
	qmp_speaks || return 0
	qmp_wait || return
	if qemu_done; then
		return 1
	fi
	qmp_send query-xen-replication-status
}

progress_qemu()
{
	local psecondary pactive phidden

	progress_disks psecondary=$PROGRESS_DISK_MIB \
		pactive=$((PROGRESS_DISK_MIB + 64)) phidden=$((PROGRESS_DISK_MIB + 64)) || return
	qemu_up "$psecondary" "$pactive" "$phidden" &&
		qemu_start &&
		progress_fill "$QEMU_VIEW" "$QEMU_ORIGIN" &&
		progress qemu "$1" "$QEMU_VIEW" || return
	# The last question of a commit that has not ended is still open.
	qemu_done || qmp_wait || return
	qemu_down &&
		progress_disks_gone psecondary pactive phidden
}

# -----------------------------------------------------------------------------

topic_progress()
{
	local peer writers

	dm_calls_start
	for peer in ours snapshot_merge qemu; do
		for writers in 0 4; do
			"progress_$peer" "$writers" || bail "commit of $peer"
		done
	done
	dm_calls_stop
}
