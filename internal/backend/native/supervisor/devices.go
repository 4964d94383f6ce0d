package supervisor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/lepto-dev/lepto/internal/backend/native/supervise"
	"github.com/lepto-dev/lepto/internal/fault"
)

// This file says which devices a container has in its /dev, and which it may use.

// A device is a node in a container's /dev.
type device struct {
	path         string
	mode         uint32 // with its type
	major, minor uint32
	uid, gid     uint32
}

// usualDevices are in every container; all of them are memory's.
var usualDevices = []device{
	{path: "/dev/null", major: 1, minor: 3}, {path: "/dev/zero", major: 1, minor: 5},
	{path: "/dev/full", major: 1, minor: 7}, {path: "/dev/random", major: 1, minor: 8},
	{path: "/dev/urandom", major: 1, minor: 9}, {path: "/dev/tty", major: 5, minor: 0},
}

// devices orders the nodes and links of /dev.
func (l layout) devices(spec supervise.Spec) error {
	nodes := slices.Clone(usualDevices)
	for i := range nodes {
		nodes[i].mode = unix.S_IFCHR | 0o666
	}
	more, err := furtherDevices(spec)
	if err != nil {
		return err
	}
	for _, d := range more {
		if !slices.ContainsFunc(nodes, func(n device) bool { return n.path == d.path }) {
			nodes = append(nodes, d)
		}
	}
	for _, d := range nodes {
		words := []string{d.path}
		for _, n := range []uint32{d.mode, d.major, d.minor, d.uid, d.gid} {
			words = append(words, strconv.FormatUint(uint64(n), 10))
		}
		l.order("node", words...)
	}
	l.order("link", "pts/ptmx", "/dev/ptmx")
	l.order("link", "/proc/self/fd", "/dev/fd")
	for i, name := range []string{"stdin", "stdout", "stderr"} {
		l.order("link", "/proc/self/fd/"+strconv.Itoa(i), "/dev/"+name)
	}
	if spec.TTY && !spec.NoInit { // without an init the terminal is made with the container
		l.order("link", "pts/0", "/dev/console")
	}
	if unix.Access("/proc/kcore", unix.F_OK) == nil {
		l.order("link", "/proc/kcore", "/dev/core")
	}
	return nil
}

// furtherDevices are those of the host that the container gets.
func furtherDevices(spec supervise.Spec) ([]device, error) {
	if spec.Privileged {
		host, err := hostDevices("/dev")
		if err != nil {
			return nil, fmt.Errorf("list the host's devices: %w", err)
		}
		return host, nil
	}
	var out []device
	for _, name := range spec.Devices {
		d, err := deviceAt(name)
		if err != nil {
			return nil, fault.New(supervise.CodeRuntime, "device %s: %w", name, errors.Unwrap(err))
		}
		out = append(out, d)
	}
	return out, nil
}

// deviceAt describes a device of the host. Its error wraps the reason alone.
func deviceAt(path string) (device, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return device{}, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFCHR, unix.S_IFBLK:
	default:
		return device{}, &os.PathError{Op: "stat", Path: path, Err: errors.New("not a device")}
	}
	return device{
		path: path, mode: st.Mode & (unix.S_IFMT | 0o777),
		major: unix.Major(st.Rdev), minor: unix.Minor(st.Rdev), uid: st.Uid, gid: st.Gid,
	}, nil
}

// ownDev are the parts of /dev that a container has of its own.
var ownDev = []string{"/dev/pts", "/dev/shm", "/dev/mqueue", "/dev/fd", "/dev/console", "/dev/ptmx"}

// hostDevices lists the devices of the host.
func hostDevices(dir string) ([]device, error) {
	var out []device
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil && path == dir:
			return err
		case err != nil:
			return nil //nolint:nilerr // gone meanwhile
		case slices.Contains(ownDev, path) && e.IsDir():
			return fs.SkipDir
		case e.Type()&(fs.ModeSymlink|fs.ModeDir) != 0 || slices.Contains(ownDev, path):
			return nil
		}
		// What else the entry says of its type is of no use: in a container it may
		// be a plain file with the device mounted over it.
		if d, err := deviceAt(path); err == nil {
			out = append(out, d)
		}
		return nil
	})
	return out, err
}

// A deviceRule lets processes use devices: read, write, make a node. All it does
// not name is denied.
type deviceRule struct {
	block        bool
	major, minor int64 // -1: any
	access       string
}

// String is the rule as cgroup v1 reads and writes it.
func (r deviceRule) String() string {
	kind, number := "c", func(n int64) string {
		if n < 0 {
			return "*"
		}
		return strconv.FormatInt(n, 10)
	}
	if r.block {
		kind = "b"
	}
	return kind + " " + number(r.major) + ":" + number(r.minor) + " " + r.access
}

// deviceRules are a container's: to make any node, to use the usual devices,
// terminals, TUN (as Docker has it), and those it was given. limited is false for one
// that may use all of them.
func deviceRules(spec supervise.Spec) (rules []deviceRule, limited bool, err error) {
	if spec.Privileged {
		return nil, false, nil
	}
	rules = []deviceRule{
		{major: -1, minor: -1, access: "m"}, {block: true, major: -1, minor: -1, access: "m"},
		{major: 136, minor: -1, access: "rwm"}, {major: 5, minor: 2, access: "rwm"}, {major: 10, minor: 200, access: "rwm"},
	}
	more, err := furtherDevices(spec)
	if err != nil {
		return nil, false, err
	}
	for _, d := range slices.Concat(usualDevices, more) {
		rules = append(rules, deviceRule{
			block: d.mode&unix.S_IFMT == unix.S_IFBLK, major: int64(d.major), minor: int64(d.minor), access: "rwm",
		})
	}
	return rules, true, nil
}
