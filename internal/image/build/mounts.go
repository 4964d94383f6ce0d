package build

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strconv"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"golang.org/x/sys/unix"

	"github.com/lepto-dev/lepto/internal/fault"
)

// mounter makes what RUN --mount wants, and gives it back after the step.
type mounter struct {
	stage    *stageBuild
	script   *instructions.ShellInlineFile // of a here-document
	mounts   []Mount
	key      string // what of the mounts decides about the outcome
	releases []func()
	caches   map[string]string // id → directory that this step holds
}

func (m *mounter) release() {
	for _, f := range m.releases {
		f()
	}
}

func (m *mounter) all(ctx context.Context, cmd *instructions.RunCommand) error {
	if instructions.GetSecurity(cmd) == instructions.SecurityInsecure {
		return fault.New("E0415", "RUN --security=insecure is not supported").WithHint("run what needs privileges in a service")
	}
	for _, want := range instructions.GetMounts(cmd) {
		if err := m.one(ctx, want); err != nil {
			return err
		}
	}
	if m.script == nil {
		return nil
	}
	dir, err := m.folder(ctx)
	if err != nil {
		return err
	}
	m.mounts = append(m.mounts, Mount{Target: scriptDir, Source: dir, ReadOnly: true})
	m.key += fmt.Sprintf("\nscript %q", m.script.Data)
	file := filepath.Join(dir, filepath.Base(m.script.Name))
	if err := os.WriteFile(file, []byte(m.script.Data), 0o600); err != nil {
		return err
	}
	return os.Chmod(file, 0o755)
}

// folder makes an empty directory that lives as long as the step.
func (m *mounter) folder(ctx context.Context) (string, error) {
	work, release, err := m.stage.store.WorkDir(ctx)
	if err != nil {
		return "", err
	}
	m.releases = append(m.releases, release)
	dir := filepath.Join(work, "mount")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", err
	}
	return dir, os.Chmod(dir, 0o755)
}

func (m *mounter) one(ctx context.Context, want *instructions.Mount) error {
	target := want.Target
	switch want.Type {
	case instructions.MountTypeSecret, instructions.MountTypeSSH:
		if want.Required {
			return fault.New("E0415", "RUN --mount=type=%s: builds get no secrets", want.Type).WithHint("give the value to the service that needs it")
		}
		return nil // optional, and not there
	}
	if target == "" {
		return fault.New("E0415", "RUN --mount=type=%s has no target", want.Type).WithHint("for example --mount=type=cache,target=/root/.cache")
	}
	target = m.stage.absolute(target)
	switch want.Type {
	case instructions.MountTypeCache:
		return m.cache(ctx, want, target)
	case instructions.MountTypeTmpfs:
		dir, err := m.folder(ctx)
		if err != nil {
			return err
		}
		m.mounts = append(m.mounts, Mount{Target: target, Source: dir, ReadOnly: want.ReadOnly})
		m.key += fmt.Sprintf("\ntmpfs %q %t", target, want.ReadOnly)
		return os.Chmod(dir, 0o777|os.ModeSticky)
	case instructions.MountTypeBind:
		return m.bind(ctx, want, target)
	}
	return fault.New("E0415", "RUN --mount=type=%s is not supported", want.Type)
}

// cache mounts a directory that is kept between builds.
func (m *mounter) cache(ctx context.Context, want *instructions.Mount, target string) error {
	if want.From != "" || want.Source != "" {
		return fault.New("E0415", "RUN --mount=type=cache with from or source is not supported").WithHint("leave them out: the cache then starts empty")
	}
	id := want.CacheID
	if id == "" {
		id = target
	}
	dir, err := m.cacheDir(ctx, id, want.CacheSharing)
	if err != nil {
		return err
	}
	mode, uid, gid := uint32(0o755), 0, 0
	if want.Mode != nil {
		mode = uint32(*want.Mode) & 0o7777
	}
	if want.UID != nil {
		uid = int(*want.UID)
	}
	if want.GID != nil {
		gid = int(*want.GID)
	}
	if err := os.Chown(dir, uid, gid); err != nil {
		return err
	}
	if err := unix.Chmod(dir, mode); err != nil {
		return &os.PathError{Op: "chmod", Path: dir, Err: err}
	}
	m.mounts = append(m.mounts, Mount{Target: target, Source: dir, ReadOnly: want.ReadOnly})
	m.key += fmt.Sprintf("\ncache %q %q", target, id) // not its content: it only saves time
	return nil
}

