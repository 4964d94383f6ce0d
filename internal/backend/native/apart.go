package native

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// This file moves this process to cgroups of lepto's own. Supervisors and
// companions are its children, and so are there from their first moment. Where
// it was, all of them would be ended with whoever started an engine: a login
// session, a systemd unit, a CI job; and their memory would be counted as its.
// Services go on, so what looks after them must.

// A seat is this process's place in cgroups of lepto's own: one in each hierarchy
// that lets it. The rest it stays in as it was.
type seat struct {
	name  string            // below each hierarchy's root
	from  map[string]string // by hierarchy: where the process was
	log   *slog.Logger
	taken []string // hierarchies
	done  chan struct{}
}

// takeSeat begins to move this process. It takes up to 20 ms, in which the kernel
// waits for all processors (synchronize_rcu), and nobody need wait for it but who
// starts a process: see await.
func takeSeat(name string, log *slog.Logger) *seat {
	s := &seat{name: name, from: ownCgroups(), log: log, done: make(chan struct{})}
	go func() {
		defer close(s.done)
		for _, h := range hierarchies() {
			err := s.join(h)
			if err != nil {
				s.vacate(h)
				log.Debug("stays in the cgroup of who started it", "hierarchy", h, "err", err)
				continue
			}
			s.taken = append(s.taken, h)
		}
	}()
	return s
}

// await waits until what this process starts is in its cgroups.
func (s *seat) await() {
	if s != nil {
		<-s.done
	}
}

// joinTries bounds how often a cgroup is made: another engine, or a supervisor,
// may remove a parent that is empty just as it is about to be used.
const joinTries = 10

func (s *seat) join(hierarchy string) error {
	if within(s.from[hierarchy], s.name) {
		return nil // an engine that another one, or a supervisor's child, has started
	}
	for attempt := 1; ; attempt++ {
		err := makeCgroup(hierarchy, s.name)
		if err == nil {
			err = enter(filepath.Join(hierarchy, s.name))
		}
		raced := errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV)
		if err == nil || !raced || attempt == joinTries {
			return err
		}
	}
}

func within(path, name string) bool { return path == name || strings.HasSuffix(path, "/"+name) }

// enter moves this process, with all its threads, to a cgroup.
func enter(dir string) error {
	return os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(os.Getpid())), 0)
}

// makeCgroup makes a cgroup and its parent. On v1 a new one of cpuset has no
// processors and no memory nodes, and takes no process, until it is given some.
func makeCgroup(hierarchy, name string) error {
	dir := hierarchy
	for part := range strings.SplitSeq(name, "/") {
		above := dir
		dir = filepath.Join(dir, part)
		if err := unix.Mkdir(dir, 0o755); err != nil && !errors.Is(err, unix.EEXIST) {
			return &os.PathError{Op: "make cgroup", Path: dir, Err: err}
		}
		if unified() || filepath.Base(hierarchy) == "unified" {
			continue
		}
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
			have, err := os.ReadFile(filepath.Join(dir, file))
			if err != nil || len(bytes.TrimSpace(have)) > 0 {
				continue // not the hierarchy of cpuset, or given before
			}
			given, err := os.ReadFile(filepath.Join(above, file))
			if err == nil {
				err = os.WriteFile(filepath.Join(dir, file), given, 0)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// leavePatience bounds the wait for processes that have ended to have left.
const leavePatience = time.Second

// leave takes the cgroups away, unless supervisors go on in them: this process
// goes back to where it was. With idle nobody is to go on.
func (s *seat) leave(ctx context.Context, idle bool) {
	if s == nil {
		return
	}
	<-s.done
	ctx, cancel := context.WithTimeout(ctx, leavePatience)
	defer cancel()
	for _, h := range s.taken {
		dir := filepath.Join(h, s.name)
		for idle && !alone(dir) && sleep(ctx, time.Millisecond) {
		}
		if !alone(dir) {
			return
		}
	}
	for _, h := range s.taken {
		if err := s.back(h); err != nil {
			s.log.Debug("the engine's cgroup stays", "hierarchy", h, "err", err)
			continue
		}
		for unix.Rmdir(filepath.Join(h, s.name)) == unix.EBUSY && sleep(ctx, time.Millisecond) {
		}
		s.vacate(h)
	}
}

// alone reports whether nobody else is in a cgroup.
func alone(dir string) bool {
	data, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	own := strconv.Itoa(os.Getpid())
	return err != nil || strings.TrimSpace(string(data)) == own || len(bytes.TrimSpace(data)) == 0
}

// back moves this process to where it was; that may be gone by now, and a
// container's root on v2 takes no processes any more.
func (s *seat) back(hierarchy string) error {
	var err error
	for _, dir := range []string{filepath.Join(hierarchy, s.from[hierarchy]), hierarchy, filepath.Join(hierarchy, "init")} {
		if within(dir, s.name) {
			continue
		}
		if err = enter(dir); err == nil {
			return nil
		}
	}
	return err
}

// vacate removes the cgroup and its parent where they are empty.
func (s *seat) vacate(hierarchy string) {
	for dir := s.name; dir != "."; dir = filepath.Dir(dir) {
		if unix.Rmdir(filepath.Join(hierarchy, dir)) != nil {
			return // not ours alone
		}
	}
}

// ownCgroups reads where this process is in each hierarchy (cgroups(7)).
func ownCgroups() map[string]string {
	data, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil
	}
	out := map[string]string{}
	for line := range strings.Lines(string(data)) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) != 3 {
			continue
		}
		hierarchy := filepath.Join(cgroupRoot, strings.TrimPrefix(fields[1], "name="))
		if fields[1] == "" && !unified() {
			hierarchy = filepath.Join(cgroupRoot, "unified")
		}
		out[hierarchy] = fields[2]
	}
	return out
}

// hierarchies gives the roots of all that are mounted.
func hierarchies() []string {
	if unified() {
		return []string{cgroupRoot}
	}
	entries, _ := os.ReadDir(cgroupRoot)
	var out []string
	for _, e := range entries {
		if e.IsDir() { // a symlink is another name of one
			if dir := filepath.Join(cgroupRoot, e.Name()); exists(filepath.Join(dir, "cgroup.procs")) {
				out = append(out, dir)
			}
		}
	}
	return out
}

// engineCgroup is the cgroup of this home's engine, its supervisors and companions.
func (b *Backend) engineCgroup() string {
	sum := sha256.Sum256([]byte(b.cfg.Home))
	return "lepto/engine-" + hex.EncodeToString(sum[:6])
}
