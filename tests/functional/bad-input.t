#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# vm: --mem 768 --timeout 240
#
# Every wrong table line and message: the right errno, one clear line in the
# kernel's log, nothing changed, nothing left behind.

# shellcheck source=tests/lib/guest.sh
. "$(dirname "$0")/../lib/guest.sh"
# shellcheck source=tests/lib/conform.sh
. "$(dirname "$0")/../lib/conform.sh"

LEN=8192	# sectors

# line_refused TEXT ERRNO REGEX TABLE
line_refused()
{
	refused "$1" "$2" "$3" dmsetup create bad --table "$4"
}

# view_refused TEXT ERRNO REGEX "DEVICES [FEATURES]", origin_refused the same.
view_refused()
{
	line_refused "$1" "$2" "$3" "0 $LEN replication secondary $4"
}

origin_refused()
{
	line_refused "$1" "$2" "$3" "0 $LEN replication origin $4"
}

# msg_refused REGEX DEVICE WORD...
msg_refused()
{
	refused "message ${*:3}" EINVAL "$1" dmio message "$2" "${@:3}"
}

# free_now DEVICE: nobody has it open for himself.
free_now()
{
	blkdiscard -z -l 4096 "$1"
}

wrong_lines()
{
	line_refused "no mode" EINVAL '^The mode must be' "0 $LEN replication"
	line_refused "unknown mode" EINVAL '^The mode must be' "0 $LEN replication tertiary $S"
	line_refused "primary without replica" EINVAL '^The replica device is missing' \
		"0 $LEN replication primary"
	view_refused "view without devices" EINVAL '^The active device is missing' ""
	view_refused "view without hidden" EINVAL '^The hidden device is missing' "$A"
	view_refused "view without secondary" EINVAL '^The secondary device is missing' "$A $H"
	origin_refused "origin without secondary" EINVAL '^The secondary device is missing' ""
	view_refused "no such active" "$MISSING" '^Cannot open the active device' "/dev/none $H $S"
	view_refused "no such hidden" "$MISSING" '^Cannot open the hidden device' "$A /dev/none $S"
	view_refused "no such secondary" "$MISSING" '^Cannot open the secondary device' "$A $H /dev/none"
	view_refused "QEMU's top-id" EINVAL '^(Unknown feature|The number of feature)' "$A $H $S top-id disk0"
	view_refused "feature count is no number" EINVAL '^The number of feature' "$A $H $S many"
	view_refused "feature count is negative" EINVAL '^The number of feature' "$A $H $S -1"
	view_refused "feature count is too large" EINVAL '^The number of feature' "$A $H $S 33 autostart"
	view_refused "fewer features than counted" EINVAL 'argument' "$A $H $S 2 autostart"
	view_refused "more features than counted" EINVAL '^There are more arguments' "$A $H $S 1 autostart guarded"
	view_refused "unknown feature" EINVAL '^Unknown feature; there are .*guarded' "$A $H $S 1 turbo"
	view_refused "an origin's feature" EINVAL '^Unknown feature; there are .*guarded' "$A $H $S 1 fenced"
	view_refused "a primary's feature" EINVAL '^Unknown feature; there are .*guarded' "$A $H $S 2 resync_rate_mib 1"
	origin_refused "unknown feature of an origin" EINVAL '^Unknown feature; mode origin has only fenced' "$S 1 turbo"
	origin_refused "a view's feature" EINVAL '^Unknown feature; mode origin has only fenced' "$S 1 autostart"
	view_refused "metadata without a device" EINVAL '^metadata needs a device' "$A $H $S 1 metadata"
	view_refused "metadata twice" EINVAL '^metadata is there twice' "$A $H $S 4 metadata $X metadata $X"
	view_refused "metadata on active" EINVAL '^Active, hidden, secondary and metadata must be four' "$A $H $S 2 metadata $A"
	view_refused "group without a name" EINVAL '^group needs a name of 1 to 64' "$A $H $S 1 group"
	view_refused "group with too long a name" EINVAL '^group needs a name of 1 to 64' \
		"$A $H $S 2 group $(printf 'g%.0s' {1..65})"
	view_refused "hold_mib without a number" EINVAL '^hold_mib must be a number' "$A $H $S 1 hold_mib"
	view_refused "hold_mib of words" EINVAL '^hold_mib must be a number' "$A $H $S 2 hold_mib much"
	view_refused "hold_mib negative" EINVAL '^hold_mib must be a number' "$A $H $S 2 hold_mib -1"
	view_refused "hold_mib too large" EINVAL '^hold_mib must be a number' "$A $H $S 2 hold_mib 1048577"
	view_refused "hold_mib far too large" EINVAL '^hold_mib must be a number' "$A $H $S 2 hold_mib 4294967297"
	view_refused "checkpoint_timeout_ms too large" EINVAL '^checkpoint_timeout_ms must be' \
		"$A $H $S 2 checkpoint_timeout_ms 86400001"
	view_refused "commit_rate_mib of words" EINVAL '^commit_rate_mib must be' "$A $H $S 2 commit_rate_mib fast"
	view_refused "on_capture_error panic" EINVAL '^on_capture_error must be' "$A $H $S 2 on_capture_error panic"
	view_refused "on_capture_error without a policy" EINVAL '^on_capture_error must be' "$A $H $S 1 on_capture_error"
	line_refused "not at sector 0" EINVAL 'begin at sector 0|only one|singleton|Gap' \
		"8 $LEN replication origin $S"
	refused "another target in the table" EINVAL 'only one|singleton|must appear alone' \
		dmsetup create bad --table "0 $LEN replication origin $S"$'\n'"$LEN 8 error"
	refused "a read-only table" EINVAL 'read-only' \
		dmsetup create bad --readonly --table "0 $LEN replication origin $S"
}

