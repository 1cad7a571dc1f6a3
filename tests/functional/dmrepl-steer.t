#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# vm: --smp 2 --mem 768 --timeout 300
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
	local name=$1 role disks=()

	shift
	for role in active hidden secondary; do
		null_disk "$name$role" 16
		disks+=("--$role" "$DISK")
	done
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
gives 6 "wait --for error, in vain" dmrepl wait p --for error --timeout 300ms
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
like "$OUT" 'partly new, partly old; replicate anew: dmrepl rejoin x' "says what to do"
gives 0 "status --json of a pair that is down" dmrepl status --json x
fits "it is as the schema says"
is "$(json '.pairs[0].stage') $(json '.pairs[0].promotion.state')" "down begun" "with its promotion"
gives 0 "rejoin" dmrepl rejoin x --yes
is "$(dmrepl_stage x)" none "the pair is there, to be replicated anew"
dmrepl remove x --yes
nothing_left "nothing is left in the end"
plan_end
