#!/bin/busybox sh
# PID 1 of the guest: prepares the system, runs one command, reports its exit code, powers off.
# The command and its surroundings come in /xtask (see guest.rs); what stands between the two marks
# on the second serial line is the command's output; the first is the kernel's own.

export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=linux
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts -o ptmxmode=666 devpts /dev/pts
ln -sf /proc/self/fd /dev/fd
for dir in /dev/shm /tmp /run; do mount -t tmpfs tmpfs $dir; done
mount -t tracefs tracefs /sys/kernel/tracing
mount -t debugfs debugfs /sys/kernel/debug
mount -t bpf bpf /sys/fs/bpf
hostname skbtrace
ip link set lo up
mkdir -p /run/lock /run/netns

. /xtask/settings
export TERM
[ -z "$DISK" ] || modprobe -a virtio_pci virtio_blk ext4
# The network device becomes eth0.
[ -z "$CABLE" ] || modprobe -a virtio_pci virtio_net

console=/dev/ttyS1
# Held open: a terminal forgets its size when nobody has it open.
exec 3<> $console
stty -F $console rows "$ROWS" cols "$COLS"
cd /root
if [ -n "$INTERACTIVE" ]; then
    echo "$MARK start" > $console
    # A session with the console as its terminal, for Ctrl-C and job control.
    busybox setsid -c /xtask/command < $console > $console 2>&1 3>&-
    code=$?
else
    # A pipe, so that programs see what they would see in `xtask … | less`: no terminal.
    stty -F $console -onlcr
    mkfifo /run/output
    cat /run/output > $console 3>&- &
    reader=$!
    echo "$MARK start" > $console
    busybox setsid /xtask/command < /dev/null > /run/output 2>&1 3>&-
    code=$?
    # The reader ends with the last writer; something left in the background must not hold us up.
    tries=0
    while kill -0 $reader 2>/dev/null && [ $tries -lt 100 ]; do
        usleep 10000
        tries=$((tries + 1))
    done
    kill $reader 2>/dev/null
fi
echo "$MARK end $code." > $console
poweroff -f
