package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/fault"
)

// otherArch is an architecture that this host does not have.
func otherArch() string {
	if runtime.GOARCH == "s390x" {
		return "arm64"
	}
	return "s390x"
}

func ensure(t testing.TB, s *Store, ref string, policy backend.PullPolicy) backend.ImageInfo {
	t.Helper()
	info, err := s.Ensure(testContext(t), backend.ImageRequest{Ref: ref, Policy: policy}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

// wantFault checks an error's code and that its first line has the words.
func wantFault(t testing.TB, err error, code string, words ...string) {
	t.Helper()
	var f *fault.Fault
	if !errors.As(err, &f) || f.Code != code {
		t.Fatalf("error is %v (%T), want a fault %s", err, err, code)
	}
	for _, w := range words {
		if !strings.Contains(f.Summary, w) {
			t.Errorf("summary %q lacks %q", f.Summary, w)
		}
	}
	if strings.Contains(f.Summary, "\n") || f.Hint == "" {
		t.Errorf("summary %q must be one line, hint %q not empty", f.Summary, f.Hint)
	}
}

func TestPullShowsTheMergedView(t *testing.T) {
	h, s := newHub(t), testStore(t, Options{})
	ref := h.push(t, "team/app:v1", imageOf(t, runtime.GOARCH,
		tarOf(t, dir("etc"), file("etc/a", "lower a"), file("etc/b", "lower b"), dir("old"), file("old/x", "1"), file("bin", "file")),
		tarOf(t, file("etc/.wh.a", ""), dir("old"), file("old/.wh..wh..opq", ""), file("old/y", "2")),
		tarOf(t, file("etc/b", "upper b"), file(".wh.bin", ""), dir("bin"), file("bin/sh", "3"))))
	info := ensure(t, s, ref, backend.PullMissing)
	if info.Ref != ref || info.Source != backend.SourceDownloaded || info.Architecture != runtime.GOARCH || info.Warning != "" {
		t.Errorf("info is %+v", info)
	}
	img, err := s.Resolve(ref)
	if err != nil {
		t.Fatal(err)
	}
	if img.Digest != info.Digest || img.Size != info.SizeBytes || len(img.Layers) != 3 || img.Config.Config.Cmd[0] != "/hello" {
		t.Errorf("image is %+v", img)
	}
	sameLines(t, mergedListing(t, img.Layers), []string{
		"drwxr-xr-x 0:0 bin", `-rw-r--r-- 0:0 bin/sh "3"`,
		"drwxr-xr-x 0:0 etc", `-rw-r--r-- 0:0 etc/b "upper b"`,
		"drwxr-xr-x 0:0 old", `-rw-r--r-- 0:0 old/y "2"`,
	})
	noLeftovers(t, s)
}

func TestRootOpaqueHidesLowerLayers(t *testing.T) {
	h, s := newHub(t), testStore(t, Options{})
	ref := h.push(t, "app:v1", imageOf(t, runtime.GOARCH,
		tarOf(t, file("gone", "1")), tarOf(t, file(".wh..wh..opq", ""), file("here", "2")), tarOf(t, file("top", "3"))))
	ensure(t, s, ref, backend.PullMissing)
	img, err := s.Resolve(ref)
	if err != nil {
		t.Fatal(err)
	}
	sameLines(t, mergedListing(t, img.Layers), []string{`-rw-r--r-- 0:0 here "2"`, `-rw-r--r-- 0:0 top "3"`})
}

func TestPullPolicies(t *testing.T) {
	h, s := newHub(t), testStore(t, Options{})
	ref := h.push(t, "app:v1", imageOf(t, runtime.GOARCH, tarOf(t, file("v", "1"))))
	first := ensure(t, s, ref, backend.PullMissing)

	h.behave(nil)
	if info := ensure(t, s, ref, backend.PullMissing); info.Source != backend.SourceCached || h.total() != 0 {
		t.Errorf("missing: source %s after %d requests, want none", info.Source, h.total())
	}
	if info := ensure(t, s, ref, backend.PullAlways); info.Source != backend.SourceCached || h.count("HEAD manifests") != 1 || h.count("GET manifests") != 0 {
		t.Errorf("always, not moved: source %s, %v", info.Source, h.counts)
	}
	h.push(t, "app:v1", imageOf(t, runtime.GOARCH, tarOf(t, file("v", "1")), tarOf(t, file("w", "2"))))
	if info := ensure(t, s, ref, backend.PullMissing); info.Digest != first.Digest {
		t.Error("missing: took the moved image")
	}
	h.behave(nil)
	info := ensure(t, s, ref, backend.PullAlways)
	if info.Source != backend.SourceDownloaded || info.Digest == first.Digest {
		t.Errorf("always, moved: %+v", info)
	}
	if n := h.count("GET blobs"); n != 2 { // a config and the layer that is new
		t.Errorf("always, moved: %d blobs were fetched, want 2", n)
	}
	if img, err := s.Resolve(first.Digest); err != nil || img.Digest != first.Digest {
		t.Errorf("image that lost its name: %v", err)
	}
}

func TestPullByDigest(t *testing.T) {
	h, s := newHub(t), testStore(t, Options{})
	img := imageOf(t, runtime.GOARCH, tarOf(t, file("v", "1")))
	ref := h.push(t, "app:v1", img)
	digest, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	byDigest := strings.TrimSuffix(ref, ":v1") + "@" + digest.String()
	tagged := ensure(t, s, ref, backend.PullMissing)
	h.behave(nil)
	if info := ensure(t, s, byDigest, backend.PullMissing); info.Digest != tagged.Digest || h.total() != 0 {
		t.Errorf("digest of a known tag: %+v after %d requests", info, h.total())
	}
	other := testStore(t, Options{})
	if info := ensure(t, other, byDigest, backend.PullMissing); info.Digest != tagged.Digest || info.Source != backend.SourceDownloaded {
		t.Errorf("digest alone: %+v", info)
	}
	if _, err := other.Resolve(byDigest); err != nil {
		t.Error(err)
	}
}

func TestPullFromIndex(t *testing.T) {
	h := newHub(t)
	mine := imageOf(t, runtime.GOARCH, tarOf(t, file("mine", "1")))
	foreign := imageOf(t, otherArch(), tarOf(t, file("foreign", "1")))
	platform := func(os, arch string) v1.Descriptor {
		return v1.Descriptor{Platform: &v1.Platform{OS: os, Architecture: arch}}
	}
	both := mutate.AppendManifests(empty.Index,
		mutate.IndexAddendum{Add: foreign, Descriptor: platform("unknown", "unknown")},
		mutate.IndexAddendum{Add: foreign, Descriptor: platform("linux", otherArch())},
		mutate.IndexAddendum{Add: mine, Descriptor: platform("linux", runtime.GOARCH)})

	s := testStore(t, Options{})
	if info := ensure(t, s, h.push(t, "both:1", both), backend.PullMissing); info.Architecture != runtime.GOARCH || info.Warning != "" {
		t.Errorf("took %+v", info)
	}
	nested := mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: both})
	if info := ensure(t, s, h.push(t, "nested:1", nested), backend.PullMissing); info.Architecture != runtime.GOARCH {
		t.Errorf("nested: took %+v", info)
	}
	windows := mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: mine, Descriptor: platform("windows", "amd64")})
	_, err := s.Ensure(testContext(t), backend.ImageRequest{Ref: h.push(t, "win:1", windows)}, nil)
	wantFault(t, err, "E0411", "win:1", "windows/amd64")

	for _, what := range []string{"index:1", "single:1"} {
		var ref string
		if what == "index:1" {
			ref = h.push(t, what, mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: foreign, Descriptor: platform("linux", otherArch())}))
		} else {
			ref = h.push(t, what, foreign)
		}
		info := ensure(t, s, ref, backend.PullMissing)
		if info.Architecture != otherArch() || !strings.Contains(info.Warning, "is for "+otherArch()) {
			t.Errorf("%s: %+v", what, info)
		}
		wantFault(t, CheckPlatform(info), "E0411", ref, otherArch(), runtime.GOARCH)
	}
}

