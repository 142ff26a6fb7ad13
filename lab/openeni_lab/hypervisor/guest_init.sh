#!/bin/sh
# The first program of a user-mode kernel: sh guest_init.sh FOLDER exec|run|talk [SHARED]
# An emulated kernel, which sets `emulated`, starts it with `run`.
#
# The root is the host's file system, read-only, under an overlay on tmpfs: the guest may write
# everywhere and nothing reaches the host, except into SHARED, which is the host's own folder.
# Then FOLDER/command is executed as process 1 (exec), or run with consoles as its standard output
# and error, and its exit code written to a third one: whoever reads that ends this kernel. `talk`
# makes the first one its controlling terminal.
folder=$1 what=$2 shared=$3
if [ -n "$emulated" ]; then
    output=/dev/ttyS0 errors=/dev/ttyS0 messages=/dev/ttyS1
    kind=9p options=trans=virtio,version=9p2000.L
else
    output=/dev/tty0 errors=/dev/tty1 messages=/dev/tty2
    kind=hostfs options=$shared
fi
# No program can be counted on to do this: a minimal system has no init of its own.
power_off() {
    echo o > /proc/sysrq-trigger # in the background (drivers/tty/sysrq.c: sysrq_handle_poweroff)
    while :; do sleep 1; done
}
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root

if [ "$4" != inside ]; then
    mount -t tmpfs -o mode=755 root /run && mkdir /run/upper /run/work /run/root &&
        mount -t overlay -o lowerdir=/,upperdir=/run/upper,workdir=/run/work root /run/root &&
        cd /run/root && mkdir -p run/host && pivot_root . run/host &&
        exec chroot . /bin/sh "$0" "$folder" "$what" "$shared" inside
    echo "the guest cannot make its root" >&2
    mount -t proc proc /proc && power_off
fi

mount -t proc proc /proc
umount -l /run/host
mount -t sysfs sys /sys
mount -t tmpfs -o mode=755 run /run
mkdir -p /run/lock /run/netns
mount -t devtmpfs dev /dev
mkdir -p /dev/shm /dev/pts
mount -t tmpfs -o mode=1777 shm /dev/shm
mount -t devpts -o ptmxmode=666,mode=620,gid=5 pts /dev/pts
ln -sf pts/ptmx /dev/ptmx
ln -sf /proc/self/fd /dev/fd
mount -t cgroup2 cgroup /sys/fs/cgroup
# What a node keeps must not lie on an overlay: containerd and the kubelet mount below it.
for kept in kubelet containerd cni; do
    mkdir -p /var/lib/$kept
    mount -t tmpfs -o mode=755 $kept /var/lib/$kept
done
mount -t tmpfs -o mode=755 log /var/log
# The kubelet wants a clock speed; user-mode Linux has none.
{ cat /proc/cpuinfo; echo "cpu MHz : 2000.000"; } > /run/cpuinfo
mount --bind /run/cpuinfo /proc/cpuinfo
# Mounted directly: a file that the host replaces later is seen at once, which the overlay misses.
[ -z "$shared" ] || mount -t $kind -o "$options" shared "$shared"
ip link set lo up
mount --make-rshared / # as systemd does: a runtime passes later mounts on to containers

if [ "$what" = exec ] && [ -n "$shared" ]; then
    mkdir -p "$shared/pods" /var/log/pods
    mount --bind "$shared/pods" /var/log/pods
fi
[ "$what" != exec ] || exec /bin/sh "$folder/command"
command=$(cat "$folder/command")
stty -F $errors raw -echo
stty -F $messages raw -echo
echo openeni-guest-started > $messages
exec 2> /dev/null # the shell's own words about a command that a signal ended
if [ "$what" = talk ]; then
    (exec setsid -c sh -c "$command" < $output > $output 2> $errors)
else
    stty -F $output raw -echo
    (exec setsid sh -c "$command" < /dev/null > $output 2> $errors)
fi
code=$?
for console in $output $errors; do
    stty -F $console raw -echo # returns when all that was written has left the guest
done
echo "openeni-guest-exit $code" > $messages
power_off
