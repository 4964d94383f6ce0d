#!/usr/bin/env bash
# Runs every fuzz target of the tree for the given time (default one minute each).
set -euo pipefail
cd "$(dirname "$0")/.."
duration=${1:-1m}
grep -rlE '^func Fuzz' --include='*_test.go' . | while read -r file; do
	for target in $(sed -nE 's/^func (Fuzz[A-Za-z0-9_]*).*/\1/p' "$file"); do
		echo "== $(dirname "$file") $target"
		go test -run '^$' -fuzz "^$target\$" -fuzztime "$duration" "$(dirname "$file")"
	done
done