func TestConcurrentPullsShareTheWork(t *testing.T) {
	h, s := newHub(t), testStore(t, Options{})
	img, err := random.Image(200_000, 4)
	if err != nil {
		t.Fatal(err)
	}
	ref := h.push(t, "app:v1", img)
	twin := h.push(t, "twin:v1", img)
	h.behave(nil)
	var group sync.WaitGroup
	var seen sync.Map
	for i := range 24 {
		group.Go(func() {
			name := ref
			if i%3 == 0 {
				name = twin
			}
			_, err := s.Ensure(testContext(t), backend.ImageRequest{Ref: name}, func(_ string, done, total int64) {
				if done == total && total > 800_000 {
					seen.Store(i, true)
				}
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if n := h.count("GET blobs"); n > 6 { // 4 layers once, a config for each name
		t.Errorf("%d blobs were fetched, want at most 6", n)
	}
	if n := h.count("GET manifests"); n > 2 {
		t.Errorf("%d manifests were fetched, want at most 2", n)
	}
	noLeftovers(t, s)
}

func TestFollowerTakesOverFromACancelledPull(t *testing.T) {
	h, s := newHub(t), testStore(t, Options{})
	ref := h.push(t, "app:v1", imageOf(t, runtime.GOARCH, tarOf(t, file("v", "1"))))
	arrived, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	h.behave(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if strings.Contains(r.URL.Path, "/blobs/") {
			once.Do(func() { close(arrived) })
			select {
			case <-release:
			case <-r.Context().Done():
				return
			}
		}
		next.ServeHTTP(w, r)
	})
	ctx, cancel := context.WithCancelCause(testContext(t))
	var group sync.WaitGroup
	gone := errors.New("first caller left")
	group.Go(func() {
		if _, err := s.Ensure(ctx, backend.ImageRequest{Ref: ref}, nil); !errors.Is(err, gone) {
			t.Errorf("first caller: %v, want its cause", err)
		}
	})
	<-arrived
	group.Go(func() {
		if _, err := s.Ensure(testContext(t), backend.ImageRequest{Ref: ref}, nil); err != nil {
			t.Errorf("second caller: %v", err)
		}
	})
	cancel(gone)
	close(release)
	group.Wait()
	noLeftovers(t, s)
}

func TestInterruptedPullKeepsFinishedLayers(t *testing.T) {
	home := filepath.Join(t.TempDir(), "images")
	h, s := newHub(t), openStore(t, home, Options{})
	img := imageOf(t, runtime.GOARCH, tarOf(t, file("one", "1")), tarOf(t, file("two", "2")))
	ref := h.push(t, "app:v1", img)
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	lost, _ := layers[1].Digest()
	diffID, _ := layers[0].DiffID()
	h.behave(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if strings.HasSuffix(r.URL.Path, lost.String()) {
			for _, err := s.readLayer(diffID.String()); err != nil && r.Context().Err() == nil; _, err = s.readLayer(diffID.String()) {
				runtime.Gosched() // until the other layer is finished
			}
			http.Error(w, "gone", http.StatusNotFound)
			return
		}
		next.ServeHTTP(w, r)
	})
	_, err = s.Ensure(testContext(t), backend.ImageRequest{Ref: ref}, nil)
	wantFault(t, err, "E0410", ref, "404")
	if _, err := s.Resolve(ref); !errors.Is(err, ErrNotFound) {
		t.Errorf("half an image resolves: %v", err)
	}
	noLeftovers(t, s)
	h.behave(nil)
	s = openStore(t, home, Options{})
	ensure(t, s, ref, backend.PullMissing)
	if n := h.count("GET blobs"); n > 2 {
		t.Errorf("%d blobs were fetched, want the config and at most one layer", n)
	}
}

func TestBrokenTransferIsTriedAgain(t *testing.T) {
	h, s := newHub(t), testStore(t, Options{})
	img, err := random.Image(100_000, 1)
	if err != nil {
		t.Fatal(err)
	}
	ref := h.push(t, "app:v1", img)
	layers, _ := img.Layers()
	digest, _ := layers[0].Digest()
	broken := 0
	h.behave(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if strings.HasSuffix(r.URL.Path, digest.String()) && broken < 2 {
			broken++
			w = &cutWriter{ResponseWriter: w, left: 10_000}
		}
		next.ServeHTTP(w, r)
	})
	var last [2]int64
	_, err = s.Ensure(testContext(t), backend.ImageRequest{Ref: ref}, func(_ string, done, total int64) { last = [2]int64{done, total} })
	if err != nil {
		t.Fatal(err)
	}
	if broken != 2 || last[0] != last[1] || last[0] == 0 {
		t.Errorf("broke %d times, progress ended at %v", broken, last)
	}
}

// cutWriter breaks the connection off after some bytes.
type cutWriter struct {
	http.ResponseWriter
	left int
}

func (c *cutWriter) Write(p []byte) (int, error) {
	if len(p) > c.left {
		_, _ = c.ResponseWriter.Write(p[:c.left])
		panic(http.ErrAbortHandler)
	}
	c.left -= len(p)
	return c.ResponseWriter.Write(p)
}

func TestDamagedContentIsRefused(t *testing.T) {
	evil := tarOf(t, file("evil", "1"))
	img := imageOf(t, runtime.GOARCH, tarOf(t, file("good", "1")))
	layers, _ := img.Layers()
	digest, _ := layers[0].Digest()
	for name, body := range map[string][]byte{"other content": evil, "cut short": nil, "too long": bytes.Repeat([]byte("x"), 1<<16)} {
		t.Run(name, func(t *testing.T) {
			h, s := newHub(t), testStore(t, Options{})
			ref := h.push(t, "app:v1", img)
			h.behave(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
				if strings.HasSuffix(r.URL.Path, digest.String()) && r.Method == http.MethodGet {
					_, _ = w.Write(body)
					return
				}
				next.ServeHTTP(w, r)
			})
			_, err := s.Ensure(testContext(t), backend.ImageRequest{Ref: ref}, nil)
			wantFault(t, err, "E0419", ref)
			if entries, _ := os.ReadDir(filepath.Join(s.dir, "layers")); len(entries) != 0 {
				t.Errorf("%d layers are in the store, want none", len(entries))
			}
			noLeftovers(t, s)
		})
	}
}

func TestDiffIDIsVerified(t *testing.T) {
	h, s := newHub(t), testStore(t, Options{})
	img := imageOf(t, runtime.GOARCH, tarOf(t, file("a", "1")))
	config, _ := img.ConfigFile()
	config.RootFS.DiffIDs[0].Hex = strings.Repeat("ab", 32)
	lying, err := mutate.ConfigFile(img, config)
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Ensure(testContext(t), backend.ImageRequest{Ref: h.push(t, "app:v1", lying)}, nil)
	wantFault(t, err, "E0419", "where the image says")
}

func TestPullFaults(t *testing.T) {
	h, s := newHub(t), testStore(t, Options{})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := listener.Addr().String()
	listener.Close()
	answer := func(status int, body string) func(http.ResponseWriter, *http.Request, http.Handler) {
		return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			if r.URL.Path == "/v2/" {
				next.ServeHTTP(w, r)
				return
			}
			http.Error(w, body, status)
		}
	}
	tests := []struct {
		name, ref string
		meddle    func(http.ResponseWriter, *http.Request, http.Handler)
		code      string
		words     []string
	}{
		{name: "no such repository", ref: h.host + "/none:1", code: "E0410", words: []string{`image "` + h.host + `/none:1" not found`, "404", "NAME_UNKNOWN"}},
		{name: "nothing listens", ref: closed + "/app:1", code: "E0412", words: []string{closed, "unreachable", "connection refused"}},
		{name: "unauthorized", ref: h.host + "/app:1", meddle: answer(401, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`), code: "E0413", words: []string{"refuses access", "authentication required"}},
		{name: "forbidden", ref: h.host + "/app:1", meddle: answer(403, ""), code: "E0413", words: []string{"403 Forbidden"}},
		{name: "bad name", ref: "UPPER/case", code: "E0418", words: []string{"UPPER/case"}},
		{name: "unknown id", ref: "sha256:" + strings.Repeat("0", 64), code: "E0410", words: []string{"not found"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h.behave(test.meddle)
			_, err := s.Ensure(testContext(t), backend.ImageRequest{Ref: test.ref}, nil)
			wantFault(t, err, test.code, test.words...)
		})
	}
}

func TestPassingTroubleIsTriedAgain(t *testing.T) {
	h, s := newHub(t), testStore(t, Options{})
	ref := h.push(t, "app:v1", imageOf(t, runtime.GOARCH, tarOf(t, file("a", "1"))))
	failures := 0
	h.behave(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if strings.Contains(r.URL.Path, "/manifests/") && failures < 1 {
			failures++
			http.Error(w, "", http.StatusServiceUnavailable)
			return
		}
		next.ServeHTTP(w, r)
	})
	ensure(t, s, ref, backend.PullMissing)
}

func TestPlainHTTPIsForLoopbackOnly(t *testing.T) {
	for host, want := range map[string]bool{
		"localhost": true, "localhost:5000": true, "127.0.0.1:5000": true, "127.8.9.1": true, "[::1]:5000": true, "[::1]": true,
		"registry.localhost:80": true, "10.0.0.1:5000": false, "example.com": false, "docker.io": false, "localhost.example.com": false,
		"127.0.0.1.example.com": false, "[::ffff:127.0.0.1]:80": true,
	} {
		if got := isLoopback(host); got != want {
			t.Errorf("isLoopback(%q) = %t", host, got)
		}
	}
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://192.168.1.1/v2/", nil)
	_, err := guard{inner: http.DefaultTransport, stall: stallWait}.RoundTrip(req) //nolint:bodyclose // there is none
	wantFault(t, err, "E0412", "192.168.1.1", "https")
}

func TestDiskFull(t *testing.T) {
	cause := &os.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}
	r, _ := parseReference("busybox")
	wantFault(t, pullFault(t.Context(), r, fmt.Errorf("layer: %w", cause)), "E0414", "busybox:latest", "no space left")
	wantFault(t, loadFault(t.Context(), cause), "E0414", "no space left")
}

func TestReferences(t *testing.T) {
	for in, want := range map[string][2]string{
		"busybox":                           {"docker.io/library/busybox:latest", "busybox:latest"},
		"docker.io/library/busybox:1":       {"docker.io/library/busybox:1", "busybox:1"},
		"lepto/quickstart":                  {"docker.io/lepto/quickstart:latest", "lepto/quickstart:latest"},
		"localhost/x":                       {"localhost/x:latest", "localhost/x:latest"},
		"127.0.0.2:5000/x/y:z":              {"127.0.0.2:5000/x/y:z", "127.0.0.2:5000/x/y:z"},
		"ghcr.io/a/b":                       {"ghcr.io/a/b:latest", "ghcr.io/a/b:latest"},
		"a:1@sha256:" + zeroHex:             {"docker.io/library/a@sha256:" + zeroHex, "a@sha256:" + zeroHex},
		"index.docker.io/library/busybox:1": {"docker.io/library/busybox:1", "busybox:1"},
	} {
		r, err := parseReference(in)
		if err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		if r.full() != want[0] || r.familiar() != want[1] {
			t.Errorf("%s is %s, %s; want %v", in, r.full(), r.familiar(), want)
		}
		if again, err := parseReference(r.familiar()); err != nil || again.full() != r.full() {
			t.Errorf("%s does not read back: %v", r.familiar(), err)
		}
	}
}

var zeroHex = strings.Repeat("0", 64)

func TestStalledTransferEnds(t *testing.T) {
	inner := roundTrip(func(req *http.Request) (*http.Response, error) {
		return &http.Response{Body: blockingBody{req.Context()}}, nil
	})
	req, _ := http.NewRequestWithContext(testContext(t), http.MethodGet, "http://localhost/", nil)
	resp, err := guard{inner: inner, stall: 1}.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.ReadAll(resp.Body); !errors.Is(err, errStalled) || !retryable(err) {
		t.Errorf("error is %v, want stalled and retryable", err)
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// blockingBody gives nothing until its request ends.
type blockingBody struct{ ctx context.Context } //nolint:containedctx // a body has no other way to know

func (b blockingBody) Read([]byte) (int, error) {
	<-b.ctx.Done()
	return 0, b.ctx.Err()
}
func (blockingBody) Close() error { return nil }
