. /repo/tests/lib/guest.sh
null_disk pv 64
cat >/tmp/nbd.conf <<X
[generic]
    listenaddr = 127.0.0.1
[replica]
    exportname = $DISK
X
ulimit -n; ulimit -n 256
time nbd-server --help >/dev/null 2>&1
nbd-server -C /tmp/nbd.conf -p /run/nbd.pid -d & 
for i in 1 2 3 4 5 6; do sleep 0.5; for p in $(pgrep nbd-server); do cut -d' ' -f1,2,3,14,15 /proc/$p/stat; cat /proc/$p/syscall; done; done
modprobe nbd nbds_max=1
 (time nbd-client 127.0.0.1 10809 /dev/nbd0 -N replica -b 512) & 
for i in 1 2 3 4 5 6; do sleep 0.5; for p in $(pgrep nbd-); do cut -d' ' -f1,2,3,14,15 /proc/$p/stat; cat /proc/$p/syscall; done; done
for p in $(pgrep nbd-server); do cat /proc/$p/maps | grep -E 'r-xp'; done
