# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
#
# What the topics of the bench share: disks whose requests are counted, rows.

# shellcheck source=tests/lib/guest.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib/guest.sh"

# shellcheck disable=SC2034 # for the topics
declare -A DISKS=()		# name -> device
declare -A STAT=()		# name -> its counters' file

say()
{
	printf '%s\n' "$*"
}

# full COMMAND...: only in the full bench.
full()
{
	[ -n "$QUICK" ] || "$@"
}

# counted NAME DEVICE: rows say how many requests reached it.
counted()
{
	DISKS[$1]=$2
	STAT[$1]=$(sysblock "$2")/stat
}

# fill DEVICE: no page of a disk in memory is new to it afterwards.
fill()
{
	dd if=/dev/zero of="$1" bs=1M oflag=direct count=$(($(sectors "$1") / 2048)) status=none
}

# null_disks SIZE_MIB: active, hidden, secondary; 10 us a request.
null_disks()
{
	local name

	DISKS=() STAT=()
	for name in active hidden secondary; do
		null_disk "$name" "$1" irqmode=2 completion_nsec=10000 max_sectors=2048 ||
			return
		fill "$DISK"
		counted "$name" "$DISK"
	done
	DISK_KIND=null
}

null_disks_gone()
{
	local name

	for name in active hidden secondary; do
		null_gone "$name"
	done
}

# brd_disks SIZE_MIB: active, hidden, secondary; no time but the processor's.
# brd counts no requests.
# shellcheck disable=SC2034 # DISKS is for the topics
brd_disks()
{
	local name

	DISKS=() STAT=()
	for name in active hidden secondary; do
		brd_disk "$name" "$1" || return
		fill "$DISK"
		DISKS[$name]=$DISK
	done
	DISK_KIND=brd
}

# probe_module: the target of probe/.
probe_module()
{
	modprobe dm-mod
	insmod "$GUEST_LIB/../bench/probe/dm-read-then-write.ko" || bail "no probe module"
}

declare -A BEFORE=()

mark_disks()
{
	local name

	for name in "${!STAT[@]}"; do
		BEFORE[$name]=$(<"${STAT[$name]}")
	done
}

# disks_json: what reached each disk since the mark.
disks_json()
{
	local name was is comma=''

	printf '{'
	for name in "${!STAT[@]}"; do
		read -r -a was <<<"${BEFORE[$name]}"
		read -r -a is <"${STAT[$name]}"
		printf '%s"%s":{"reads":%d,"read_sectors":%d,"writes":%d,"write_sectors":%d}' \
			"$comma" "$name" $((is[0] - was[0])) $((is[2] - was[2])) \
			$((is[4] - was[4])) $((is[6] - was[6]))
		comma=,
	done
	printf '}'
}

# io_row PEER WHAT DEVICE RW BS DEPTH COUNT [FIO OPTION]...: make COUNT requests,
# the same ones for the same RW's order, BS and SEED.
SEED_IO=7
io_row()
{
	local peer=$1 what=$2 device=$3 rw=$4 bs=$5 depth=$6 count=$7 fio words

	shift 7
	mark_disks
	if ! words=$(fio --name=row --filename="$device" --rw="$rw" --bs="$bs" \
		--iodepth="$depth" --number_ios="$count" --ioengine=libaio \
		--direct=1 --thread --randseed="$SEED_IO" --output-format=json \
		--percentile_list=50:99:99.9 --output=/tmp/fio.json "$@" 2>&1); then
		bail "fio on $device for $peer $what: $words"
	fi
	sync_disks
	mapfile -t fio < <(sed -n '/^{/,$p' /tmp/fio.json)	# notes may come first
	printf '{"kind":"io","peer":"%s","what":"%s","disk":"%s","rw":"%s","bs":%d,"depth":%d,' \
		"$peer" "$what" "$DISK_KIND" "$rw" "$(bytes "$bs")" "$depth"
	printf '"disks":%s,"fio":%s}\n' "$(disks_json)" "${fio[*]}"
}

# io_quiet DEVICE RW BS COUNT [FIO OPTION]...: requests of no row.
io_quiet()
{
	local words device=$1 rw=$2 bs=$3 count=$4

	shift 4
	words=$(fio --name=quiet --filename="$device" --rw="$rw" --bs="$bs" \
		--iodepth=16 --number_ios="$count" --ioengine=libaio --direct=1 \
		--thread --randseed="$SEED_IO" "$@" 2>&1) || bail "fio: $words"
}

# What a target does behind the last answer (spills) belongs to the row.
sync_disks()
{
	local name values

	for name in "${!STAT[@]}"; do
		while read -r -a values <"${STAT[$name]}" && [ "${values[8]}" -ne 0 ]; do
			sleep 0.001
		done
	done
}

bytes()
{
	case $1 in
	*k) echo $((${1%k} << 10)) ;;
	*m) echo $((${1%m} << 20)) ;;
	*) echo "$1" ;;
	esac
}

# figure_row PEER WHAT VALUE UNIT [KEY=VALUE]...: words are quoted, numbers and
# lists are not.
figure_row()
{
	local pair value line

	line="{\"kind\":\"figure\",\"peer\":\"$1\",\"what\":\"$2\",\"value\":$3,\"unit\":\"$4\""
	shift 4
	for pair in "$@"; do
		value=${pair#*=}
		[[ $value =~ ^-?[0-9]+(\.[0-9]+)?$|^\[ ]] || value="\"$value\""
		line+=",\"${pair%%=*}\":$value"
	done
	printf '%s}\n' "$line"
}

# dm_batch COMMAND...: dmio's answers in ANSWER, an entry a command. One process
# that has its orders beforehand: between two of them pass some microseconds.
ANSWER=()
RUN_DMIO=()
dm_batch()
{
	local i commands=("$@")

	printf '%s\n' "$@" >/tmp/dm.batch
	mapfile -t ANSWER < <("${RUN_DMIO[@]}" dmio </tmp/dm.batch)
	for i in "${!commands[@]}"; do
		if [[ ${ANSWER[i]} != ok* ]]; then
			bail "${commands[i]}: ${ANSWER[i]}"
		fi
		ANSWER[i]=${ANSWER[i]#ok}
		ANSWER[i]=${ANSWER[i]# }
	done
}

# dm_batch_first COMMAND...: the same, before every other process.
dm_batch_first()
{
	local RUN_DMIO=(chrt -f 50)

	dm_batch "$@"
}

# us NANOSECONDS: microseconds with three decimals.
us()
{
	printf '%d.%03d' $(($1 / 1000)) $(($1 % 1000))
}

least()
{
	printf '%s\n' "$@" | sort -n | head -n 1
}

# median NUMBER...
median()
{
	local sorted

	mapfile -t sorted < <(printf '%s\n' "$@" | sort -n)
	echo "${sorted[${#sorted[@]} / 2]}"
}
