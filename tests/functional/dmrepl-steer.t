#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# vm: --smp 2 --mem 768 --timeout 480
#
# dmrepl checkpoint with programs around it, at intervals, in groups, under
# mounts; wait; failover that fails, and its end that nobody waits for.

# shellcheck source=tests/lib/guest.sh
. "$(dirname "$0")/../lib/guest.sh"
# shellcheck source=tests/lib/dmrepl.sh
. "$(dirname "$0")/../lib/dmrepl.sh"

# new_pair NAME OPTION...: a pair on disks of its own, 16 MiB
new_pair()
{
	local name=$1 disks=()

	shift
	three_disks "$name"
	dmrepl create "$name" "${disks[@]}" "$@" || bail "no pair $name"
}

epoch()
{
	dmrepl status --json "$1" | jsonget '.pairs[0].epoch'
}

new_pair p
dmrepl start p
gives 0 "status --json of a running pair" dmrepl status --json
fits "it is as the schema says"

# --- programs around a checkpoint ------------------------------------------------------

cat >/tmp/hook <<'END'
#!/bin/bash
printf '%s|' "$@" >>/tmp/hooks
dmsetup status p | cut -d ' ' -f 7 >>/tmp/hooks
END
chmod +x /tmp/hook
first=$(epoch p)
gives 0 "checkpoint --before --after" dmrepl checkpoint p --before "/tmp/hook before 'two words' \$HOME" \
	--after "/tmp/hook after;ls"
is "$(cat /tmp/hooks)" "before|two words|\$HOME|$first"$'\n'"after;ls|$((first + 1))" \
	"each in its turn, with its arguments as they are: no shell"
rm /tmp/hooks
gives 8 "before fails" dmrepl checkpoint p --before "false" --after "/tmp/hook after"
is "$(cat /tmp/hooks)" "after|$((first + 1))" "no checkpoint, but after has run"
rm /tmp/hooks
dmrepl guard p on
gives 4 "the checkpoint is refused" dmrepl checkpoint p --before "true" --after "/tmp/hook after"
is "$(cat /tmp/hooks)" "after|$((first + 1))" "after has run"
dmrepl guard p off
gives 8 "after fails" dmrepl checkpoint p --after "false"
is "$(epoch p)" $((first + 2)) "the checkpoint was made"
rm /tmp/hooks
SECONDS=0
gives 8 "before hangs" dmrepl checkpoint p --before "sleep 60" --hook-timeout 4s --after "/tmp/hook after"
like "$OUT" 'did not end in time and was stopped' "says so"
[ "$SECONDS" -lt 40 ]
ok $? "it was not waited for"
is "$(cat /tmp/hooks)" "after|$((first + 2))" "no checkpoint, after has run"
gives 8 "after hangs" dmrepl checkpoint p --after "sleep 60" --hook-timeout 500ms
gives 8 "before is not there" dmrepl checkpoint p --before "/nowhere/to be"
gives 2 "before is no words" dmrepl checkpoint p --before ""
rm -f /tmp/hooks
dmrepl checkpoint p --before "/bin/bash -c 'touch /tmp/before; sleep 2'" \
	--after "/tmp/hook after" >/dev/null 2>&1 &
wait_until 20 test -e /tmp/before
kill -TERM $!
wait $!
is "$(grep -c after /tmp/hooks)" 1 "after runs, too, when dmrepl gets SIGTERM"

# --- at intervals ----------------------------------------------------------------------

first=$(epoch p)
gives 0 "checkpoint --every --count" dmrepl checkpoint p --every 100ms --count 4
is "$(epoch p)" $((first + 4)) "four checkpoints"
dmrepl checkpoint p --every 100ms &
sleep 1
kill -TERM $!
wait $!
is $? 0 "a signal ends it well"
[ "$(epoch p)" -gt $((first + 6)) ]
ok $? "there were some"

# --- wait --------------------------------------------------------------------------------

(sleep 1; dmrepl checkpoint p) &
gives 0 "wait --for checkpoint" dmrepl wait p --for checkpoint --timeout 20s
wait
gives 6 "wait --for error, in vain" dmrepl wait p --for error --timeout 480ms
one_line "one line"
(sleep 1; dmsetup remove p-origin) &
gives 0 "wait --for error" dmrepl wait p --for error --timeout 20s
wait
gives 4 "checkpoint without an origin" dmrepl checkpoint p
like "$OUT" 'origin' "says what is missing"
gives 0 "errors" dmrepl errors p
like "$OUT" 'origin sector' "shows the error"
gives 0 "errors --clear" dmrepl errors p --clear
dmrepl remove p --yes

