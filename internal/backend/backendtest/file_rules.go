package backendtest

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/fault"
)

// read gives the files of a path in the service "db".
func (w *world) read(path string) map[string]string {
	w.Helper()
	r, err := w.enclave.Files(w.ctx, "db", path)
	w.must(err)
	files, err := unpack(r)
	w.must(err)
	return files
}

// tree makes a directory on the host.
func (w *world) tree(files map[string]string) string {
	w.Helper()
	dir := w.TempDir()
	w.must(os.Chmod(dir, 0o755))
	for name, text := range files {
		w.must(os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755))
		w.must(os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	return dir
}

// wantFile checks a file on the host.
func (w *world) wantFile(name, want string) {
	w.Helper()
	if text, err := os.ReadFile(name); err != nil || string(text) != want {
		w.Errorf("%s has %q, %v", name, text, err)
	}
}

var fileRules = []rule{
	{"a file is one entry under its base name", nil, func(w *world) {
		w.start("db", "wait")
		if got, want := w.read("/etc/plain"), map[string]string{"plain": "just text"}; !maps.Equal(got, want) {
			w.Errorf("got %q", got)
		}
	}},
	{"a directory's entries are relative to it", nil, func(w *world) {
		w.start("db", "write /work/one 1 then write /work/two 2 then out written then wait")
		w.waitLine("db", "written")
		if got, want := w.read("/work"), map[string]string{"one": "1", "two": "2"}; !maps.Equal(got, want) {
			w.Errorf("got %q", got)
		}
	}},
	{"a symlink as the path itself is followed inside the root", nil, func(w *world) {
		w.start("db", "wait")
		if got := slices.Collect(maps.Values(w.read("/link"))); !slices.Equal(got, []string{"just text"}) {
			w.Errorf("/link: got %q", got)
		}
		if got := w.read("/escape")["plain"]; got != "just text" {
			w.Errorf("/escape: got %q", got)
		}
	}},
	{"no such path is ErrNotFound", nil, func(w *world) {
		w.start("db", "wait")
		_, err := w.enclave.Files(w.ctx, "db", "/no/such")
		w.wantErr(err, fault.ErrNotFound)
	}},
	{"files of a stopped service are there, and can be added to", nil, func(w *world) {
		w.start("db", "write /work/one 1 then exit 0")
		w.exited("db")
		w.must(w.enclave.CopyIn(w.ctx, "db", "/work/deep/er", pack(map[string]string{"two": "2"})))
		if got, want := w.read("/work"), map[string]string{"one": "1", "deep": "dir", "deep/er": "dir", "deep/er/two": "2"}; !maps.Equal(got, want) {
			w.Errorf("got %q", got)
		}
	}},
	{"copy in makes the directory, and the service sees the files", nil, func(w *world) {
		w.start("db", "wait")
		w.must(w.enclave.CopyIn(w.ctx, "db", "/new/dir", pack(map[string]string{"a": "first", "sub/b": "second"})))
		if code, out, errs := w.run("db", "read /new/dir/a then read /new/dir/sub/b"); code != 0 || out != "first\nsecond" {
			w.Errorf("code %d, out %q, err %q", code, out, errs)
		}
	}},
	{"copy in refuses entries that leave the directory", nil, func(w *world) {
		w.start("db", "wait")
		for _, name := range []string{"../out", "a/../../out", "../../../../../../tmp/out"} {
			if err := w.enclave.CopyIn(w.ctx, "db", "/work", pack(map[string]string{name: "x"})); err == nil {
				w.Errorf("%s was accepted", name)
			}
		}
		if err := w.enclave.CopyIn(w.ctx, "db", "/work", packLink("l", "/etc", "l/owned")); err == nil {
			w.Error("an entry went through a symlink out of the directory")
		}
		if _, err := w.enclave.Files(w.ctx, "db", "/etc/owned"); !errors.Is(err, fault.ErrNotFound) {
			w.Errorf("/etc/owned: %v", err)
		}
		if _, err := os.Lstat("/etc/owned"); err == nil {
			w.Error("the host's /etc was written")
		}
	}},
	{"copy in through the image's own symlink stays inside the root", nil, func(w *world) {
		w.start("db", "wait")
		w.must(w.enclave.CopyIn(w.ctx, "db", "/escape", pack(map[string]string{"inside": "x"})))
		if got := w.read("/etc/inside")["inside"]; got != "x" {
			w.Errorf("got %q", got)
		}
	}},
	{"trees are merged, the later ones winning, and writable without touching them", nil, func(w *world) {
		one := w.tree(map[string]string{"a": "1", "b": "1", "sub/x": "1"})
		two := w.tree(map[string]string{"b": "2", "sub/y": "2"})
		mount := func(s *backend.ServiceSpec) { s.Mounts = []backend.Mount{{Path: "/data", Trees: []string{one, two}}} }
		w.start("db", "read /data/a then read /data/b then read /data/sub/x then read /data/sub/y then write /data/a own then out done then wait", mount)
		w.start("other", "wait", mount)
		w.waitLine("db", "done")
		if got := strings.Join(w.logged("db"), ","); got != "1,2,1,2,done" {
			w.Errorf("saw %q", got)
		}
		w.wantFile(filepath.Join(one, "a"), "1")
		if got := w.read("/data/a")["a"]; got != "own" {
			w.Errorf("the service has %q", got)
		}
		if _, out, _ := w.run("other", "read /data/a"); out != "1" {
			w.Errorf("the other service has %q", out)
		}
	}},
	{"one tree at two places is two, and a mount may lie in another", nil, func(w *world) {
		one, two := w.tree(map[string]string{"a": "1"}), w.tree(map[string]string{"x": "2"})
		w.start("db", "wait", func(s *backend.ServiceSpec) {
			s.Mounts = []backend.Mount{{Path: "/again", Trees: []string{one}}, {Path: "/data", Trees: []string{one}}, {Path: "/data/below", Trees: []string{two}}}
		})
		if code, out, errs := w.run("db", "write /data/a own then read /data/a then read /again/a then read /data/below/x"); code != 0 || out != "own\n1\n2" {
			w.Errorf("code %d, out %q, err %q", code, out, errs)
		}
		_, err := w.enclave.Stop(w.ctx, "db", bound)
		w.must(err)
		if got, want := w.read("/data"), map[string]string{"a": "own", "below": "dir", "below/x": "2"}; !maps.Equal(got, want) {
			w.Errorf("stopped: got %q", got)
		}
	}},
	{"writes in trees survive a restart", nil, func(w *world) {
		dir := w.tree(map[string]string{"a": "1"})
		w.start("db", "wait", func(s *backend.ServiceSpec) {
			s.Mounts = []backend.Mount{{Path: "/data", Trees: []string{dir}}}
		})
		w.run("db", "write /data/a own")
		_, err := w.enclave.Stop(w.ctx, "db", bound)
		w.must(err)
		if got := w.read("/data/a")["a"]; got != "own" {
			w.Errorf("stopped: %q", got)
		}
		w.must(w.enclave.Restart(w.ctx, "db"))
		if _, out, _ := w.run("db", "read /data/a"); out != "own" {
			w.Errorf("restarted: %q", out)
		}
	}},
	{"a persistent directory outlives its service and is shared by key", []backend.Ability{backend.AbilityPersistent}, func(w *world) {
		mount := func(key string) func(*backend.ServiceSpec) {
			return func(s *backend.ServiceSpec) { s.Mounts = []backend.Mount{{Path: "/data", PersistentKey: key}} }
		}
		w.start("db", "write /data/a kept then exit 0", mount("one"))
		if exit := w.exited("db"); exit.Code != 0 {
			w.Errorf("exit is %+v, logged %q", exit, w.logged("db"))
		}
		w.must(w.enclave.Remove(w.ctx, "db"))
		w.start("db", "wait", mount("one"))
		if _, out, _ := w.run("db", "read /data/a"); out != "kept" {
			w.Errorf("got %q", out)
		}
		w.start("other", "wait", mount("two"))
		if code, _, _ := w.run("other", "read /data/a"); code == 0 {
			w.Error("another key has the same directory")
		}
	}},
	{"cancelling ends a copy soon", nil, func(w *world) {
		w.start("db", "wait")
		cause := errors.New("enough")
		ctx, cancel := context.WithCancelCause(w.ctx)
		cancel(cause)
		_, err := w.enclave.Files(ctx, "db", "/etc")
		w.wantErr(err, cause)
		w.wantErr(w.enclave.CopyIn(ctx, "db", "/work", pack(map[string]string{"a": "1"})), cause)
	}},
}
