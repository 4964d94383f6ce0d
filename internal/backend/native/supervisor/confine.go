package supervisor

import (
	"strconv"

	"github.com/lepto-dev/lepto/internal/backend/native/supervise"
)

// A confinement is what a command of a container may be and do, for lepto-init
// (initsrc/confine.c): the first process gets it as those of exec do.
type confinement struct {
	make     bool   // the working directory, where it is missing
	bounding uint64 // capabilities
	identity identity
	cwd      string
	filter   []byte // system calls: struct sock_filter; none: no filter
}

// append writes the confinement behind other orders. It is always the last.
func (c confinement) append(e encoder) []byte {
	// A process of another user than root starts without capabilities, as
	// execve(2) would have it, and gets them from a setuid file only; Docker
	// does the same.
	permitted := c.bounding
	if c.identity.uid != 0 {
		permitted = 0
	}
	e.flag(c.make)
	e.text(strconv.FormatUint(c.bounding, 16), strconv.FormatUint(permitted, 16))
	e.number(c.identity.uid)
	e.number(c.identity.gid)
	var groups []string
	for _, g := range c.identity.groups {
		groups = append(groups, strconv.Itoa(g))
	}
	e.list(groups)
	e.text(c.cwd)
	e.number(len(c.filter))
	return append(e, c.filter...)
}

// An encoder writes orders: tokens that end with a NUL byte.
type encoder []byte

func (e *encoder) text(items ...string) {
	for _, s := range items {
		*e = append(append(*e, s...), 0)
	}
}

func (e *encoder) number(n int) { e.text(strconv.Itoa(n)) }

func (e *encoder) flag(on bool) {
	if on {
		e.text("1")
		return
	}
	e.text("0")
}

func (e *encoder) list(items []string) {
	e.number(len(items))
	e.text(items...)
}

func (e *encoder) limits(limits []supervise.Ulimit) {
	var words []string
	for _, l := range limits {
		value := strconv.FormatUint(l.Value, 10)
		words = append(words, strconv.Itoa(l.Type), value, value)
	}
	e.list(words)
}
