#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# vm: --smp 2 --mem 1024 --timeout 1500
#
# The documents say what is so. Every block that they mark as shell (```sh in
# Markdown, ".. code-block:: sh" in reStructuredText) is run: those of one
# document in their order, in one shell. A command that fails ends it; a line
# that begins with "!" must fail. A block marked as text that follows is what
# the block before it prints, figures and line ends aside. A block that begins
# with #! is a test, which must pass. What the documents name exists, and their
# stage tables are those of the code.

# shellcheck source=tests/lib/guest.sh
. "$(dirname "$0")/../lib/guest.sh"

shopt -s extglob

top=/repo
documents=(README.md CONTRIBUTING.md Documentation/dm-replication.rst
	Documentation/conformance.rst Documentation/benchmarks.rst
	Documentation/walkthroughs.rst Documentation/streams.rst
	Documentation/secure-boot.rst)
[ $# -eq 0 ] || documents=("$@")
work=/tmp/docs

for document in "${documents[@]}" Makefile dm-replication-pair.c; do
	[ -e "$top/$document" ] || bail "no $document in $top"
done

# Where a package would have put it: who is called by the kernel has no PATH of ours.
ln -sf "$top/tools/dmrepl/dmrepl" /usr/sbin/dmrepl

# --- blocks ------------------------------------------------------------------

# Numbered files in $work: N.sh or N.text, and N.line, where it begins.
begin_block()
{
	blocks=$((blocks + 1))
	block=$(printf '%s/%03d' "$work" "$blocks")
	kind=${1:-none}
	: >"$block.$kind"
	echo "$2" >"$block.line"
}

from_markdown()
{
	local line at=0 kind='' blocks=0 block=''

	while IFS= read -r line; do
		at=$((at + 1))
		if [ -z "$kind" ] && [[ $line =~ ^\`\`\`([a-z]*)$ ]]; then
			begin_block "${BASH_REMATCH[1]}" $((at + 1))
		elif [ "$line" = '```' ]; then
			kind=
		elif [ -n "$kind" ]; then
			printf '%s\n' "$line" >>"$block.$kind"
			[ "$kind" = sh ] || printf '    %s\n' "$line" >>"$work/rest"
		else
			printf '%s\n' "$line" >>"$work/rest"
		fi
	done <"$1"
}

from_rst()
{
	local line at=0 kind='' blocks=0 block='' outer=0 inner='' indent

	while IFS= read -r line; do
		at=$((at + 1))
		indent=${line%%[! ]*}
		if [ -n "$kind" ] && [ -n "$line" ] && [ ${#indent} -le "$outer" ]; then
			kind=
		fi
		if [ -z "$kind" ] && [[ $line =~ ^(\ *)\.\.\ code-block::\ ([a-z]+)$ ]]; then
			outer=${#BASH_REMATCH[1]}
			inner=
			begin_block "${BASH_REMATCH[2]}" $((at + 2))
		elif [ -n "$kind" ]; then
			if [ -z "$inner" ] && [ -n "$line" ]; then
				inner=$indent
			fi
			if [ -n "$inner" ]; then
				printf '%s\n' "${line#"$inner"}" >>"$block.$kind"
			fi
			[ "$kind" = sh ] || printf '%s\n' "$line" >>"$work/rest"
		else
			printf '%s\n' "$line" >>"$work/rest"
		fi
	done <"$1"
}

extract()
{
	rm -rf "$work"
	mkdir -p "$work"
	: >"$work/rest"
	case $1 in
	*.rst) from_rst "$1" ;;
	*) from_markdown "$1" ;;
	esac
}

# words FILE: what matters of an output. (A process is dear in this machine.)
words()
{
	local text words

	text=$(<"$1")
	read -r -d '' -a words <<<"${text//+([0-9])/0}"
	printf '%s' "${words[*]}"
}

is_test()
{
	local first

	read -r first <"$1"
	[[ $first == '#!'* ]]
}

# A shell that runs all blocks that are no tests; $work/ended tells how far.
write_shell()
{
	local file

	echo "set -eo pipefail; cd $work"
	for file in "$work"/*.sh; do
		[ -e "$file" ] || continue
		is_test "$file" && continue
		# A failure of "! command" would not end the shell by itself.
		sed -i 's/^! .*/& || false/' "$file"
		echo ". $file >${file%.sh}.got 2>${file%.sh}.err"
		echo "echo $file >>$work/ended"
	done
}

# check_blocks NAME: what came out of each.
check_blocks()
{
	local file next line ended

	ended=$(<"$work/ended")
	for file in "$work"/*.sh; do
		[ -e "$file" ] || continue
		line=$(<"${file%.sh}.line")
		if is_test "$file"; then
			check_test "$1:$line" "$file"
			continue
		fi
		if [ ! -e "${file%.sh}.got" ]; then
			ok 1 "$1:$line: the example works, was it reached"
			continue
		fi
		[[ $'\n'$ended$'\n' == *$'\n'$file$'\n'* ]]
		ok $? "$1:$line: the example works" || diag "$(<"${file%.sh}.err")"
		next=${file%.sh}
		printf -v next '%s/%03d.text' "$work" $((10#${next##*/} + 1))
		if [ -e "$next" ]; then
			is "$(words "${file%.sh}.got")" "$(words "$next")" \
				"$1:$(<"${next%.text}.line"): it prints what the document shows"
		fi
	done
}

# check_test WHERE FILE: an example of a test, where tests are.
check_test()
{
	local output status=0

	cp "$2" /repo/tests/functional/example.t
	output=$(bash /repo/tests/functional/example.t 2>&1) || status=$?
	rm /repo/tests/functional/example.t
	[ "$status" -eq 0 ] && ! grep -q '^not ok' <<<"$output" &&
		grep -q '^1\.\.[1-9]' <<<"$output"
	ok $? "$1: the example of a test passes" || diag "$output"
}

# A command that nobody runs is one that nobody has tried.
check_marked()
{
	is "$(grep -E '^( {3,}|	+)([#$] )?(dmsetup|losetup|modprobe|mount|blockdev) ' "$work/rest")" "" \
		"${1#"$top/"}: every example is marked as one"
}

sweep()
{
	awk '$1 ~ "^/dev/(mapper|loop)" { print $2 }' /proc/mounts | tac | xargs -r -n 1 umount
	dmsetup remove_all --force --deferred
	losetup -D
	rm -rf /tmp/*.img
}

# run_document FILE
run_document()
{
	local name=${1#"$top/"} left

	extract "$1"
	write_shell >"$work/shell"
	: >"$work/ended"
	if [ -s "$work/shell" ]; then
		timeout 300 bash "$work/shell" </dev/null
	fi
	check_blocks "$name"
	left=$(dmsetup ls; losetup -a)
	is "$left" "No devices found" "$name: its examples leave no device behind" ||
		sweep >/dev/null 2>&1
	check_marked "$1"
}

# --- what the documents name ---------------------------------------------------

# Paths, and tests by their bare name.
check_names()
{
	local name=${1#"$top/"} path missing=()

	while read -r path; do
		compgen -G "$top/$path" >/dev/null || missing+=("$path")
	done < <(grep -oE '\b(tests|tools|Documentation)/[A-Za-z0-9_./*-]*[A-Za-z0-9*]|\bdm-replication[a-z-]*\.[ch]\b' "$1" | sort -u
		grep -oE '(^|[^A-Za-z0-9_/*.-])[a-z0-9*-]+\.t\b' "$1" | grep -oE '[a-z0-9*-]+\.t$' |
			sed 's|^|tests/functional/|' | sort -u)
	# What has NAME in it stands for any.
	mapfile -t missing < <(printf '%s\n' "${missing[@]}" | grep -vE 'NAME|^$|/example\.t$')
	is "${missing[*]}" "" "$name: what it names is in the repository"
}

check_verbs()
{
	local verb missing=()

	while read -r verb; do
		grep -qE "^$verb:" "$top/Makefile" || missing+=("$verb")
	done < <(grep -oE '(`|^[#$] )make [a-z-]+' "$1" | sed 's/.*make //' | sort -u)
	is "${missing[*]}" "" "${1#"$top/"}: the Makefile has the verbs it names"
}

# --- the stage tables ------------------------------------------------------------

# rst_table NAME: the cells of the table after the line ".. NAME:", one a line,
# as "<row> <column> <cell>"; columns are parted by two spaces or more.
rst_table()
{
	awk -v mark=".. $1:" -F '  +' '
		$0 == mark { on = 1; next }
		on && /^=+( +=+)+$/ { if (++rules == 3) exit; next }
		on && rules == 1 { for (i = 2; i <= NF; i++) column[i] = $i }
		on && rules == 2 && NF { for (i = 2; i <= NF; i++) print $1, column[i], $i }' \
		"$top/Documentation/dm-replication.rst"
}

# The code's words for ways, in those of the document.
check_tables()
{
	local code

	code=$(/repo/tests/lib/stage-tables "$top")
	is "$(rst_table requests | sort)" "$(sed -n '/^route /{
			s/^route //; s/ \(view\|origin\)_/ \1 /
			s/ eio$/ EIO/; s/ nothing$/ no effect/
			s/ flush_active$/ active/; s/ flush_both$/ both/; p }' <<<"$code" | sort)" \
		"the table of requests is the code's"
	is "$(rst_table messages | grep -E '^(start|checkpoint|stop|failover|promote) ' | sort)" \
		"$(awk '$1 == "message" { print $3, $2, $4 }' <<<"$code" | sort)" \
		"the table of messages is the code's"
}

# --- the test itself can fail ----------------------------------------------------

# finds TEXT DOCUMENT-NAME LINE...: something in that document must be reported.
finds()
{
	local text=$1 name=$2 output

	shift 2
	printf '%s\n' "$@" >"/tmp/$name"
	output=$(run_document "/tmp/$name"; check_names "/tmp/$name"; check_verbs "/tmp/$name")
	like "$output" 'not ok ' "$text"
}

finds "an example that fails is seen" wrong.md '```sh' 'dmsetup message nobody 0 start' '```'
finds "so is one in the middle of a block" wrong.rst '.. code-block:: sh' '' '   true' '   false' '   true' ''
finds "so is a command that should fail and does not" wrong.md '```sh' '! true' 'true' '```'
finds "so is a wrong output" wrong.md '```sh' 'echo running 5' '```' '```text' 'stopped 5' '```'
finds "so is a device left behind" wrong.md '```sh' 'dmsetup create left --table "0 8 zero"' '```'
finds "so is an example that nobody would run" wrong.rst 'Like this::' '' '   dmsetup message view 0 start'
finds "so is a name of nothing" wrong.rst 'See tests/functional/nothing.t.'
# shellcheck disable=SC2016 # Markdown's quotes
finds "so is a verb of nothing" wrong.md '`make nothing`'

# Yet what is right passes.
# shellcheck disable=SC2016 # the example's variable
printf '%s\n' '```sh' 'x=5' '! false' '```' 'and' '```sh' 'echo "x is $x"' '```' \
	'```text' 'x is 7' '```' >/tmp/right.md
unlike "$(run_document /tmp/right.md)" 'not ok ' "a right document passes"

for document in "${documents[@]}"; do
	run_document "$top/$document"
	check_names "$top/$document"
	check_verbs "$top/$document"
done
check_tables
plan_end
