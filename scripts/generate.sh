#!/bin/sh
# Generates the Go code of the engine's own service from proto/. The plugins
# are built at pinned versions into a directory of their own; protoc comes from
# the system (Debian: protobuf-compiler).
set -eu
cd "$(dirname "$0")/.."
bin="$(pwd)/bin/protoc-plugins"
mkdir -p "$bin"
GOBIN="$bin" go install google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.12
GOBIN="$bin" go install connectrpc.com/connect/cmd/protoc-gen-connect-go@v1.21.1
PATH="$bin:$PATH" protoc -I proto \
	--go_out=. --go_opt=module=github.com/lepto-dev/lepto \
	--connect-go_out=. --connect-go_opt=module=github.com/lepto-dev/lepto \
	lepto/v1/engine.proto lepto/v1/link.proto
