#!/bin/sh
# Builds the programs that run beside and in containers, into DIR. Without DIR
# they go, compressed, into internal/backend/native/embedded/bin, from where lepto
# embeds them:
#
#   lepto-supervisor  one per container and one per network: pure Go, small
#   lepto-init        makes a container, its first process, and exec: plain C
#   lepto-filter      compiles containers' system call filter, once: libseccomp
#
# All are static. Needs go, gcc, and libseccomp's static library (Debian: gcc
# libseccomp-dev). A program is replaced only where it differs, so that what
# embeds it stays cached.
set -eu
cd "$(dirname "$0")/.."
dir=${1:-}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

gcc -std=gnu11 -Os -Wall -Wextra -Werror -static -s -o "$tmp/lepto-init" \
	internal/backend/native/initsrc/*.c
CGO_ENABLED=0 go build -trimpath -buildvcs=false -tags 'netgo osusergo' -ldflags '-s -w' \
	-o "$tmp/lepto-supervisor" ./cmd/lepto-supervisor
CGO_ENABLED=1 go build -trimpath -buildvcs=false -tags 'seccomp netgo osusergo' \
	-ldflags '-s -w -linkmode external -extldflags -static' \
	-o "$tmp/lepto-filter" ./cmd/lepto-filter

if [ -z "$dir" ]; then
	embedded=internal/backend/native/embedded
	go run ./$embedded/compress $embedded/bin "$tmp"/lepto-*
	exit
fi
mkdir -p "$dir"
for name in lepto-init lepto-supervisor lepto-filter; do
	if ! cmp -s "$tmp/$name" "$dir/$name"; then
		chmod 0755 "$tmp/$name"
		mv "$tmp/$name" "$dir/$name"
	fi
done
