#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Runs at the end of each boot of the machine that tests/packages/run makes, with
# systemd and udev as Debian has them: makes a pair, promotes it, reboots, looks;
# ends the promotion, reboots, looks, fails over, reboots before that has ended, looks.

export LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin

check()
{
	if [ "$1" = "$2" ]; then
		echo "ok $3"
	else
		echo "nok $3"
		echo "# got: $1, not: $2"
	fi
}

state()
{
	dmrepl status "$1" | awk -v name="$1" '$1 == name { print $2 }'
}

# What anybody has tried to read of a device that cannot be read yet.
unreadable()
{
	local dev

	dev=$(basename "$(readlink -f "/dev/mapper/$1")")
	udevadm settle
	dmesg | grep -c "I/O error.* dev $dev,"
}

# What has a file system's UUID by its name, where it leads; nothing if nobody has.
by_uuid()
{
	udevadm settle
	readlink -e "/dev/disk/by-uuid/$(cat /root/uuid)"
}

next()
{
	echo "$1" >/root/phase
	sync
	systemctl --no-block reboot 2>/dev/null
	exit 0
}

first()
{
	vgcreate -qq vg /dev/vdb
	lvcreate -qq -y -L 64m -n db vg
	mkfs.ext4 -q /dev/vg/db
	blkid -p -s UUID -o value /dev/vg/db >/root/uuid
	# While udevd is still busy with lvcreate's event it does not see mkfs end.
	udevadm settle
	udevadm trigger -c change -w "$(readlink -f /dev/vg/db)"
	check "$(by_uuid)" "$(readlink -f /dev/vg/db)" "a disk is found by its file system's UUID"
	dmrepl create db --vg vg --secondary /dev/vg/db
	check $? 0 "a pair is made from a volume group"
	check "$(state db)" none "it is there"
	check "$(by_uuid)" "" "its disk is not found any more, nor the view that has not been started"
	check "$(unreadable db)" 0 "nobody has tried to read that"
	udevadm trigger -c change -w "$(readlink -f /dev/vg/db)"
	check "$(by_uuid)$(readlink -e /dev/vg/db | grep -c dm)" 1 "nor after one more event, which leaves LVM's name alone"
	systemctl enable -q dmrepl@db.service
	systemctl start dmrepl@db.service
	check $? 0 "its unit finds it up"
	mkdir -p /mnt/stream /mnt/view
	mount /dev/mapper/db-origin /mnt/stream
	echo one >/mnt/stream/state
	sync
	dmrepl start db
	check "$(by_uuid)" "$(readlink -f /dev/mapper/db)" "after it the view is, and only the view"
	echo two >/mnt/stream/state
	umount /mnt/stream
	mount "UUID=$(cat /root/uuid)" /mnt/view
	check "$(findmnt -no SOURCE /mnt/view) $(cat /mnt/view/state)" "/dev/mapper/db one" \
		"it can be mounted by UUID"
	umount /mnt/view
	dmrepl promote db --yes 2>/dev/null
	check "$(state db)" "done" "it is promoted"
	next second
}

second()
{
	check "$(systemctl is-active dmrepl@db.service)" active "after the reboot the unit is active"
	check "$(state db)" "done" "the pair is still promoted"
	check "$(dmsetup table db | cut -d ' ' -f 3)" linear "the disk has the view's name"
	check "$(dmsetup status db-origin | cut -d ' ' -f 4-6)" "origin alone fenced" \
		"the origin is fenced"
	dd if=/dev/zero of=/dev/mapper/db-origin bs=4096 count=1 oflag=direct 2>/dev/null
	check $? 1 "the old primary cannot write"
	check "$(by_uuid)" "$(readlink -f /dev/mapper/db)" "the disk is found by its UUID"
	mount /dev/mapper/db /mnt/view
	check "$(cat /mnt/view/state)" two "it has what the stream had written"
	echo three >/mnt/view/state
	umount /mnt/view
	dmrepl rejoin db --yes 2>/dev/null
	check "$(state db)" none "rejoin makes it a pair again"
	echo "autostart = on" >>/etc/dmrepl.d/db.conf
	systemctl enable -q --now dmrepl-checkpoint@db.timer
	echo "UUID=$(cat /root/uuid) /mnt/view ext4 ro,noload,nofail,x-systemd.requires=dmrepl@db.service,x-systemd.device-timeout=10min 0 0" \
		>>/etc/fstab
	next third
}

third()
{
	check "$(state db)" running "a pair that is not promoted comes up, and starts by itself"
	systemctl start mnt-view.mount	# or wait for it
	check "$(findmnt -no SOURCE /mnt/view)" /dev/mapper/db "its file system is mounted by /etc/fstab"
	check "$(cat /mnt/view/state)" three "what was written before rejoin is there"
	check "$(systemctl is-active dmrepl-checkpoint@db.timer)" active "the timer is set"
	umount /mnt/view
	systemctl start dmrepl-checkpoint@db.service
	check "$?" 0 "its service makes a checkpoint"
	check "$(dmsetup status db | cut -d ' ' -f 7)" 2 "the epoch has gone up"
	mkdir -p /var/lib/prometheus/node-exporter
	systemctl start dmrepl-metrics.service
	check "$(grep -c '^dm_replication_epoch{pair="db"} 2$' /var/lib/prometheus/node-exporter/dmrepl.prom)" 1 \
		"node_exporter's file has its figures"
	mount /dev/mapper/db-origin /mnt/stream
	echo four >/mnt/stream/state
	head -c 12M /dev/urandom >/mnt/stream/much
	umount /mnt/stream
	dmrepl set db commit_rate_mib 1 2>/dev/null
	dmrepl failover db --yes 2>/dev/null
	check "$(state db)" failover "it fails over, and the machine reboots before it is through"
	next fourth
}

fourth()
{
	check "$(systemctl is-active dmrepl@db.service)" active "after that reboot the unit is active, too"
	check "$(state db)" "done" "the shutdown has waited for the failover's end"
	check "$(dmsetup status db-origin | cut -d ' ' -f 4-6)" "origin alone fenced" \
		"and its origin fenced"
	systemctl start mnt-view.mount
	check "$(findmnt -no SOURCE /mnt/view)" /dev/mapper/db "its file system is mounted"
	check "$(cat /mnt/view/state)" three "what the stream had written since the checkpoint is undone"
	umount /mnt/view
	dmrepl rejoin db --yes 2>/dev/null
	check "$(state db)" running "rejoin makes it a pair, which starts by itself"
	check "$(dpkg --remove dmrepl 2>&1 | grep -c 'these pairs are still up: db;')" 1 \
		"who removes the package is told that a pair is up"
	check "$(dmsetup status db | cut -d ' ' -f 5)" running "and it stays up"
	dpkg -i /packages/dmrepl_*.deb >/dev/null 2>&1
	check "$(state db)" running "with the package back it is steered again"
	dpkg -i /packages/dmrepl_*.deb >/dev/null 2>&1
	check "$(systemctl is-active dmrepl@db.service) $(dmsetup ls | grep -c '^db')" "active 2" \
		"an upgrade leaves it and its unit alone"
	systemctl stop dmrepl@db.service
	check "$(dmsetup ls | grep -c '^db')" 0 "stopping the unit takes the pair down"
	dmrepl remove db --volumes --yes
	check "$(lvs --noheadings -o lv_name vg | xargs)" db "remove leaves the replica alone"
	check "$(by_uuid)" "$(readlink -f /dev/vg/db)" "which is found by its UUID again"
	echo end
	sync
	systemctl --no-block poweroff 2>/dev/null
}

"$(cat /root/phase 2>/dev/null || echo first)"
