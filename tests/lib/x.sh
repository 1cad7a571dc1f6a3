. /repo/tests/lib/guest.sh
set -x
null_disk pv 600 ; 
pvcreate -q $DISK; vgcreate -q standby $DISK; lvs
time for l in secondary active hidden; do lvcreate -q -y -Wn -Zn -L 128M -n $l standby; done; lvs; ls -la /dev/standby /dev/mapper
dm_make origin "0 $(sectors /dev/standby/secondary) linear /dev/standby/secondary 0"
mkdir -p /etc/nbd-server; cat >/tmp/nbd.conf <<X
[generic]
    user = root
    group = root
    listenaddr = 127.0.0.1
    port = 10809
    allowlist = true
[replica]
    exportname = /dev/mapper/origin
    flush = true
    fua = true
    sync = false
    trim = true
X
nbd-server -C /tmp/nbd.conf -p /run/nbd.pid; echo rc=$?; sleep 1
modprobe nbd nbds_max=2; time nbd-client 127.0.0.1 10809 /dev/nbd0 -N replica -b 512; echo rc=$?
cat /run/nbd.pid; ps ax | grep nbd
time mkfs.ext4 -q /dev/nbd0; mkdir /primary; mount /dev/nbd0 /primary
time tar -C /primary -xf /dev/zero 
time dd if=/dev/zero of=/primary/big bs=1M count=40 conv=fsync
time sha256sum /primary/big
time sha256sum /dev/standby/secondary
time cksum -a sha1 /primary/big
cat /proc/meminfo | head -3
kill -9 $(cat /run/nbd.pid) ; pkill -9 nbd-server; dd if=/dev/zero of=/primary/big2 bs=1M count=4 conv=fsync; umount /primary; nbd-client -d /dev/nbd0
