# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
#
# For guest scripts about mode primary: a primary p over two disks, local and
# replica, that can be broken, stopped and mended. Needs guest.sh; brings
# faults.sh.

# shellcheck source=tests/lib/faults.sh
. "$(dirname "${BASH_SOURCE[0]}")/faults.sh"

# shellcheck disable=SC2034 # for the test
PRIMARY=/dev/mapper/p
LOCAL=/dev/mapper/local
REPLICA=/dev/mapper/replica

# two_faulty SIZE_MIB [KEY=VALUE]...: local and replica; they differ.
two_faulty()
{
	DISK_SECTORS=$(($1 * 2048))
	faulty local "$@" && faulty replica "$@" || return
	stamp $LOCAL 0x10 0 "$1m"
	stamp $REPLICA 0x99 0 "$1m"
}

# primary_line [FEATURE]...: with local; for a pure forwarder say "pure" first.
primary_line()
{
	local words=(local "$LOCAL")

	if [ "${1:-}" = pure ]; then
		words=()
		shift
	fi
	words+=("$@")
	echo "0 $DISK_SECTORS replication primary $REPLICA$(features "${words[@]}")"
}

# make_p [FEATURE]...: makes p.
make_p()
{
	tables "create p $(primary_line "$@")"
}

# P names another primary than p, for what follows.

# pmsg WORD...: a message to it; sets ANSWER.
pmsg()
{
	dmio message "${P:-p}" "$@"
}

declare -A PFIELD=([stage]=5 [error]=6 [dirty]=7 [progress]=8 [errors]=9)

# pst FIELD...: of p's status, of one moment, on one line.
pst()
{
	local values field words=() n

	dmio status "${P:-p}"
	read -r -a values <<<"$ANSWER"
	n=${values[10]:-0}
	for field; do
		case $field in
		flags) words+=("${values[@]:11:n}") ;;
		args) words+=("${values[@]:12 + n}") ;;
		done) words+=("${values[8]%/*}") ;;
		total) words+=("${values[8]#*/}") ;;
		*) words+=("${values[${PFIELD[$field]}]:-gone}") ;;
		esac
	done
	echo "${words[*]}"
}

# pst_is "FIELD..." VALUES: now.
pst_is()
{
	# shellcheck disable=SC2086 # the fields are words
	[ "$(pst $1)" = "$2" ]
}

# comes_to TEXT SECONDS "FIELD..." VALUES
comes_to()
{
	wait_until "$2" pst_is "$3" "$4"
	# shellcheck disable=SC2086 # the fields are words
	is "$(pst $3)" "$4" "$1"
}

# error_of_p: what get_error answers.
error_of_p()
{
	pmsg get_error
	echo "${ANSWER#ok }"
}

# equal TEXT: both disks, byte by byte, below everything that can be broken.
equal()
{
	dmio same "${RAW_DISK[local]}" "${RAW_DISK[replica]}" "${DISK_SECTORS}s"
	ok $? "$1" || diag "$ANSWER"
}

differ()
{
	dmio same "${RAW_DISK[local]}" "${RAW_DISK[replica]}" "${DISK_SECTORS}s"
	ok $((!$?)) "$1"
}

# on DEVICE BYTE OFFSET LENGTH TEXT: every byte there has that value.
on()
{
	dmio holds "${@:1:4}"
	ok $? "$5" || diag "$1: $ANSWER"
}

# resynced TEXT [SECONDS]: start_resync comes to its end, and all is equal.
resynced()
{
	works "$1: start_resync" message p start_resync
	comes_to "$1: it ends, nothing is dirty" "${2:-20}" "dirty flags" "0"
	equal "$1: the replica equals local"
}

broken()
{
	[[ " $(pst flags) " == *" broken "* ]]
}

not_late()
{
	[[ " $(pst flags) " != *" late "* ]]
}

# breaks TEXT: the replica comes to be broken.
breaks()
{
	wait_until 10 broken
	ok $? "$1: the replica is broken" || diag "$(pst stage error flags)"
}

# late_gone TEXT: the replica answers what it was given up for.
late_gone()
{
	wait_until 30 not_late
	ok $? "$1: no late answer is due"
}
