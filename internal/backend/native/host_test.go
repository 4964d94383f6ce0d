package native

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/backend/backendtest"
	"github.com/lepto-dev/lepto/internal/backend/backendtest/bounds"
	"github.com/lepto-dev/lepto/internal/backend/backendtest/probe"
	"github.com/lepto-dev/lepto/internal/fault"
	"github.com/lepto-dev/lepto/internal/image"
)

// askHost talks to a published port; "" if the service answers.
func askHost(host netip.AddrPort, name string) string {
	c, err := net.DialTimeout("tcp", host.String(), bounds.Wide(time.Second))
	if err != nil {
		return err.Error()
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(bounds.Wide(time.Second)))
	if answer, err := probe.Exchange(c, "tcp", "x"); err != nil || answer != name+" got x" {
		return fmt.Sprint(answer, err)
	}
	return ""
}

// tree lists the files of a folder, but for the system call filters that are
// kept for later containers beside the programs.
func tree(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err == nil && e.IsDir() && e.Name() == "filters" {
			return filepath.SkipDir
		}
		out = append(out, path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestDestroyLeavesTheHomeAsItWas(t *testing.T) {
	home := t.TempDir()
	b := openBackend(t, Config{Home: home})
	loadProbe(t, b)
	before := tree(t, home)
	for round := range 2 {
		id := newID()
		e, err := b.CreateEnclave(t.Context(), backend.EnclaveSpec{ID: id})
		if err != nil {
			t.Fatal(err)
		}
		web := spec("web", "serve tcp/8080 then wait")
		web.Publish = []backend.Publish{{ID: "http", Port: 8080, Proto: backend.TCP}}
		web.Mounts = []backend.Mount{{Path: "/data", PersistentKey: "k"}, {Path: "/tree", Trees: []string{t.TempDir()}}}
		if err := e.Start(t.Context(), web); err != nil {
			t.Fatal(err)
		}
		if round == 1 { // a run that fails leaves no more than one that succeeds
			if err := e.Start(t.Context(), spec("bad", "")); err != nil {
				t.Fatal(err)
			}
			broken := spec("broken", "")
			broken.Cmd = []string{"no-such-command"}
			if err := e.Start(t.Context(), broken); err == nil {
				t.Error("it started")
			}
		}
		if err := e.Destroy(t.Context()); err != nil {
			t.Fatal(err)
		}
		if left := footprint(t, b.dir(id), id); len(left) > 0 {
			t.Errorf("left on the host: %q", left)
		}
		if after := tree(t, home); !slices.Equal(before, after) {
			t.Errorf("files were %q, are %q", before, after)
		}
	}
}

func TestRemoveTreeDoesNotDeleteThroughAMount(t *testing.T) {
	dir, precious := t.TempDir(), t.TempDir()
	file := filepath.Join(precious, "data")
	if err := os.WriteFile(file, []byte("kept"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, at := range []string{"a", "a b/c", "twice", "twice"} {
		at = filepath.Join(dir, "x", at)
		if err := os.MkdirAll(at, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := bind(precious, at); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "x", "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := bind(file, filepath.Join(dir, "x", "file")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(precious, filepath.Join(dir, "x", "link")); err != nil {
		t.Fatal(err)
	}
	if err := removeTree(filepath.Join(dir, "x")); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != "kept" {
		t.Errorf("%q, %v", text, err)
	}
	if exists(filepath.Join(dir, "x")) {
		t.Error("it is still there")
	}
	if err := removeTree(filepath.Join(dir, "x")); err != nil {
		t.Errorf("the second time: %v", err)
	}
}

func TestMergeIsDockers(t *testing.T) {
	img := func(entrypoint, cmd string) *image.Image {
		config := v1.Config{Env: []string{"A=image", "B=image"}, Entrypoint: strings.Fields(entrypoint), Cmd: strings.Fields(cmd)}
		return &image.Image{Config: v1.ConfigFile{Config: config}}
	}
	for _, c := range []struct {
		imageEntrypoint, imageCmd, entrypoint, cmd string
		want                                       string
	}{
		{"ie", "ic", "", "", "ie|ic"},
		{"ie", "ic", "", "c", "ie|c"},
		{"ie", "ic", "e", "", "e|"},
		{"ie", "ic", "e", "c", "e|c"},
		{"", "ic", "", "", "|ic"},
		{"ie", "", "", "", "ie|"},
	} {
		doc := merge(backend.ServiceSpec{
			Entrypoint: strings.Fields(c.entrypoint), Cmd: strings.Fields(c.cmd), Env: map[string]string{"B": "service"},
		}, img(c.imageEntrypoint, c.imageCmd))
		if got := strings.Join(doc.Entrypoint, " ") + "|" + strings.Join(doc.Cmd, " "); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
		if doc.Env["A"] != "image" || doc.Env["B"] != "service" || doc.Env["PATH"] != defaultPath {
			t.Errorf("env %v", doc.Env)
		}
	}
}

func TestAddressesRunOut(t *testing.T) {
	subnet := netip.MustParsePrefix("10.0.0.0/29") // .1 is the gateway, .7 broadcast
	taken := map[backend.ServiceName]netip.Addr{}
	for i := range 5 {
		ip, err := freeAddress(subnet, taken)
		if err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprintf("10.0.0.%d", i+2); ip.String() != want {
			t.Errorf("got %s, want %s", ip, want)
		}
		taken[backend.ServiceName(fmt.Sprint(i))] = ip
	}
	if ip, err := freeAddress(subnet, taken); err == nil {
		t.Errorf("got %s", ip)
	}
	delete(taken, "1")
	if ip, err := freeAddress(subnet, taken); err != nil || ip.String() != "10.0.0.3" {
		t.Errorf("got %s, %v", ip, err)
	}
}

func TestAPersistentDirectoryBeginsAsTheImageHasIt(t *testing.T) {
	s := newStage(t)
	db := spec("db", "read /etc/plain then write /etc/plain changed then exit 0")
	db.Mounts = []backend.Mount{{Path: "/etc", PersistentKey: "etc/of db"}}
	s.start(db)
	exit, err := s.e.Wait(t.Context(), "db")
	s.must(err)
	if got := s.logged(s.e, "db"); exit.Code != 0 || !slices.Equal(got, []string{"just text"}) {
		t.Errorf("exit %+v, logged %q", exit, got)
	}
	s.must(s.e.Remove(t.Context(), "db"))
	db = spec("db", "read /etc/plain")
	db.Mounts = []backend.Mount{{Path: "/etc", PersistentKey: "etc/of db"}}
	s.start(db)
	_, err = s.e.Wait(t.Context(), "db")
	s.must(err)
	if got := s.logged(s.e, "db"); !slices.Equal(got, []string{"changed"}) {
		t.Errorf("logged %q", got)
	}
	// A directory that the image keeps open to all is so here.
	tmp := spec("tmp", "write /tmp/x y then exit 0")
	tmp.User = "1000:1000"
	tmp.Mounts = []backend.Mount{{Path: "/tmp", PersistentKey: "tmp"}}
	s.start(tmp)
	if exit, err = s.e.Wait(t.Context(), "tmp"); err != nil || exit.Code != 0 {
		t.Errorf("exit %+v, %v: %q", exit, err, s.logged(s.e, "tmp"))
	}
}

func TestAnImageInUseIsNotRemoved(t *testing.T) {
	s := newStage(t)
	s.start(spec("db", "exit 0"))
	if err := s.b.RemoveImage(t.Context(), backendtest.ProbeRef); err == nil {
		t.Error("the image of a service was removed")
	}
	s.must(s.e.Remove(t.Context(), "db"))
	s.must(s.b.RemoveImage(t.Context(), backendtest.ProbeRef))
}

func TestKernelsThatAreTooOld(t *testing.T) {
	for release, old := range map[string]bool{
		"4.19.0-27-amd64": true, "5.4.0-150-generic": true, "5.10.0-30-amd64": true, "5.11.22": true, "odd": true,
		"5.12.0": false, "5.15.167.4-microsoft-standard-WSL2": false, "6.1.0-56-cloud-amd64": false, "10.0": false,
	} {
		if got := tooOld(release); got != old {
			t.Errorf("Linux %s: too old %v, want %v", release, got, old)
		}
	}
}

func TestAHomeThatNothingCanBeRunFrom(t *testing.T) {
	home := t.TempDir()
	if err := unix.Mount("tmpfs", home, "tmpfs", unix.MS_NOEXEC, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(home, unix.MNT_DETACH) })
	if c := checkDisk(filepath.Join(home, "new")); c.Status != CheckFail || !strings.Contains(c.Found, "noexec") {
		t.Errorf("%+v", c)
	}
}

func bind(from, to string) error { return unix.Mount(from, to, "", unix.MS_BIND, "") }

func TestBuildRunsCommands(t *testing.T) {
	b := openBackend(t, Config{Home: t.TempDir()})
	loadProbe(t, b)
	dir := t.TempDir()
	file := "FROM " + backendtest.ProbeRef + `
USER app
RUN ["probe", "write", "/work/made", "in the build"]
USER 0
ENV COLOUR=red
CMD ["probe", "read", "/work/made", "then", "env", "COLOUR"]
`
	write := func(text string) {
		if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(file)
	info, err := b.BuildImage(t.Context(), backend.BuildSpec{Tag: "built.test/x:1", ContextDir: dir}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if info.Source != backend.SourceBuilt || info.Digest == "" {
		t.Errorf("info is %+v", info)
	}
	id := newID()
	e, err := b.CreateEnclave(t.Context(), backend.EnclaveSpec{ID: id})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Destroy(t.Context())
	s := &stage{T: t, b: b, id: id, e: e.(*Enclave)}
	s.start(backend.ServiceSpec{Name: "x", UUID: string(newID()), Image: "built.test/x:1"})
	if _, err := e.Wait(t.Context(), "x"); err != nil {
		t.Fatal(err)
	}
	if got := s.logged(s.e, "x"); !slices.Equal(got, []string{"in the build", "red"}) {
		t.Errorf("logged %q", got)
	}
	write(file + `RUN ["probe", "err", "went wrong", "then", "exit", "3"]` + "\n")
	_, err = b.BuildImage(t.Context(), backend.BuildSpec{Tag: "built.test/x:2", ContextDir: dir}, nil)
	var f *fault.Fault
	if !errors.As(err, &f) || f.Code != "E0416" || !strings.Contains(f.Summary, "3") || len(f.Evidence) == 0 {
		t.Errorf("got %v, %+v", err, f)
	}
	if left := cgroupsOf(b.buildCgroup()); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}
