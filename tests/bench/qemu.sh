# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
#
# QEMU's own replication filter as a peer: one QEMU without a machine runs inside
# the guest, its buffers are qcow2 images on bare disks, and the kernel's NBD
# client attaches its two exports: the view is /dev/nbd0, the origin /dev/nbd1.
# Needs boot --with qemu.
#
# QMP goes through two pipes that stay open, so that a command costs no process.
# Times are in microseconds.

QEMU_VIEW=/dev/nbd0
QEMU_ORIGIN=/dev/nbd1
QEMU_DIR=/tmp/qemu-peer
QEMU_ASKED=
QEMU_ANSWER=
QEMU_TOOK=0
QEMU_IN=
QEMU_OUT=
QEMU_PID=

# qmp_send COMMAND [ARGUMENTS]: without waiting for the answer.
qmp_send()
{
	QEMU_ASKED="{\"execute\":\"$1\"${2:+,\"arguments\":$2}}"
	echo "$QEMU_ASKED" >&"$QEMU_IN"
}

# The answer in QEMU_ANSWER, whatever else QEMU has to tell.
qmp_wait()
{
	local line

	while read -r -u "$QEMU_OUT" line; do
		case $line in
		'{"return"'*)
			QEMU_ANSWER=$line
			return 0
			;;
		'{"error"'*)
			echo "qemu: $QEMU_ASKED gave $line" >&2
			return 1
			;;
		esac
	done
	echo "qemu: gone at $QEMU_ASKED: $(<"$QEMU_DIR/errors")" >&2
	return 1
}

# Has QEMU said anything?
qmp_speaks()
{
	read -r -t 0 -u "$QEMU_OUT"
}

# qmp COMMAND [ARGUMENTS]: the answer in QEMU_ANSWER, its time in QEMU_TOOK.
qmp()
{
	local begun=${EPOCHREALTIME/./}

	qmp_send "$@" && qmp_wait || return
	QEMU_TOOK=$((${EPOCHREALTIME/./} - begun))
}

# qmp_median COUNT COMMAND [ARGUMENTS]: the median of its times in QEMU_TOOK.
qmp_median()
{
	local count=$1 times=() i

	shift
	for ((i = 0; i < count; i++)); do
		qmp "$@" || return
		times+=("$QEMU_TOOK")
	done
	mapfile -t times < <(printf '%s\n' "${times[@]}" | sort -n)
	QEMU_TOOK=${times[$((count / 2))]}
}

# Waiting costs no process either: nobody ever writes to this pipe.
exec {QUIET}<> <(:)
doze()
{
	read -r -t "$1" -u "$QUIET" || true
}

# qemu_node FORMAT NAME DEVICE: the device, past the page cache.
qemu_node()
{
	echo "driver=$1,node-name=$2,cache.direct=on,file.driver=host_device,file.filename=$3,file.cache.direct=on,file.aio=native"
}

qemu_export()
{
	qmp block-export-add "{\"type\":\"nbd\",\"id\":\"$1\",\"node-name\":\"$2\",\"name\":\"$1\",\"writable\":true}"
}

# qemu_attach EXPORT DEVICE: with what device mapper has, no scheduler and
# requests of up to 1 MiB.
qemu_attach()
{
	local queue

	nbd-client -unix "$QEMU_DIR/nbd" -N "$1" -b 512 "$2" >"$QEMU_DIR/words" 2>&1 ||
		{ cat "$QEMU_DIR/words" >&2; return 1; }
	queue=$(sysblock "$2")/queue
	echo none >"$queue/scheduler" && echo 1024 >"$queue/max_sectors_kb"
}

# qemu_run SECONDARY ACTIVE HIDDEN: the process, and the pipes to it.
qemu_run()
{
	rm -rf "$QEMU_DIR"
	mkdir -p "$QEMU_DIR"
	mkfifo "$QEMU_DIR/in" "$QEMU_DIR/out"
	QEMU_MODULE_DIR=/usr/lib/qemu qemu-system-x86_64 \
		-machine none -nodefaults -display none -S -m 16 -qmp stdio \
		-blockdev "$(qemu_node raw secondary "$1")" \
		-blockdev "$(qemu_node qcow2 hidden "$3"),backing=secondary" \
		-blockdev "$(qemu_node qcow2 active "$2"),backing=hidden" \
		-blockdev driver=replication,node-name=top,mode=secondary,top-id=top,file=active \
		<"$QEMU_DIR/in" >"$QEMU_DIR/out" 2>"$QEMU_DIR/errors" &
	QEMU_PID=$!
	exec {QEMU_IN}>"$QEMU_DIR/in" {QEMU_OUT}<"$QEMU_DIR/out"
}

# qemu_up SECONDARY ACTIVE HIDDEN: both exports are attached, the filter is not
# yet started. Active and hidden need a little more room than secondary, for what
# qcow2 itself writes.
qemu_up()
{
	local size disk

	[ -d /sys/module/nbd ] || modprobe nbd nbds_max=2 max_part=0 || return
	size=$(blockdev --getsize64 "$1")
	for disk in "$2" "$3"; do
		qemu-img create -q -f qcow2 "$disk" "$size" || return
	done
	qemu_run "$@" &&
		qmp qmp_capabilities &&
		qmp nbd-server-start "{\"addr\":{\"type\":\"unix\",\"data\":{\"path\":\"$QEMU_DIR/nbd\"}}}" &&
		qemu_export origin secondary &&
		qemu_export view top &&
		qemu_attach view "$QEMU_VIEW" &&
		qemu_attach origin "$QEMU_ORIGIN"
}

# Until then the origin is the bare disk behind QEMU and NBD.
qemu_start()
{
	qmp xen-set-replication '{"enable":true,"primary":false}'
}

qemu_down()
{
	nbd-client -d "$QEMU_VIEW" >"$QEMU_DIR/words" 2>&1
	nbd-client -d "$QEMU_ORIGIN" >"$QEMU_DIR/words" 2>&1
	qmp quit
	wait "$QEMU_PID"
	exec {QEMU_IN}>&- {QEMU_OUT}<&-
}

# It must not be called with requests in flight: QEMU would abort.
qemu_checkpoint()
{
	qmp xen-colo-do-checkpoint
}

# What a QMP command costs that does nothing, to be subtracted.
qemu_round_trip()
{
	qmp_median 9 query-name
}

QEMU_FAILOVER='{"enable":false,"primary":false,"failover":true}'

# QEMU commits in the background, and reports an error until it has.
qemu_done()
{
	[[ $QEMU_ANSWER == *'"error": false'* ]]
}

qemu_failover()
{
	qmp xen-set-replication "$QEMU_FAILOVER" || return
	until qmp query-xen-replication-status && qemu_done; do
		doze 0.002
	done
}
