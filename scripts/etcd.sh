#!/bin/sh
# Fetches etcd from Debian into DIR, as the root of an image: the programs, the C
# library that they need, and busybox for a shell. DIR is there with all of it or
# not at all. Needs apt and busybox-static.
set -eu
umask 022
dir=$1
apt=$(cd "$(dirname "$0")" && pwd)/apt.sh
tmp=$(mktemp -d)
new=$dir.new
trap 'rm -rf "$tmp" "$new"' EXIT
cd "$tmp"
# The package lists may be missing, or name what the mirror has no longer.
apt-get -qq download etcd-server etcd-client >/dev/null 2>&1 ||
	{ "$apt" update && "$apt" download etcd-server etcd-client; }
cd "$OLDPWD"
for package in "$tmp"/*.deb; do
	dpkg -x "$package" "$tmp/root"
done
rm -rf "$new"
mkdir -p "$new/bin"
cp "$tmp/root/usr/bin/etcd" "$tmp/root/usr/bin/etcdctl" "$(command -v busybox)" "$new/bin/"
for library in $(ldd "$new/bin/etcd" | awk '$(NF-1) ~ /^\// { print $(NF-1) }'); do
	install -D "$library" "$new$library"
done
rm -rf "$dir"
mv "$new" "$dir"
