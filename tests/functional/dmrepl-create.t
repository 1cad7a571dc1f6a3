#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# vm: --smp 2 --mem 768 --timeout 600
#
# dmrepl create: volumes thick and thin, trimmed to the replica's length; killed
# at any moment; two at once.

# shellcheck source=tests/lib/guest.sh
. "$(dirname "$0")/../lib/guest.sh"
# shellcheck source=tests/lib/dmrepl.sh
. "$(dirname "$0")/../lib/dmrepl.sh"

null_disk pv 128
vgcreate -qq vg "$DISK" || bail "no volume group"
lvcreate -qq -L 40m --thinpool pool vg || bail "no thin pool"
null_disk replica 9
# Not a whole number of extents.
linear_disk replica "$DISK" 16392
replica=$DISK

# --- thick, thin, trimmed --------------------------------------------------------

gives 0 "create with volumes, --dry-run" dmrepl create t --vg vg --size 8m --dry-run
like "$OUT" "lvcreate .*--addtag dmrepl.t --name t_secondary --size 16384s vg" "prints LVM's lines"
like "$OUT" "'0 16384 replication secondary /dev/vg/t_active /dev/vg/t_hidden /dev/vg/t_secondary'" \
	"and dmsetup's"
nothing_left "and does nothing"

gives 0 "create with thick volumes" dmrepl create t --vg vg --size 9m
is "$(lvs --noheadings -o lv_name,lv_size --units s vg | grep t_ | xargs)" \
	"t_active 24576S t_hidden 24576S t_secondary 24576S" "three volumes, whole extents"
is "$(ls /var/lib/dmrepl/.creating)" "" "what it had written down is forgotten"
gives 0 "start" dmrepl start t
gives 2 "remove --volumes of another" dmrepl remove nobody1 --volumes extra
gives 0 "remove --volumes" dmrepl remove t --volumes --yes
is "$(lvs --noheadings -o lv_name vg | xargs)" "pool t_secondary" "secondary stays"
lvremove -qq -y vg/t_secondary

gives 0 "create with thin volumes for a replica" dmrepl create t --vg vg --thin pool \
	--secondary "$replica" --discard-passdown
is "$(lvs --noheadings -o lv_name,pool_lv vg | grep t_ | xargs)" "t_active pool t_hidden pool" \
	"two thin volumes"
is "$(blockdev --getsz /dev/mapper/t)" 16392 "the view is as long as the replica"
is "$(dmsetup table t-active)" "0 16392 linear $(numbers /dev/vg/t_active) 0" "active is trimmed"
is "$(dmsetup info -c --noheadings -o uuid t-hidden)" DMREPL-part-t-hidden "so is hidden"
gives 0 "start" dmrepl start t
stamp /dev/mapper/t-origin 0x11 0 64k
stamp /dev/mapper/t 0x22 8388608 4k
expect /dev/mapper/t 0x22 8388608 4k "the view's last block can be written" ||
	diag "the end: $(blockdev --getsize64 /dev/mapper/t)"
gives 0 "down" dmrepl down t --yes
gives 0 "up" dmrepl up t
gives 0 "remove --volumes" dmrepl remove t --volumes --yes
nothing_left "nothing is left"

gives 1 "a volume group that is not there" dmrepl create t --vg none --size 8m
one_line "one line"
gives 1 "too large" dmrepl create t --vg vg --size 1g
nothing_left "nothing is left of what LVM refused"
lvcreate -qq -L 4m -n t_hidden vg
gives 1 "a volume of somebody else's has the name" dmrepl create t --vg vg --size 8m
is "$(lvs --noheadings -o lv_name vg | xargs)" "pool t_hidden" "it is kept, the others are undone"
lvremove -qq -y vg/t_hidden

# A volume that somebody else's tag is on is not removed.
gives 0 "create" dmrepl create t --vg vg --size 8m
lvchange -qq --deltag dmrepl.t vg/t_active
gives 0 "remove --volumes without the tag" dmrepl remove t --volumes --yes
like "$OUT" 'vg/t_active is kept: it has no tag' "says that it is kept"
is "$(lvs --noheadings -o lv_name vg | xargs)" "pool t_active t_secondary" "it is"
lvremove -qq -y vg/t_active vg/t_secondary

# A volume with a tag that only begins like ours.
gives 0 "create" dmrepl create t --vg vg --size 8m
lvchange -qq --deltag dmrepl.t --addtag dmrepl.t2 vg/t_active
gives 0 "remove --volumes with another pair's tag" dmrepl remove t --volumes --yes
is "$(lvs --noheadings -o lv_name vg | xargs)" "pool t_active t_secondary" "that one is kept"
lvremove -qq -y vg/t_active vg/t_secondary

# A pair that is up and has no file is not create's to undo.
null_disk own 48
base=$DISK
linear_disk own1 "$base" 16384
linear_disk own2 "$base" 16384 16384
linear_disk own3 "$base" 16384 32768
linear_disk own4 "$base" 16384 49152
linear_disk own5 "$base" 16384 65536
linear_disk own6 "$base" 16384 81920
other=(--active /dev/mapper/own4 --hidden /dev/mapper/own5 --secondary /dev/mapper/own6)
own=(--active /dev/mapper/own1 --hidden /dev/mapper/own2 --secondary /dev/mapper/own3)
gives 0 "create --transient" dmrepl create t --transient "${own[@]}"
gives 1 "create of the same name" dmrepl create t --vg vg --size 8m
one_line "one line"
is "$(lvs --noheadings -o lv_name vg | xargs) $(dmrepl_stage t)" "pool none" \
	"nothing is made, the pair is still there"
