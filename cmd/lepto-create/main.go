// Command lepto-create makes a container for its supervisor, and ends. It is
// started by lepto-supervisor, never by hand; see package create.
package main

import (
	"os"
	"runtime"

	"github.com/opencontainers/runc/libcontainer"
	_ "github.com/opencontainers/runc/libcontainer/nsenter" // its C code must run before Go's runtime

	"github.com/lepto-dev/lepto/internal/backend/native/create"
)

func init() {
	// libcontainer starts this program again as the container's second stage.
	if len(os.Args) > 1 && os.Args[1] == "init" {
		libcontainer.Init()
	}
	runtime.LockOSThread() // main's thread is the process's first: see create.Filter
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "filter" {
		os.Exit(create.Filter())
	}
	os.Exit(create.Main())
}
