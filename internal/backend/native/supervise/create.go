package supervise

import "os"

// This file defines what a supervisor tells lepto-create, the program that
// makes a container and ends: it has libcontainer, which a program that stays
// for days is better without.

// CreateRequest describes a container completely: what Spec leaves to be looked
// up is looked up.
type CreateRequest struct {
	Spec      Spec     `json:"spec"`
	StateDir  string   `json:"state_dir"` // for libcontainer's own files
	Root      string   `json:"root"`      // the mounted root file system
	Binds     []Bind   `json:"binds,omitempty"`
	Args      []string `json:"args"`      // with the init, which confines itself
	Available []string `json:"available"` // all capabilities there are
	// FilterFor asks for the system call filter that goes with these
	// capabilities, where the orders have none.
	FilterFor []string `json:"filter_for,omitempty"`
	Console   bool     `json:"console,omitempty"`
}

// Bind is a host path that is shown in the container.
type Bind struct {
	Source   string `json:"source"`
	Target   string `json:"target"`
	ReadOnly bool   `json:"read_only,omitempty"`
}

// Created is the answer.
type Created struct {
	PID   int      `json:"pid,omitempty"` // of the first process; it executes Args by itself
	Error *Failure `json:"error,omitempty"`
}

// The descriptors of lepto-create: the request comes on stdin, the answer goes
// to stdout, and these are the container's.
const (
	CreateStdin = iota + 3
	CreateStdout
	CreateStderr
	CreateStatus  // the init's descriptor 3
	CreateExit    // the init's descriptor 4
	CreateOrders  // the init's descriptor 5
	CreateConsole // a socket that receives the terminal, with Console
)

// CreateFile gives one of them.
func CreateFile(fd uintptr) *os.File { return os.NewFile(fd, "container") }
