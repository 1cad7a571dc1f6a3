#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# vm: --smp 2 --mem 768 --timeout 300
#
# dmrepl and what it is not to take: wrong usage, odd names, wrong
# configuration. One line each, that says what to do; nothing is left behind.

# shellcheck source=tests/lib/guest.sh
. "$(dirname "$0")/../lib/guest.sh"
# shellcheck source=tests/lib/dmrepl.sh
. "$(dirname "$0")/../lib/dmrepl.sh"

disks=()
for name in active hidden secondary; do
	null_disk "$name" 8
	disks+=("$DISK")
done
three=(--active "${disks[0]}" --hidden "${disks[1]}" --secondary "${disks[2]}")

# refused STATUS REGEX WORD...: dmrepl ends so, with one line that says this.
refused()
{
	local status=$1 regex=$2

	shift 2
	gives "$status" "refused: dmrepl ${*@Q}" dmrepl "$@"
	one_line "one line" && like "$OUT" "$regex" "says what is wrong"
}

# --- the command line -----------------------------------------------------------

gives 2 "without a word" dmrepl
like "$OUT" 'Usage: dmrepl COMMAND' "shows how it is used"
gives 0 "--help" dmrepl --help
commands=$(sed -nE 's/^  ([a-z]+) +[A-Z].*/\1/p' <<<"$OUT")
is "$(wc -w <<<"$commands")" 19 "it lists the commands"
for command in $commands; do
	gives 0 "$command --help" dmrepl "$command" --help
	like "$OUT" "^Usage: dmrepl $command.*--help" "it is the help of $command"
done
gives 0 "--version" dmrepl --version
refused 2 'no such command; dmrepl --help lists them' frobnicate
refused 2 'too few words, it takes NAME; dmrepl start --help' start
refused 2 'b is a word too many' start a b
refused 2 '--frobnicate: unknown option; dmrepl start --help' start --frobnicate a
refused 2 'must be on or off' guard a maybe
refused 2 'must be a time' wait a --timeout soon
refused 2 'must be done, error or checkpoint' wait a --for ever
refused 2 'must be a time' checkpoint a --every 5x
refused 2 'must be more than nothing' checkpoint a --every 0
refused 3 'there is no such pair; dmrepl status lists them' start nobody
refused 3 'there is no /etc/dmrepl.d/nobody.conf; dmrepl create' up nobody
refused 3 'there is no such pair' remove nobody --yes
refused 2 'active is missing' create x --hidden "${disks[1]}" --secondary "${disks[2]}"
refused 2 'active must be a path that begins with /' create x --active loop0
refused 2 'blanks' create x --active '/dev/a b'
refused 2 'hold_mib must be a number' create x "${three[@]}" --hold-mib many
refused 2 'must be fail or drop_view' create x "${three[@]}" --on-capture-error panic
refused 2 'active and hidden are the same device' create x --active "${disks[0]}" \
	--hidden "${disks[0]}" --secondary "${disks[2]}"
refused 2 'need --vg' create x "${three[@]}" --thin pool
refused 2 'is not for a' create x "${three[@]}" --local /dev/null
refused 1 'cannot be used: No such file' create x --active /dev/none --hidden "${disks[1]}" \
	--secondary "${disks[2]}"
refused 1 'cannot be used: Block device required' create x --active /etc/passwd \
	--hidden "${disks[1]}" --secondary "${disks[2]}"
linear_disk short "${disks[0]}" 16000
refused 1 'active .* 384 sectors shorter than secondary' create x --active "$DISK" \
	--hidden "${disks[1]}" --secondary "${disks[2]}"
dmsetup remove short
refused 1 'hold_mib' create x "${three[@]}" --hold-mib 4000000
nothing_left "nothing is left of all that"

# --- names -----------------------------------------------------------------------

for name in '' 'a b' ../up /dev/x ä -- 'a;reboot' "\$(reboot)" '.hidden' a/b control \
		x-origin x-active "$(printf 'x%.0s' {1..65})" $'a\nb' 'a\b'; do
	if [ "$name" = -- ]; then
		continue
	fi
	gives 2 "create refuses the name ${name@Q}" dmrepl create "${three[@]}" -- "$name"
	like "$OUT" "a pair's name (must|may|is)" "says what a name is"
done
nothing_left "nothing is left of that, either"
for name in a 0 a+b_c.d-1 "$(printf 'x%.0s' {1..64})"; do
	gives 0 "create takes the name $name" dmrepl create "${three[@]}" "$name"
	gives 0 "start $name" dmrepl start "$name"
	gives 0 "down $name" dmrepl down "$name"
	gives 0 "up $name" dmrepl up "$name"
	gives 0 "status of $name" dmrepl status --json "$name"
	is "$(json '.pairs[0].name')" "$name" "status has the name"
	gives 0 "remove $name" dmrepl remove "$name" --yes
done
nothing_left "nothing is left of those"

# A device by hand, with a name that device mapper allows.
dm_make 'odd"name' "$(origin_table "${disks[2]}")"
dmsetup create 'view \one' --table "$(view_table "${disks[@]}")"
gives 0 "status of what dmsetup has made" dmrepl status --json
fits "it is as the schema says"
is "$(json '.pairs[0].name')" 'view \one' "the odd name is a JSON text"
gives 0 "metrics of it" dmrepl metrics
like "$OUT" 'pair="view \\\\one"' "the odd name is a label's text"
gives 0 "start of it" dmrepl start 'view \one'
dmsetup remove 'view \one'
dm_make byhand "$(view_table "${disks[@]}")"
gives 1 "remove leaves alone what dmrepl has not made" dmrepl remove --yes byhand
like "$OUT" 'byhand is not a device that dmrepl has made' "says so"
dmsetup remove byhand
dmsetup remove 'odd"name'

# --- configuration ------------------------------------------------------------------

# conf REGEX LINE...: up refuses a file with these lines.
conf()
{
	local regex=$1

	shift
	printf '%s\n' "$@" >/etc/dmrepl.d/c.conf
	gives 2 "refused in a file: $(tail -n 1 /etc/dmrepl.d/c.conf | cut -c 1-40)" dmrepl up c
	one_line "one line"
	like "$OUT" "/etc/dmrepl.d/c.conf$regex" "with place and reason"
}

mkdir -p /etc/dmrepl.d
conf ':2: frob is not known' '[pair]' 'frob = 1'
conf ':1: active must stand in section \[pair\]' 'active = /dev/a'
conf ':3: active is given twice' '[pair]' 'active = /dev/a' 'active = /dev/b'
conf ':2: neither a \[section\] nor key = value' '[pair]' 'what is this'
conf ':2: active must be a path' '[pair]' 'active = a'
conf ':2: autostart must be on or off' '[pair]' 'autostart = perhaps'
conf ':2: the line is too long' '[pair]' "active = /dev/$(printf 'x%.0s' {1..300})"
conf ': hidden is missing' '[pair]' "active = ${disks[0]}"
printf '%s\n' '; a comment' '[pair]' "active = ${disks[0]} ; and one here" "hidden=${disks[1]}" '' \
	"secondary  =  ${disks[2]}" 'autostart = Yes' 'hold_mib = 3' >/etc/dmrepl.d/c.conf
gives 0 "a good file" dmrepl up c
is "$(dmsetup table c)" \
	"0 16384 replication secondary $(numbers "${disks[@]}") 3 autostart hold_mib 3" "is understood"
is "$(dmrepl_stage c)" running "autostart starts"
gives 0 "remove" dmrepl remove c --yes
nothing_left "nothing is left in the end"
plan_end