# --- mounts ------------------------------------------------------------------------------

new_pair m
mkfs.ext4 -q /dev/mapper/m-origin
dmrepl start m
mkdir -p /mnt/view
mount /dev/mapper/m /mnt/view
for command in checkpoint stop "promote --yes"; do
	# shellcheck disable=SC2086
	gives 5 "$command while the view is mounted" dmrepl $command m
	like "$OUT" 'm is mounted \(/mnt/view\): .* umount it, or give --force' "says where"
done
gives 0 "status --json" dmrepl status --json m
is "$(json '.pairs[0].mounted')" /mnt/view "status knows it, too"
umount /mnt/view
linear_disk upper /dev/mapper/m 32768
mount -o ro "$DISK" /mnt/view
gives 5 "checkpoint while something on the view is mounted" dmrepl checkpoint m
gives 0 "checkpoint --force" dmrepl checkpoint m --force
umount /mnt/view
dmsetup remove upper
gives 0 "checkpoint when nothing is mounted" dmrepl checkpoint m
mount /dev/mapper/m /mnt/view
echo mine >/mnt/view/file
gives 0 "failover while the view is mounted" dmrepl failover m --yes
gives 0 "wait for its end" dmrepl wait m --for "done" --timeout 60s
is "$(cat /mnt/view/file)" mine "the view was not disturbed"
umount /mnt/view
wait_until 20 grep -q 'state = done' /var/lib/dmrepl/m
ok $? "its end is noted though nobody waited"
dmrepl remove m --yes

# --- groups --------------------------------------------------------------------------------

new_pair g1 --group disks
new_pair g2 --group disks
gives 0 "start --all" dmrepl start g1 --all
is "$(dmrepl_stage g2)" running "the other one runs"
dmrepl guard g2 on
gives 4 "checkpoint --all, one is guarded" dmrepl checkpoint g1 --all
is "$(epoch g1)$(epoch g2)" 11 "none has changed"
dmrepl guard g2 off
gives 0 "checkpoint --all" dmrepl checkpoint g1 --all
is "$(epoch g1)$(epoch g2)" 22 "both have changed"
gives 0 "promote --all" dmrepl promote g2 --all --yes
is "$(dmrepl_stage g1) $(dmrepl_stage g2)" "done done" "both are promoted"
is "$(cat /var/lib/dmrepl/g1 /var/lib/dmrepl/g2 | grep -c 'state = done')" 2 "both are noted"
gives 0 "rejoin g1" dmrepl rejoin g1 --yes
dmrepl remove g1 --yes
dmrepl remove g2 --yes

# --- whose the record is ------------------------------------------------------------------

# state_of NAME: what the record says.
state_of()
{
	sed -n 's/^state = //p' "/var/lib/dmrepl/$1"
}

new_pair s --commit-rate-mib 1
gives 4 "rejoin of a pair that is not promoted" dmrepl rejoin s --yes
like "$OUT" 's is not promoted' "says so"
dmrepl start s
gives 5 "promote of a pair, not confirmed" dmrepl promote s
[ ! -e /var/lib/dmrepl/s ]
ok $? "no record"
stamp /dev/mapper/s 0x88 0 14m
flock -o /run/dmrepl/s.lock sleep 30 &
sleep 0.5
cp /etc/dmrepl.d/s.conf /tmp/s.conf
printf '[promotion]\nkind = failover\nstate = begun\ntime = now\n' >/var/lib/dmrepl/s
gives 5 "promote, not confirmed, while another one has recorded" dmrepl promote s
is "$(state_of s)" begun "the other one's record stays"
gives 7 "promote while another one has the lock" dmrepl promote s --yes
is "$(state_of s)" begun "the other one's record stays, too"
kill $!
wait $! 2>/dev/null
rm /var/lib/dmrepl/s
sed -i '/^secondary/s/=.*/= \/dev\/null/' /etc/dmrepl.d/s.conf
gives 4 "failover, and the file names another disk" dmrepl failover s --yes
is "$(dmrepl_stage s)" running "nothing is done"
cp /tmp/s.conf /etc/dmrepl.d/s.conf
gives 0 "failover" dmrepl failover s --yes
gives 4 "promote while it copies" dmrepl promote s --yes
is "$(sed -n 's/^kind = //p' /var/lib/dmrepl/s) $(state_of s)" "failover begun" \
	"its record stays as it was"