# part_of DEVICE: makes a partition of it; PART is its path.
part_of()
{
	addpart "$1" 1 0 $LEN
	PART=${1}1
	[ -b "$PART" ] || PART=${1}p1
}

same_twice()
{
	local words='^Active, hidden and secondary must be three separate devices'
	# The kernel itself lets nobody open a part of what is opened as a whole.
	local busy='^Cannot open the (active|hidden|secondary) device \(-EBUSY\)'

	view_refused "active is hidden" EINVAL "$words" "$A $A $S"
	view_refused "active is secondary" EINVAL "$words" "$S $H $S"
	view_refused "hidden is secondary" EINVAL "$words" "$A $S $S"
	part_of "$A"
	view_refused "a partition and its whole disk" EBUSY "$busy" "$PART $A $S"
	view_refused "a whole disk and its partition" EBUSY "$busy" "$A $H $PART"
	delpart "$A" 1
}

# lengths_refused TEXT REGEX TABLE: two lines, which one, by how much; the rule.
lengths_refused()
{
	klog_mark
	must "EINVAL" fails_with EINVAL dmsetup create bad --table "$3"
	our_words
	must "which and by how much /$2/: $SAID" grep -qE "$2" <<<"$SAID"
	must "the rule: $SAID" grep -q '^Lengths differ' <<<"$SAID"
	must "two lines: $SAID" test "$SAID_LINES" -eq 2
	verdict "$1"
}

fails_with()
{
	local output

	! output=$("${@:2}" 2>&1) && [[ $output == *"${ERRNO_TEXT[$1]}"* ]]
}

lengths()
{
	linear_disk short "$X" 8000
	lengths_refused "active is shorter" 'active is 8000 sectors, 192 fewer than the table line.s 8192' \
		"0 $LEN replication secondary /dev/mapper/short $H $S"
	lengths_refused "hidden is shorter" 'hidden is 8000 sectors, 192 fewer' \
		"0 $LEN replication secondary $A /dev/mapper/short $S"
	lengths_refused "secondary is shorter" 'secondary is 8000 sectors, 192 fewer' \
		"0 $LEN replication secondary $A $H /dev/mapper/short"
	lengths_refused "an origin's secondary is longer" 'secondary is 8192 sectors, 192 more than the table line.s 8000' \
		"0 8000 replication origin $S"
	dm_gone short
	null_disk block4k 4 blocksize=4096
	linear_disk odd "$X" 8191
	dm_swap odd "0 8191 linear $X 0"
	blockdev --setro "$X"
	view_refused "read-only active" EROFS '^A device is read-only' "$X $H $S"
	view_refused "read-only secondary" EROFS '^A device is read-only' "$A $H $X"
	origin_refused "read-only secondary of an origin" EROFS '^A device is read-only' "$X"
	blockdev --setrw "$X"
	dm_gone odd
	null_gone block4k
}

