#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# vm: --smp 2 --mem 768 --timeout 600
#
# dmrepl where something else is amiss: files that cannot be read, two at once, an
# LVM that cannot answer, a lock that is held, disks that udev asks about, disks
# that come late.

# shellcheck source=tests/lib/guest.sh
. "$(dirname "$0")/../lib/guest.sh"
# shellcheck source=tests/lib/dmrepl.sh
. "$(dirname "$0")/../lib/dmrepl.sh"

disks=()
options=()
for name in active hidden secondary; do
	if [ "$name" != secondary ]; then
		null_disk "$name" 16
	else	# one that can have partitions
		loop_disk "$name" 16
		losetup -d "$DISK"
		DISK=$(losetup -f -P --show /tmp/secondary.img)
	fi
	disks+=("$DISK")
	options+=("--$name" "$DISK")
done
gives 0 "create" dmrepl create p "${options[@]}"
dmrepl start p

# --- metrics ---------------------------------------------------------------------

printf '[pair]\nfrob = 1\nsecondary = %s\n' "${disks[2]}" >/etc/dmrepl.d/bad.conf
gives 2 "metrics, and one file is wrong" dmrepl metrics --output /tmp/p.prom
one_line "one line"
is "$(grep -c '^dm_replication_epoch{pair="p"} 1$' /tmp/p.prom)" 1 "the other pair's figures are there"
rm /etc/dmrepl.d/bad.conf
gives 0 "metrics of the pair alone" dmrepl metrics
lines=$(wc -l <<<"$OUT")
writers=()
for ((i = 0; i < 12; i++)); do
	dmrepl metrics --output /tmp/p.prom 2>>/tmp/words &
	writers+=($!)
done
failed=0
for pid in "${writers[@]}"; do
	wait "$pid" || failed=$((failed + 1))
done
is "$failed$(cat /tmp/words)" 0 "twelve at once into one file: none fails"
is "$(wc -l </tmp/p.prom)" "$lines" "the file is whole"
is "$(stat -c %a /tmp/p.prom)$(find /tmp -name '.p.prom*')" 644 "for everybody to read, and nothing is beside it"

# --- wait ------------------------------------------------------------------------

SECONDS=0
gives 6 "wait --timeout 0" dmrepl wait p --for error --timeout 0
[ "$SECONDS" -lt 8 ]
ok $? "does not wait"
null_disk local 16
local=$DISK
null_disk replica 16
gives 0 "a primary" dmrepl create disk --local "$local" --replica "$DISK" --transient
gives 4 "a primary is never done" dmrepl wait disk --for "done"
like "$OUT" 'disk is a primary' "says why"
gives 6 "but may have an error" dmrepl wait disk --for error --timeout 200ms
dmrepl down disk
stamp /dev/mapper/p 0x11 0 64k
gives 0 "failover" dmrepl failover p --yes --wait
sed -i 's/^state = .*/state = begun/' /var/lib/dmrepl/p
flock -o /run/dmrepl/p.lock sleep 13 &
sleep 0.5
gives 0 "wait while another one has the lock for 13 s" dmrepl wait p --for "done"
is "$(sed -n 's/^state = //p' /var/lib/dmrepl/p)" "done" "has noted the end when it is free"
wait
gives 2 "remove --volumes of a pair without any" dmrepl remove p --volumes --yes
is "$(dmrepl_stage p)" "done" "has not taken it down"

# --- what udev is told ---------------------------------------------------------------

# asked DEVICE [VARIABLE=VALUE]...: the role of a disk
asked()
{
	env MAJOR="$((0x$(stat -Lc %t "$1")))" MINOR="$((0x$(stat -Lc %T "$1")))" \
		DEVNAME="$1" "${@:2}" dmrepl udev 2>/dev/null | xargs
}

secondary="DMREPL_PAIR=p DMREPL_ROLE=secondary DMREPL_STAGE="
is "$(asked "${disks[2]}" DEVTYPE=disk)" "$secondary" "secondary is the pair's"
run_ok "a partition" addpart "${disks[2]}" 1 8 2048
part=${disks[2]}p1
wait_until 5 test -b "$part"
is "$(asked "$part" DEVTYPE=partition)" "$secondary" "so is a partition on it"
delpart "${disks[2]}" 1
echo 'frob = 1' >>/etc/dmrepl.d/p.conf
gives 2 "the file cannot be read any more" dmrepl up p
is "$(asked "${disks[2]}" DEVTYPE=disk)" "$secondary" "but its disks are known"
is "$(asked /dev/null DEVTYPE=disk)" "" "and no others"
sed -i '/frob/d' /etc/dmrepl.d/p.conf