gives 4 "down while it copies" dmrepl down s --yes
like "$OUT" 'failover is under way; dmrepl down --wait s' "says what to do"
gives 0 "failover --wait waits for what another one has begun" dmrepl failover s --yes --wait
is "$(dmrepl_stage s) $(state_of s)" "done done" "it has ended"
rm /var/lib/dmrepl/s
gives 0 "failover again" dmrepl failover s --yes
is "$(state_of s)" "done" "a record that is missing is written"
gives 0 "rejoin" dmrepl rejoin s --yes
dmrepl start s
stamp /dev/mapper/s 0x99 0 3m
gives 0 "failover" dmrepl failover s --yes
gives 0 "down --wait" dmrepl down --wait s --yes
is "$(state_of s)" "done" "the end of it is recorded"
gives 0 "up" dmrepl up s
is "$(dmrepl_stage s)" "done" "it is promoted"

# A rejoin that is refused at its first step, one that is cut short, one that succeeds.
sed -i '/^active/s/=.*/= \/dev\/none/' /etc/dmrepl.d/s.conf
gives 1 "rejoin without a disk for the view" dmrepl rejoin s --yes
is "$(state_of s) $(dmrepl_stage s)" "done done" "it stays promoted"
cp /tmp/s.conf /etc/dmrepl.d/s.conf
sed '/^secondary/s/secondary/replica/; /^active/d; /^hidden/d; /^commit/d' /tmp/s.conf >/etc/dmrepl.d/s.conf
dmrepl down s
gives 4 "up of a promoted pair whose file is a primary's now" dmrepl up s
one_line "one line"
cp /tmp/s.conf /etc/dmrepl.d/s.conf
sed -i 's/^state = .*/state = rejoining/' /var/lib/dmrepl/s
gives 4 "up after a rejoin that was cut short" dmrepl up s
like "$OUT" 'its rejoin was cut short; dmrepl rejoin s again' "says what to do"
gives 0 "status --json" dmrepl status --json s
fits "it is as the schema says"
gives 0 "rejoin again" dmrepl rejoin s --yes
is "$(dmrepl_stage s)" none "it is a pair again"
[ ! -e /var/lib/dmrepl/s ]
ok $? "without a record"
dmrepl start s
gives 0 "promote" dmrepl promote s --yes
dmrepl down s
dmrepl up s
dmsetup remove s-origin
exec 9</dev/mapper/s
gives 4 "rejoin while the promoted disk is open" dmrepl rejoin s --yes
is "$(state_of s)" "done" "its record stays"
exec 9<&-
gives 0 "rejoin" dmrepl rejoin s --yes
dmrepl remove s --yes

# --- a failover that fails --------------------------------------------------------------

new_pair f
secondary=$(dmrepl status --json f | jsonget '.pairs[0].devices.secondary')
dmrepl start f
stamp /dev/mapper/f 0x77 0 64k
null_bad fsecondary +0-15
gives 1 "failover --wait onto a bad disk" dmrepl failover f --yes --wait
like "$OUT" 'nothing acknowledged is lost; mend the disk .* then dmrepl failover f again' "says what to do"
is "$(sed -n 's/^state = //p' /var/lib/dmrepl/f)" begun "the promotion is noted as begun"
gives 4 "wait --for done says so, too" dmrepl wait f --for "done" --timeout 5s
null_bad fsecondary -0-15
gives 0 "failover again" dmrepl failover f --yes --wait
expect "$secondary" 0x77 0 64k "the view's writes are there"
gives 0 "status --json" dmrepl status --json
fits "it is as the schema says"
dmrepl remove f --yes

# A crash in the middle: the note says begun, the disk is not to be trusted.
new_pair x
dmrepl start x
dmrepl down x --yes
sed 's/^state = .*/state = begun/' >/var/lib/dmrepl/x <<END
[promotion]
kind = failover
state = done
time = 2026-01-01T00:00:00Z
secondary = $(sed -n 's/^secondary = //p' /etc/dmrepl.d/x.conf)
END
gives 4 "up after a failover that was cut short" dmrepl up x
like "$OUT" 'may be partly new, partly old; replicate anew: dmrepl rejoin x' "says what to do"
gives 0 "status --json of a pair that is down" dmrepl status --json x
fits "it is as the schema says"
is "$(json '.pairs[0].stage') $(json '.pairs[0].promotion.state')" "down begun" "with its promotion"
gives 0 "rejoin" dmrepl rejoin x --yes
is "$(dmrepl_stage x)" none "the pair is there, to be replicated anew"
dmrepl remove x --yes
nothing_left "nothing is left in the end"
plan_end