gives 0 "remove" dmrepl remove t --yes
dm_make t-origin "0 8 zero"
gives 1 "create, and somebody else's device has a name of its" dmrepl create t --vg vg --size 8m
nothing_left "nothing is left of it"
dmsetup remove t-origin
mount -t tmpfs -o ro tmpfs /etc/dmrepl.d
gives 1 "create, and its file cannot be written" dmrepl create t --vg vg --size 8m
umount /etc/dmrepl.d
nothing_left "all is undone, first the devices, then the volumes below them"

# A record of a pair that is gone is not taken for the new one's.
mkdir -p /var/lib/dmrepl
printf '[promotion]\nkind = promote\nstate = done\n' >/var/lib/dmrepl/t
gives 1 "create over an old promotion" dmrepl create t "${own[@]}"
like "$OUT" 'dmrepl remove t forgets it' "says what to do"
gives 0 "remove of the record" dmrepl remove t --yes
nothing_left "it is forgotten"
gives 0 "then create" dmrepl create t "${own[@]}"
gives 0 "remove" dmrepl remove t --yes

# Names that files of dmrepl's own have had.
for name in t.new creating; do
	gives 0 "create $name" dmrepl create "$name" "${own[@]}"
	dmrepl start "$name"
	gives 0 "promote $name" dmrepl promote "$name" --yes
	gives 0 "down $name" dmrepl down "$name"
	gives 0 "create another" dmrepl create t "${other[@]}"
	dmrepl start t
	gives 0 "promote another" dmrepl promote t --yes
	gives 0 "remove another" dmrepl remove t --yes
	gives 0 "up $name" dmrepl up "$name"
	is "$(dmrepl_stage "$name")" "done" "it is promoted still"
	gives 0 "remove $name" dmrepl remove "$name" --yes
done
for i in 1 2 3 4 5 6; do
	dmsetup remove "own$i"
done

# --- killed ------------------------------------------------------------------------

# A create that is killed by what stands for lvcreate, before or after the real
# one has made volume number $at.
mkdir -p /usr/local/sbin
cat >/usr/local/sbin/lvcreate <<'END'
#!/bin/bash
n=$(($(cat /tmp/lvcreates) + 1))
echo $n >/tmp/lvcreates
[ "$n.before" = "$(cat /tmp/kill)" ] && kill -9 $PPID && exit 1
/usr/sbin/lvcreate "$@" || exit
[ "$n.after" = "$(cat /tmp/kill)" ] && kill -9 $PPID
[ "$n.term" = "$(cat /tmp/kill)" ] && kill -TERM $PPID
exit 0
END
chmod +x /usr/local/sbin/lvcreate

for at in 1.before 1.after 2.after 3.before 3.after; do
	echo 0 >/tmp/lvcreates
	echo $at >/tmp/kill
	gives 137 "create is killed at $at" dmrepl create t --vg vg --size 8m
	gives 1 "another create at once" dmrepl create t --vg vg --size 8m
	like "$OUT" 'a create was cut short; dmrepl remove t takes down' "says how to clean up"
	gives 0 "remove cleans up" dmrepl remove t --yes
	nothing_left "nothing is left"
done
for at in 1.term 3.term; do
	echo 0 >/tmp/lvcreates
	echo $at >/tmp/kill
	gives 1 "create gets SIGTERM at $at" dmrepl create t --vg vg --size 8m
	nothing_left "it has undone all itself"
done
rm /usr/local/sbin/lvcreate

# At any moment: the longer the delay, the further it came.
for ((i = 1; i <= 12; i++)); do
	dmrepl create t --vg vg --size 8m >/dev/null 2>&1 &
	sleep "0.$((i * 8 + 3))"
	kill -9 $! 2>/dev/null
	wait $! 2>/dev/null
	if [ -e /etc/dmrepl.d/t.conf ]; then
		dmrepl remove t --volumes --yes >/dev/null 2>&1
		lvremove -qq -y vg/t_secondary 2>/dev/null
	else
		dmrepl remove t --yes >/dev/null 2>&1
	fi
	nothing_left "killed after ${i} times 80 ms: remove leaves nothing"
done
is "$(lvs --noheadings -o lv_name vg | xargs)" pool "no volume is left"

# --- two at once -----------------------------------------------------------------------

null_disk a 8
a=$DISK
null_disk h 8
h=$DISK
null_disk s 8
s=$DISK
for i in 1 2 3 4; do
	dmrepl create two --active "$a" --hidden "$h" --secondary "$s" >/tmp/out.$i 2>&1 &
	pids[i]=$!
done
won=0
for i in 1 2 3 4; do
	if wait "${pids[i]}"; then
		won=$((won + 1))
	fi
done
is "$won" 1 "one of four creates of a name succeeds"
is "$(cat /tmp/out.* | grep -c 'two.conf already')" 3 "the others say why not"
mkdir -p /run/dmrepl
flock /run/dmrepl/two.lock sleep 30 &
sleep 0.5
gives 7 "a lock that somebody keeps" dmrepl down two
one_line "one line"
kill $!
wait $! 2>/dev/null
# Other names are not concerned.
for i in 1 2 3; do
	dmrepl down two >/dev/null 2>&1 &
	pids[i]=$!
done
wait "${pids[@]}"
gives 0 "remove" dmrepl remove two --yes
nothing_left "nothing is left in the end"
plan_end