# uevents FILE COMMAND...: what the kernel tells udev meanwhile
uevents()
{
	local pid

	perl -e '$| = 1; socket(S, 16, 2, 15) && bind(S, pack("SSLL", 16, 0, 0, 1)) or die;
		print "listening\n"; while (recv(S, $m, 8192, 0)) { $m =~ s/\0.*//s; print "$m\n" }' >"$1" &
	pid=$!
	wait_until 10 grep -q listening "$1"
	"${@:2}"
	sleep 0.3
	kill "$pid"
	wait "$pid" 2>/dev/null
}

dmrepl down p
uevents /tmp/events dmrepl up p
for disk in "${disks[@]}"; do
	is "$(grep -c "^change@.*/${disk##*/}\$" /tmp/events)" 1 "up has udev look at $disk again"
done
gives 0 "remove" dmrepl remove p --yes

# --- disks that come late --------------------------------------------------------

# wakes PID: how often it has slept and gone on, and how long it was at work.
wakes()
{
	sed -n 's/^voluntary_ctxt_switches:[^0-9]*//p' "/proc/$1/status"
	cut -d ' ' -f 14,15 "/proc/$1/stat"
}

# late TEXT COMMAND...: up waits for its disks, and goes on when COMMAND brings one.
late()
{
	local text=$1 before pid

	shift
	dmrepl up l --wait 100s >/tmp/words 2>&1 &
	pid=$!
	sleep 1
	touch /dev/other
	rm /dev/other
	sleep 1
	before=$(wakes "$pid")
	sleep 2
	is "$(wakes "$pid")" "${before:-it has ended}" "up sleeps while it waits for $text"
	"$@"
	wait_until 60 test -e /dev/mapper/l || kill "$pid"
	wait "$pid"
	is "$?$(cat /tmp/words)" 0 "then it comes up"
	dmrepl down l
}

link_late()
{
	mkdir -p /dev/late
	sleep 0.5
	mkdir -p /dev/late/folder
	sleep 0.5
	ln -s "${disks[2]}" /dev/late/folder/disk
}

conf=/etc/dmrepl.d/l.conf
printf '[pair]\nactive = %s\nhidden = %s\nsecondary = /dev/late/folder/disk\n' "${disks[@]:0:2}" >$conf
gives 1 "up --wait, in vain" dmrepl up l --wait 1s
like "$OUT" 'l: /dev/late/folder/disk cannot be used' "says what is missing"
late "a link in a folder that is not there yet" link_late
unattached=$(losetup -f)
test -b "$unattached" || mknod "$unattached" b 7 "${unattached##*loop}"
truncate -s 16m /tmp/late.img
sed -i "/^secondary/s|=.*|= $unattached|" $conf
late "a disk that has no size yet" losetup "$unattached" /tmp/late.img
sed -i "/^secondary/s|=.*|= /dev/late/folder/disk|" $conf
rm -r /dev/late
dmrepl up l --wait 100s >/dev/null 2>&1 &
sleep 2
kill -TERM $!
wait $!
is $? 1 "a signal ends the wait"
link_late
gives 0 "up" dmrepl up l --wait 100s
gives 0 "start" dmrepl start l
gives 0 "promote" dmrepl promote l --yes
gives 0 "down" dmrepl down l
sed -i '/^active/s|=.*|= /dev/late/none|' $conf
SECONDS=0
gives 0 "up of a promoted pair whose active is gone" dmrepl up l --wait 100s
[ "$SECONDS" -lt 60 ]
ok $? "does not wait for that"
gives 0 "remove" dmrepl remove l --yes
losetup -d "$unattached"

# --- LVM that cannot answer ------------------------------------------------------------

null_disk pv 64
vgcreate -qq vg "$DISK" || bail "no volume group"
gives 0 "create with volumes" dmrepl create v --vg vg --size 8m
mkdir /tmp/lvm
echo 'this is no { configuration' >/tmp/lvm/lvm.conf
gives 1 "remove --volumes, and LVM cannot answer" env LVM_SYSTEM_DIR=/tmp/lvm \
	dmrepl remove v --volumes --yes
like "$OUT" 'vg/v_(active|hidden): lvs cannot say' "says so"
[ -e /etc/dmrepl.d/v.conf ]
ok $? "forgets nothing"
gives 0 "remove --volumes, and it can" dmrepl remove v --volumes --yes
is "$(lvs --noheadings -o lv_name vg | xargs)" v_secondary "the volumes are gone"
lvremove -qq -y vg/v_secondary
nothing_left "nothing is left in the end"
plan_end
