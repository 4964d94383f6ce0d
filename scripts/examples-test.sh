#!/usr/bin/env bash
# Runs the packages in examples/ that need real software, on images made from
# Debian's packages (example-images.sh) and pulled from a registry on the loopback
# interface. Each package checks itself; this looks at what it gives. Needs root.
# The images are kept in .cache/example-images.
set -euo pipefail
cd "$(dirname "$0")/.."
((EUID == 0)) || { echo "examples-test: these run containers: root is needed" >&2; exit 1; }
images=${EXAMPLE_IMAGES:-.cache/example-images}
work=$(mktemp -d)
export LEPTO_HOME=$work/home LEPTO_LOOPBACK=off NO_COLOR=1 CI=true
registry=
finish() {
	status=$?
	bin/lepto clean -a >/dev/null 2>&1 || true
	bin/lepto engine stop >/dev/null 2>&1 || true
	[[ -z $registry ]] || { kill "$registry" && wait "$registry"; } 2>/dev/null || true
	rm -rf "$work"
	exit "$status"
}
trap finish EXIT

./scripts/example-images.sh "$images"
CGO_ENABLED=0 go build -o "$work/registry" ./test/registry
mkdir "$work/blobs"
mkfifo "$work/address"
"$work/registry" -dir "$images" -blobs "$work/blobs" >"$work/address" &
registry=$!
read -r address <"$work/address" # empty if the registry ended

# example NAME ARGS WANT: runs the package, and wants the text in its output.
example() {
	local began=$EPOCHREALTIME out=$work/$1.out
	if ! bin/lepto run "examples/$1" "$2" --enclave "$1" >"$out" 2>&1 || ! grep -qF -- "$3" "$out"; then
		cat "$out" >&2
		echo "examples-test: $1 failed; its output should have: $3" >&2
		exit 1
	fi
	printf '%-10s ok in %.1f s\n' "$1" "$(awk "BEGIN { print $EPOCHREALTIME - $began }")"
}

example python '{"image": "'"$address"'/python"}' '"sorted": "[1, 2, 3]"'
example redis '{"image": "'"$address"'/redis"}' '"replica-1": "hello\n"'
example nginx '{"nginx_image": "'"$address"'/nginx", "python_image": "'"$address"'/python"}' '"backend-1"'
example postgres '{"image": "'"$address"'/postgres"}' '"sum": 165.75'