// cacheDir gives the directory of a cache. One that the step has already is not
// asked for again: it might wait for itself.
func (m *mounter) cacheDir(ctx context.Context, id string, sharing instructions.ShareMode) (string, error) {
	if dir, ok := m.caches[id]; ok {
		return dir, nil
	}
	exclusive := sharing == instructions.MountSharingLocked || sharing == instructions.MountSharingPrivate
	dir, release, err := m.stage.store.CacheDir(ctx, id, exclusive)
	if err != nil {
		return "", err
	}
	m.releases = append(m.releases, release)
	if m.caches == nil {
		m.caches = map[string]string{}
	}
	m.caches[id] = dir
	return dir, nil
}

// bind mounts files of the context, a stage or an image. What a step writes there
// is forgotten with the step.
func (m *mounter) bind(ctx context.Context, want *instructions.Mount, target string) error {
	name := cleanPath(want.Source)
	if want.From != "" && name == "" { // all of it: no need to copy
		made, err := m.stage.source(ctx, m.stage.index, want.From)
		if err != nil {
			return err
		}
		var dirs []string
		for _, l := range made.layers {
			dirs = append(dirs, l.Dir)
			m.key += "\n" + l.DiffID
		}
		m.key += fmt.Sprintf("\nbind all %q %t", target, want.ReadOnly)
		m.mounts = append(m.mounts, Mount{Target: target, Layers: dirs, ReadOnly: want.ReadOnly})
		return nil
	}
	c, err := m.stage.copier(ctx, want.From, "", "", nil)
	if err != nil {
		return err
	}
	return m.copied(ctx, c, name, target, want.ReadOnly)
}

// boundName is the name of bound files in the layer that holds them.
const boundName = "bound"

// copied mounts a copy of files, kept as a layer is: what is mounted must not
// change under the step, nor show what .dockerignore hides.
func (m *mounter) copied(ctx context.Context, c *copier, name, target string, readOnly bool) error {
	n, err := c.from.find(name, true)
	if err != nil {
		return fault.New("E0417", "%q: %w", name, err)
	}
	if n == nil {
		return c.missing(strconv.Quote(name), name)
	}
	c.placer = &placer{below: &view{}, to: newItems(m.stage.docker.time)}
	if err := c.copyTo(found{n, path.Base(name)}, destination{name: boundName}); err != nil {
		return err
	}
	held := &stageBuild{builder: m.stage.builder}
	if err := held.layerOf(ctx, c.to); err != nil {
		return err
	}
	layer := held.layers[0]
	m.key += fmt.Sprintf("\nbind %q %s %t", target, layer.DiffID, readOnly)
	source := filepath.Join(layer.Dir, boundName)
	switch {
	case readOnly:
		m.mounts = append(m.mounts, Mount{Target: target, Source: source, ReadOnly: true})
	case n.isDir():
		m.mounts = append(m.mounts, Mount{Target: target, Layers: []string{source}})
	default:
		source, err = m.ownCopy(ctx, source)
		m.mounts = append(m.mounts, Mount{Target: target, Source: source})
	}
	return err
}

// ownCopy copies a file, with its mode and owner, for one step.
func (m *mounter) ownCopy(ctx context.Context, file string) (string, error) {
	dir, err := m.folder(ctx)
	if err != nil {
		return "", err
	}
	in, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer in.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(in.Fd()), &st); err != nil {
		return "", err
	}
	to := filepath.Join(dir, boundName)
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return "", err
	}
	defer out.Close()
	_, err = io.Copy(out, in)
	return to, errors.Join(err, out.Chown(int(st.Uid), int(st.Gid)), unix.Fchmod(int(out.Fd()), st.Mode&0o7777))
}