# Devices of a pair that is there, in other roles; secondary itself once more.
taken()
{
	local other='^A device is in use by another pair'
	local busy='^Cannot open the secondary device \(-EBUSY\)'

	pair p "$A" "$H" "$S"
	view_refused "active, as another's active" EBUSY "$other" "$A $X $Y"
	view_refused "active, as another's hidden" EBUSY "$other" "$X $A $Y"
	view_refused "active, as another's secondary" EBUSY "$other" "$X $Y $A"
	view_refused "hidden, as another's active" EBUSY "$other" "$H $X $Y"
	view_refused "secondary, as another's active" EBUSY "$other" "$S $X $Y"
	view_refused "secondary, as another's hidden" EBUSY "$other" "$X $S $Y"
	origin_refused "active, as another's origin" EBUSY "$other" "$A"
	origin_refused "hidden, as another's origin" EBUSY "$other" "$H"
	part_of "$S"
	view_refused "a partition of secondary" EBUSY "$busy" "$X $Y $PART"
	origin_refused "an origin on a partition of secondary" EBUSY "$busy" "$PART"
	delpart "$S" 1
	view_refused "a second view" EBUSY 'has a view already' "$X $Y $S"
	origin_refused "a second origin" EBUSY 'has an origin already' "$S"
	refused "a view's table for an origin" EINVAL '^A view, an origin and a primary cannot become each other' \
		dmio load p-origin "0 $LEN replication secondary $A $H $S"
	refused "an origin's table for a view" EBUSY 'has an origin already' \
		dmio load p-view "0 $LEN replication origin $S"
	is "$(stage p)" none "the pair is as it was"
	run_ok "and starts" msg p start
}

wrong_messages()
{
	local view=p-view origin=p-origin before

	dmsetup table p-view >/tmp/before
	before=$(st p epoch)
	msg_refused 'unknown message explode; there are start, .*; for an origin rejoin' $view explode
	msg_refused 'start takes secondary and all' $view start tertiary
	msg_refused 'start takes secondary and all' $view start secondary now
	msg_refused 'start takes 0 to 2 arguments' $view start secondary all now
	msg_refused 'cannot start as primary in stage running' $view start primary
	msg_refused 'checkpoint takes no argument but all' $view checkpoint now
	msg_refused 'checkpoint takes 0 to 1 arguments' $view checkpoint all all
	msg_refused 'stop takes no argument but all' $view stop now
	msg_refused 'failover takes no argument but all' $view failover now
	msg_refused 'promote takes no argument but all' $view promote now
	msg_refused 'get_error takes no argument but all' $view get_error now
	msg_refused 'clear_error takes 0 to 0 arguments' $view clear_error all
	msg_refused 'guard takes 1 to 1 arguments' $view guard
	msg_refused 'guard must be on or off' $view guard maybe
	msg_refused 'set takes 2 to 2 arguments' $view set
	msg_refused 'set takes 2 to 2 arguments' $view set hold_mib
	msg_refused 'cannot set turbo: unknown name' $view set turbo 1
	msg_refused 'cannot set hold_mib: hold_mib must be a number' $view set hold_mib x
	msg_refused 'cannot set hold_mib: hold_mib must be a number' $view set hold_mib 1048577
	msg_refused 'cannot set commit_rate_mib: commit_rate_mib must be' $view set commit_rate_mib 1048577
	msg_refused 'cannot set checkpoint_timeout_ms: ' $view set checkpoint_timeout_ms 86400001
	msg_refused 'cannot set on_capture_error: ' $view set on_capture_error panic
	msg_refused 'cannot set autostart: it must be on or off' $view set autostart 1
	msg_refused 'cannot set discard_passdown: it must be on or off' $view set discard_passdown maybe
	msg_refused 'cannot set group: unknown name' $view set group g
	msg_refused 'rejoin must be sent to the pair.s origin' $view rejoin
	msg_refused 'start must be sent to the pair.s view' $origin start
	msg_refused 'checkpoint must be sent to the pair.s view' $origin checkpoint
	msg_refused 'set must be sent to the pair.s view' $origin set hold_mib 1
	msg_refused 'rejoin takes 0 to 0 arguments' $origin rejoin now
	is "$(dmsetup table p-view)" "$(</tmp/before)" "no tunable has changed"
	is "$(stage p) $(st p epoch)" "running $before" "nor stage and epoch"
}

for name in a h s x y; do
	null_disk "$name" 4 || bail "null_disk"
	declare "${name^^}=$DISK"
done
modprobe dm-replication
ask_of_missing
wrong_lines
same_twice
lengths
for disk in "$A" "$H" "$S" "$X" "$Y"; do
	must "$disk" free_now "$disk"
done
verdict "no refused table holds a device"
run_ok "no pair is left behind" rmmod dm_repl
taken
wrong_messages
run_ok "the pair goes" unpair p
run_ok "nothing is left behind" rmmod dm_repl
plan_end
