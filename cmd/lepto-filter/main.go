//go:build cgo

// Command lepto-filter compiles the system call filter of containers. It is
// started by lepto-supervisor, never by hand; see package filter.
package main

import (
	"os"
	"runtime"

	"github.com/lepto-dev/lepto/internal/backend/native/filter"
)

func main() {
	runtime.LockOSThread()
	os.Exit(filter.Main())
}
