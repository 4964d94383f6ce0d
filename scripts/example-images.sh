#!/usr/bin/env bash
# Makes, in the directory OUT, images of real software for examples/ from
# Debian's packages: OUT/NAME/root.tar and OUT/NAME/image.json, which
# test/registry serves. They behave as the images of the same name on Docker Hub
# do, as far as the examples use them.
#
#   scripts/example-images.sh OUT
#
# What is there already, made by the same script, is kept. Needs root, apt, and
# busybox-static. Downloads some 140 MB.
set -euo pipefail
umask 022 # who runs in the images is not root everywhere
here=$(cd "$(dirname "$0")" && pwd)
out=${1:?usage: example-images.sh OUT}
mkdir -p "$out"
out=$(cd "$out" && pwd)
stamp=$(sha256sum "$here/example-images.sh" | cut -c1-16)
[[ -f $out/stamp && $(<"$out/stamp") == "$stamp" ]] && exit 0
rm -rf "$out"/*
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# root NAME PACKAGE…: unpacks the packages, and all that they depend on, into a
# root of their own. Nothing is installed: no script of a package runs.
root() {
	local name=$1 debs=$work/$1.debs deb
	shift
	mkdir -p "$debs/partial" "$out/$name"
	root=$work/$name
	mkdir -p "$root"/{usr/{bin,sbin,lib,lib64},etc,tmp,run,root,proc,dev,sys,var/tmp}
	for dir in bin sbin lib lib64; do ln -s "usr/$dir" "$root/$dir"; done
	mkdir -p "$root/var" && ln -s /run "$root/var/run"
	: >"$debs/status" # as if nothing were installed
	"$here/apt.sh" -qq -y --download-only --no-install-recommends -o Dir::State::status="$debs/status" \
		-o Dir::Cache::archives="$debs" -o Debug::NoLocking=true -o APT::Sandbox::User=root install "$@"
	for deb in "$debs"/*.deb; do
		dpkg-deb --fsys-tarfile "$deb" | tar -x --keep-directory-symlink -C "$root"
	done
	rm -rf "$root"/usr/share/{doc,man,info,locale,lintian,bash-completion,perl} "$root"/usr/lib/*/perl* "$root/var/lib/apt"
	cp "$(command -v busybox)" "$root/usr/bin/busybox"
	for applet in $("$root/usr/bin/busybox" --list); do
		[[ -e $root/usr/bin/$applet || -L $root/usr/bin/$applet || -e $root/usr/sbin/$applet ]] || ln -s busybox "$root/usr/bin/$applet"
	done
	ln -sf busybox "$root/usr/bin/sh"
	chmod 1777 "$root/tmp" "$root/var/tmp"
	printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n' >"$root/etc/passwd"
	printf 'root:x:0:\nnogroup:x:65534:\n' >"$root/etc/group"
}

# user NAME ID: adds a user with a group of its own.
user() {
	echo "$1:x:$2:$2:$1:/:/bin/sh" >>"$root/etc/passwd"
	echo "$1:x:$2:" >>"$root/etc/group"
}

# image NAME CONFIG: packs the root. CONFIG is the config of an OCI image.
image() {
	tar --numeric-owner -C "$root" -cf "$out/$1/root.tar" .
	echo "$2" >"$out/$1/image.json"
	echo "$1: $(($(stat -c %s "$out/$1/root.tar") >> 20)) MB"
	rm -rf "$root" "$work/$1.debs"
}

path=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

"$here/apt.sh" update

root python python3 python3-pip
ln -sf python3 "$root/usr/bin/python"
rm -f "$root"/usr/lib/python3*/EXTERNALLY-MANAGED # pip is to work, as in python:3
image python '{"Cmd": ["python3"], "Env": ["PATH='$path'"]}'

root redis redis-server
user redis 999
mkdir -p "$root/data"
chown 999:999 "$root/data"
image redis '{"Cmd": ["redis-server"], "User": "redis", "WorkingDir": "/data", "Env": ["PATH='$path'"]}'

root nginx nginx-light
user www-data 33
rm -rf "$root"/etc/nginx/sites-enabled "$root"/etc/nginx/modules-enabled
mkdir -p "$root"/var/{log,lib}/nginx
ln -sf /dev/stdout "$root/var/log/nginx/access.log"
ln -sf /dev/stderr "$root/var/log/nginx/error.log"
image nginx '{"Cmd": ["nginx", "-g", "daemon off;"], "StopSignal": "SIGQUIT", "Env": ["PATH='$path'"]}'

root postgres postgresql-15
user postgres 999
rm -rf "$root"/usr/lib/*/libLLVM* "$root"/usr/lib/postgresql/15/lib/{llvmjit*,bitcode} # compiles queries; works without
mkdir -p "$root/docker-entrypoint-initdb.d" "$root/var/lib/postgresql/data" "$root/run/postgresql"
chown -R 999:999 "$root/var/lib/postgresql" "$root/run/postgresql"
cat >"$root/usr/bin/docker-entrypoint.sh" <<'EOF'
#!/bin/sh
# Makes the database at the first start, with what is in docker-entrypoint-initdb.d.
set -eu
if [ ! -s "$PGDATA/PG_VERSION" ]; then
	: "${POSTGRES_PASSWORD:?is not set}" "${POSTGRES_USER:=postgres}" "${POSTGRES_DB:=$POSTGRES_USER}"
	printf '%s\n' "$POSTGRES_PASSWORD" >/tmp/password
	initdb -D "$PGDATA" -U "$POSTGRES_USER" --pwfile=/tmp/password --locale=C --encoding=UTF8 \
		--auth-local=trust --auth-host=scram-sha-256
	rm /tmp/password
	echo 'host all all all scram-sha-256' >>"$PGDATA/pg_hba.conf"
	pg_ctl -D "$PGDATA" -w -o "-c listen_addresses=''" start
	[ "$POSTGRES_DB" = postgres ] || createdb -U "$POSTGRES_USER" "$POSTGRES_DB"
	for file in /docker-entrypoint-initdb.d/*.sql; do
		[ -e "$file" ] || continue
		echo "running $file"
		psql -v ON_ERROR_STOP=1 -U "$POSTGRES_USER" -d "$POSTGRES_DB" -f "$file"
	done
	pg_ctl -D "$PGDATA" -w stop
fi
exec "$@"
EOF
chmod 755 "$root/usr/bin/docker-entrypoint.sh"
image postgres '{"Entrypoint": ["docker-entrypoint.sh"], "Cmd": ["postgres", "-c", "listen_addresses=*"], "User": "postgres", "StopSignal": "SIGINT",
	"Env": ["PATH=/usr/lib/postgresql/15/bin:'$path'", "PGDATA=/var/lib/postgresql/data"]}'

echo "$stamp" >"$out/stamp"
