#!/bin/busybox sh
# First process of the machine that test/vm boots. It runs twice: in the
# kernel's first root, which containers can't pivot away from, and then in a
# tmpfs that holds the same. What it prints on ttyS1 is read by the program that
# booted the machine; the kernel's messages and complaints of this script go to
# ttyS0.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root

first_root() {
	/bin/busybox mount -t tmpfs -o size=90%,mode=755 root /new
	for f in /*; do
		[ "$f" = /new ] || /bin/busybox cp -a "$f" /new/
	done
	exec /bin/busybox switch_root /new /init
}

# base makes what any Linux system has.
base() {
	/bin/busybox mkdir -p /dev /proc /sys /run /tmp /var/tmp
	/bin/busybox mount -t devtmpfs dev /dev
	/bin/busybox --install -s /bin
	mount -t proc proc /proc
	mount -t sysfs sysfs /sys
	mkdir -p /dev/pts /dev/shm /dev/mqueue
	mount -t devpts -o gid=5,mode=620 devpts /dev/pts
	mount -t tmpfs -o mode=1777 shm /dev/shm
	mount -t mqueue mqueue /dev/mqueue
	ln -sf /proc/self/fd /dev/fd
	chmod 1777 /tmp /var/tmp
	hostname vm
	ip link set lo up
	ulimit -n 65536
	while read -r module; do
		insmod "$module" || echo "init: $module is not inserted"
	done </modules/order
	rm -r /modules
}

v1() {
	mount -t tmpfs -o mode=755 cgroups /sys/fs/cgroup
	for c in cpu cpuacct cpuset memory devices freezer blkio pids; do
		mkdir "/sys/fs/cgroup/$c"
		mount -t cgroup -o "$c" cgroup "/sys/fs/cgroup/$c"
	done
	mkdir /sys/fs/cgroup/systemd
	mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd
}

v2() { mount -t cgroup2 -o nsdelegate cgroup2 /sys/fs/cgroup; }

# controllers DIR: give the cgroups in DIR all the controllers that it has.
controllers() {
	for c in $(cat "$1/cgroup.controllers"); do
		echo "+$c" >"$1/cgroup.subtree_control"
	done
}

# cgroups mounts the layout that is asked for, and puts the tests where a
# program that is started there finds itself.
cgroups() {
	case $cgroup in
	v2) v2 ;;
	scope)
		v2
		mkdir -p /sys/fs/cgroup/user.slice/session-1.scope
		controllers /sys/fs/cgroup
		controllers /sys/fs/cgroup/user.slice
		echo $$ >/sys/fs/cgroup/user.slice/session-1.scope/cgroup.procs
		;;
	container)
		v2
		mkdir /sys/fs/cgroup/box
		controllers /sys/fs/cgroup
		echo $$ >/sys/fs/cgroup/box/cgroup.procs
		exec /usr/sbin/unshare --cgroup --mount --propagation private /init in-container
		;;
	v1) v1 ;;
	hybrid)
		v1
		mkdir /sys/fs/cgroup/unified
		mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified
		;;
	esac
}

# suites runs the test binaries, each in its package's directory.
suites() {
	stty raw -echo </dev/ttyS1 # what tests print must arrive as it was
	for suite in $suites; do
		cd "/suites/$suite" || return
		echo "vm: begin $suite"
		flags timeout -s QUIT -k 10 "$bound" ./suite.test
		echo "vm: end $suite $?"
	done </dev/null >/dev/ttyS1 2>&1
	echo "vm: over" >/dev/ttyS1
}

if [ -d /new ]; then
	first_root
fi
trap 'poweroff -f' EXIT
if [ "$1" != in-container ]; then
	base
	. /settings
	cgroups
else
	# The root of the namespace is seen once the file system is mounted in it.
	umount /sys/fs/cgroup
	v2
	. /settings
fi
suites
