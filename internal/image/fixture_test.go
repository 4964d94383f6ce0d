package image

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"golang.org/x/sys/unix"
)

// stamp is the modification time of all test entries.
var stamp = time.Unix(1_700_000_000, 123_000_000)

// entry makes a header; content is the body of a file or the target of a link.
func entry(typ byte, name, content string) tarEntry {
	h := &tar.Header{Typeflag: typ, Name: name, Mode: 0o644, ModTime: stamp, Format: tar.FormatPAX}
	switch typ {
	case tar.TypeReg:
		h.Size = int64(len(content))
		return tarEntry{h, content}
	case tar.TypeDir:
		h.Mode = 0o755
	default:
		h.Linkname = content
	}
	return tarEntry{h, ""}
}

type tarEntry struct {
	*tar.Header
	content string
}

func file(name, content string) tarEntry    { return entry(tar.TypeReg, name, content) }
func dir(name string) tarEntry              { return entry(tar.TypeDir, name, "") }
func symlink(name, target string) tarEntry  { return entry(tar.TypeSymlink, name, target) }
func hardlink(name, target string) tarEntry { return entry(tar.TypeLink, name, target) }

// with changes an entry's header.
func (e tarEntry) with(change func(*tar.Header)) tarEntry {
	change(e.Header)
	return e
}

func tarOf(t testing.TB, entries ...tarEntry) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, e := range entries {
		if err := w.WriteHeader(e.Header); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// listing gives one line per file below dir: type and mode, owner, name, and
// what is in it.
func listing(t testing.TB, dir string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		out = append(out, describe(t, path, name))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func describe(t testing.TB, path, name string) string {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		t.Fatal(err)
	}
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	line := fmt.Sprintf("%s %d:%d %s", info.Mode(), st.Uid, st.Gid, name)
	switch info.Mode().Type() {
	case fs.ModeSymlink:
		target, _ := os.Readlink(path)
		line += " -> " + target
	case fs.ModeDevice | fs.ModeCharDevice, fs.ModeDevice:
		line += fmt.Sprintf(" dev %d/%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
	case fs.ModeDir:
		if value := make([]byte, 8); true {
			if n, err := unix.Lgetxattr(path, opaqueAttribute, value); err == nil {
				line += " opaque=" + string(value[:n])
			}
		}
	case 0:
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		line += fmt.Sprintf(" %q", content)
	}
	return line
}

func sameLines(t testing.TB, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got:\n\t%s\nwant:\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func testStore(t testing.TB, opts Options) *Store {
	t.Helper()
	return openStore(t, filepath.Join(t.TempDir(), "images"), opts)
}

func openStore(t testing.TB, dir string, opts Options) *Store {
	t.Helper()
	if opts.Logger == nil {
		opts.Logger = quiet()
	}
	if opts.Keychain == nil && opts.DockerConfig == "" {
		opts.Keychain = nobody{}
	}
	s, err := Open(dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// nobody is a keychain without keys: tests must not read the user's.
type nobody struct{}

func (nobody) Resolve(authn.Resource) (authn.Authenticator, error) { return authn.Anonymous, nil }

// hub is a registry on loopback that counts, and can be told to misbehave.
type hub struct {
	host string

	mu     sync.Mutex
	counts map[string]int // "GET /v2/x/blobs" → requests
	meddle func(w http.ResponseWriter, r *http.Request, next http.Handler)
}

func newHub(t testing.TB) *hub {
	t.Helper()
	h := &hub{counts: map[string]int{}}
	inner := registry.New(registry.Logger(slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		parts := strings.Split(r.URL.Path, "/")
		h.mu.Lock()
		h.counts[r.Method+" "+parts[max(len(parts)-2, 0)]]++
		meddle := h.meddle
		h.mu.Unlock()
		if meddle != nil {
			meddle(w, r, inner)
			return
		}
		inner.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	h.host = strings.TrimPrefix(server.URL, "http://")
	return h
}

// behave sets what happens to requests from now on, and forgets the counts.
func (h *hub) behave(meddle func(w http.ResponseWriter, r *http.Request, next http.Handler)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.meddle = meddle
	clear(h.counts)
}

func (h *hub) count(what string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.counts[what]
}

func (h *hub) total() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := 0
	for _, c := range h.counts {
		n += c
	}
	return n
}

// push stores an image or index under a repository and tag, and gives its full name.
func (h *hub) push(t testing.TB, tag string, what remote.Taggable) string {
	t.Helper()
	ref, err := name.ParseReference(h.host + "/" + tag)
	if err != nil {
		t.Fatal(err)
	}
	switch what := what.(type) {
	case v1.Image:
		err = remote.Write(ref, what)
	case v1.ImageIndex:
		err = remote.WriteIndex(ref, what)
	}
	if err != nil {
		t.Fatal(err)
	}
	return ref.Name()
}

// imageOf makes an image for an architecture of layers given as tars.
func imageOf(t testing.TB, arch string, tars ...[]byte) v1.Image {
	t.Helper()
	img, err := mutate.ConfigFile(empty.Image, &v1.ConfigFile{Architecture: arch, OS: "linux", Created: v1.Time{Time: stamp},
		Config: v1.Config{Cmd: []string{"/hello"}, Env: []string{"A=b"}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, content := range tars {
		layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil })
		if err != nil {
			t.Fatal(err)
		}
		if img, err = mutate.AppendLayers(img, layer); err != nil {
			t.Fatal(err)
		}
	}
	return img
}

func testContext(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// mergedListing mounts the layers as overlayfs in a mount namespace of its own
// and lists what a container would see.
func mergedListing(t testing.TB, layers []Layer) []string {
	t.Helper()
	base := t.TempDir()
	for _, d := range []string{"upper", "work", "merged"} {
		if err := os.Mkdir(filepath.Join(base, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	var lower []string
	for _, l := range slices.Backward(layers) {
		lower = append(lower, l.Dir)
	}
	opts := fmt.Sprintf("lowerdir=%s,upperdir=%s/upper,workdir=%s/work", strings.Join(lower, ":"), base, base)
	var out []string
	inNamespace(t, func() error {
		if err := unix.Mount("overlay", base+"/merged", "overlay", 0, opts); err != nil {
			return err
		}
		out = listing(t, base+"/merged")
		return unix.Unmount(base+"/merged", 0)
	})
	return out
}
