package netspace

import (
	"errors"
	"time"

	"github.com/vishvananda/netlink"
)

// dumpTries bounds how often a list is asked for anew.
const dumpTries = 20

// Whole asks for a list until the kernel gives all of it: one that changes while it is
// read, by whoever makes links on this host, comes with an error that says so
// (NLM_F_DUMP_INTR).
func Whole[T any](list func() ([]T, error)) ([]T, error) {
	for try := 1; ; try++ {
		all, err := list()
		if !errors.Is(err, netlink.ErrDumpInterrupted) || try == dumpTries {
			return all, err
		}
		time.Sleep(time.Duration(try) * time.Millisecond)
	}
}
