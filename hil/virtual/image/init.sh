#!/bin/busybox sh
# The initial RAM disk's only program: load what the root's disk needs, mount it, hand over.
b=/bin/busybox
die() {
	echo "touchline initrd: $1"
	$b sync
	$b poweroff -f
}
$b mount -t proc proc /proc
$b mount -t sysfs sys /sys
$b mount -t devtmpfs dev /dev
while read -r module; do
	$b insmod "/mod/$module" || echo "touchline initrd: $module refused to load"
done </mod/order
waited=0
while [ ! -b /dev/vda ]; do
	[ $waited -lt 200 ] || die "no root disk (/dev/vda) after 10 s"
	waited=$((waited + 1))
	$b usleep 50000
done
# ext4 replays its journal when mounted
$b mount -t ext4 -o rw,noatime /dev/vda /root || die "the root file system on /dev/vda cannot be mounted"
[ -L /root/sbin/init ] || [ -x /root/sbin/init ] || die "the root file system has no /sbin/init"
for folder in dev proc sys; do
	$b mount --move /$folder /root/$folder
done
exec $b switch_root /root /sbin/init
