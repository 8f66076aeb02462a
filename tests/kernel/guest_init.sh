#!/bin/sh
# SPDX-License-Identifier: MIT
# The first process of the guest (see boot.sh): sets up what programs expect, runs /main, whose output and status go to the
# second serial line, and turns the machine off. The first serial line is the kernel's alone.
export PATH=/bin:/usr/bin HOME=/root TERM=dumb
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/shm /dev/pts /tmp /root
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mount -t tmpfs -o mode=1777 tmpfs /tmp
mount -t devpts devpts /dev/pts
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t debugfs debugfs /sys/kernel/debug
mount -t tracefs tracefs /sys/kernel/tracing
ln -s /proc/self/fd /dev/fd
ip link set lo up
ulimit -c 0
stty -F /dev/ttyS1 raw -echo
if [ -e /shell ]; then
	insmod /mqshm.ko
	setsid cttyhack sh
else
	sh /main > /dev/ttyS1 2>&1 < /dev/null
	echo "main ended with status $?" > /dev/ttyS1
	stty -F /dev/ttyS1 raw # waits until the line is empty, also when somebody still has it open
fi
sync
reboot -f
