#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# vm: --smp 2 --mem 768 --timeout 240
#
# What Documentation/security.rst says of who may do what: users without
# capabilities, a hostile user of the view, a hostile stream on the origin, what
# is found on the devices. Names in brackets are those of the document.

# shellcheck source=tests/lib/guest.sh
. "$(dirname "$0")/../lib/guest.sh"

MIB=16
disks=()
for name in active hidden secondary; do
	null_disk "$name" $MIB discard=1 || bail "null_disk"
	disks+=("$DISK")
done
active=${disks[0]} hidden=${disks[1]} secondary=${disks[2]}

# as_nobody COMMAND...: no capability, no group
as_nobody()
{
	setpriv --reuid=65534 --regid=65534 --clear-groups --bounding-set=-all \
		--inh-caps=-all "$@"
}

# In a user namespace of its own it is root, and has all capabilities there.
as_root_of_a_namespace()
{
	as_nobody unshare --user --map-root-user "$@"
}

# What is on the disks beforehand: none of it may ever be seen in the view.
stamp "$active" 0xaa 0 ${MIB}m
stamp "$hidden" 0xdd 0 ${MIB}m
stamp "$secondary" 0x11 0 ${MIB}m
pair p "${disks[@]}" -- hold_mib 1 || bail "pair"
msg p start || bail "start"

# --- [capabilities] ------------------------------------------------------------

is "$(stat -c %a:%u /dev/mapper/control)" 600:0 "device mapper's control node is root's"
chmod 666 /dev/mapper/control
# ioctl_of COMMAND...: what that user gets for a message and for a table
ioctls_of()
{
	printf '%s\n' "message p-view checkpoint" "status p-view" "clear p-view" |
		"$@" dmio | tr '\n' ' '
}

is "$(ioctls_of as_nobody)" "EACCES EACCES EACCES " \
	"without CAP_SYS_ADMIN neither messages nor status nor tables"
is "$(ioctls_of as_root_of_a_namespace)" "EACCES EACCES EACCES " \
	"nor with all capabilities of a user namespace"
chmod 600 /dev/mapper/control
is "$(st p stage epoch | xargs)" "running 1" "nothing has changed"

# --- [device permissions] --------------------------------------------------------

run_fails "nobody opens no device" EACCES as_nobody blkio read "$VIEW" 0 512
chown 65534 "$(realpath "$VIEW")"
run_ok "who may write the view writes it" as_nobody blkio write "$VIEW" 0x44 0 4k
for disk in "${disks[@]}" "$ORIGIN"; do
	run_fails "and opens not ${disk##*/}" EACCES as_nobody blkio read "$disk" 0 512
done

# sg_io DEVICE: a SCSI command (TEST UNIT READY) through the device; prints errno
sg_io()
{
	# shellcheck disable=SC2016 # the program is perl's
	perl -e 'open(my $f, "+<", $ARGV[0]) or die $!;
		my $command = "\0" x 6;
		my $b = pack("iiCCSIPPPIIiP", ord("S"), -1, 6, 0, 0, 0, undef,
			$command, undef, 1000, 0, 0, undef) . "\0" x 64;
		print ioctl($f, 0x2285, $b) ? "done" : $!, "\n"' "$1"
}

is "$(sg_io "$VIEW")" "Inappropriate ioctl for device" \
	"no command goes through the view to a disk"
is "$(sg_io "$ORIGIN")" "Inappropriate ioctl for device" "nor through the origin"

# --- [the view's user] -------------------------------------------------------------

expect "$VIEW" 0x44 0 4k "the view has what it was given"
expect "$VIEW" 0x11 4k $((MIB * 1024 - 4))k "and else secondary, nothing of active or hidden"
stamp "$VIEW" 0x33 0 ${MIB}m
blkio discard "$VIEW" 1m 2m
blkio zeroout "$VIEW" 3m 1m
blkio flush "$VIEW"
expect "$secondary" 0x11 0 ${MIB}m "whatever it writes, secondary stays"
expect "$VIEW" 0x33 1m 2m "its discard has no effect"
msg p checkpoint
expect "$VIEW" 0x11 0 ${MIB}m "after a checkpoint nothing of the epoch before is seen"

# One block in each MiB: the most memory for the least writing.
for ((i = 0; i < MIB; i++)); do
	stamp "$VIEW" 0x55 ${i}m 512
	stamp "$ORIGIN" 0x66 $((i * 1024 + 512))k 4k
done
ok $(($(st p leaf_bytes) > 2 * MIB * (392 + 256))) "its leaves take no more than is documented"

# hammer DEVICE OFFSET: reads of one page, one after the other, until $1 is gone
hammer()
{
	while [ -e "/tmp/hammering" ]; do
		blkio read "$VIEW" 0 64k >/dev/null
	done
}

# The stream under a page that is being read all the time.
stream_goes_on()
{
	local i

	for ((i = 0; i < 20; i++)); do
		timeout 60 blkio write "$ORIGIN" "$i" 0 64k || return
	done
}

checkpoints_go_on()
{
	local i

	for ((i = 0; i < 20; i++)); do
		timeout 60 dmsetup message p-view 0 checkpoint || return
	done
}

: >/tmp/hammering
for ((i = 0; i < 4; i++)); do
	hammer &
done
run_ok "a view that is read all the time does not stop the stream" stream_goes_on
run_ok "nor checkpoints" checkpoints_go_on
rm /tmp/hammering
wait

# --- [the stream] --------------------------------------------------------------------

stamp "$VIEW" 0x77 1m 4k
blkio expect "$VIEW" 19 0 64k && msg p checkpoint
stamp "$ORIGIN" 0x22 0 ${MIB}m
blkio discard "$ORIGIN" 4m 4m
blkio zeroout "$ORIGIN" 8m 1m
expect "$VIEW" 19 0 64k "whatever the stream writes, the view stays (ransomware, too)"
ok $(($(st p held) > (1024 + 128 + 2048) * 2)) "it takes no more memory than hold_mib says"
is "$(stage p)" running "the view is not given up"
is "$(st p error)" none "no error"

# --- [the fence] -----------------------------------------------------------------------

msg p promote
stamp "$VIEW" 0x88 0 1m
for verb in "write $ORIGIN 1 0 4k" "fua $ORIGIN 1 0 4k" "discard $ORIGIN 0 1m" \
	"zeroout $ORIGIN 0 1m" "read $ORIGIN 0 4k" "flush $ORIGIN"; do
	# shellcheck disable=SC2086 # its words
	run_fails "a fenced origin refuses: ${verb%% *}" EIO blkio $verb
done
expect "$secondary" 0x88 0 1m "nothing of it reaches the disk"
run_fails "the fence is not lifted while the view is the disk" EBUSY omsg p rejoin
is "$(sg_io "$ORIGIN")" "Inappropriate ioctl for device" "nor gone round by a command"

# --- [the log] -----------------------------------------------------------------------------

# The log's own escapes are \x and two digits; ours must not need them.
last_words()
{
	dmio <<<klog | grep 'unknown message\|cannot set' | tail -n 1
}

msg p $'ex\\\nplode' 2>/dev/null
unlike "$(last_words)" '\\x0a' "a message cannot forge a line of the log"
msg p set $'na\\\n\\\e[31mme' 1 2>/dev/null
unlike "$(last_words)" '\\x(0a|1b)' "nor can a tunable's name"

unpair p
plan_end
