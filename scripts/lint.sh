#!/usr/bin/env bash
# Runs golangci-lint at the pinned version, built from the Go module proxy into
# the user's cache the first time.
set -euo pipefail
cd "$(dirname "$0")/.."
version=v2.15.0
bin=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/lepto-tools/$version
if [[ ! -x $bin/golangci-lint ]]; then
	GOBIN=$bin go install "github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$version"
fi
# Others may lint something else on this machine meanwhile.
exec "$bin/golangci-lint" run --allow-parallel-runners --timeout 15m ./...
