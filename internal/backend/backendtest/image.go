package backendtest

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// The references of the images that ProbeImages makes.
const (
	ProbeRef   = "suite.test/probe:1"
	ForeignRef = "suite.test/foreign:1"
)

// ProbeFiles and ProbeLinks are what the probe's image holds besides /bin/probe
// and its directories. Links are absolute paths to their targets.
var (
	ProbeFiles = map[string]string{
		"/etc/passwd": "root:x:0:0:root:/root:/bin/false\napp:x:1000:1000:app:/work:/bin/false\n",
		"/etc/group":  "root:x:0:\napp:x:1000:\n",
		"/etc/plain":  "just text",
	}
	ProbeLinks = map[string]string{"/link": "/etc/plain", "/escape": "../../../etc"}
)

// ProbeCommand, ProbeEnv and ProbeWorkDir are the image's configuration.
var (
	ProbeCommand = []string{"probe", "out", "default command", "then", "wait"}
	ProbeEnv     = map[string]string{"FROM_IMAGE": "yes"}
	ProbeWorkDir = "/work"
)

// ProbeImages builds the suite's images and gives the path of a docker-archive
// with both: ProbeRef, and ForeignRef for another architecture.
func ProbeImages(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	base := layer(t, baseLayer())
	program := layer(t, programLayer(t, dir))
	foreign := "s390x"
	if runtime.GOARCH == foreign {
		foreign = "amd64"
	}
	images := map[name.Tag]v1.Image{}
	for ref, arch := range map[string]string{ProbeRef: runtime.GOARCH, ForeignRef: foreign} {
		tag, err := name.NewTag(ref)
		if err != nil {
			t.Fatal(err)
		}
		images[tag] = image(t, arch, base, program)
	}
	path := filepath.Join(dir, "probe.tar")
	if err := tarball.MultiWriteToFile(path, images); err != nil {
		t.Fatal(err)
	}
	return path
}

func image(t testing.TB, arch string, layers ...v1.Layer) v1.Image {
	t.Helper()
	img, err := mutate.AppendLayers(empty.Image, layers...)
	if err != nil {
		t.Fatal(err)
	}
	file, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	file = file.DeepCopy()
	file.OS, file.Architecture = "linux", arch
	file.Created = v1.Time{Time: time.Unix(1_700_000_000, 0)}
	file.Config.Cmd = ProbeCommand
	file.Config.WorkingDir = ProbeWorkDir
	file.Config.Env = []string{"PATH=/usr/bin:/bin"}
	for k, v := range ProbeEnv {
		file.Config.Env = append(file.Config.Env, k+"="+v)
	}
	img, err = mutate.ConfigFile(img, file)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func layer(t testing.TB, content []byte) v1.Layer {
	t.Helper()
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(content)), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func baseLayer() []byte {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for dir, mode := range map[string]int64{"bin": 0o755, "etc": 0o755, "root": 0o700, "tmp": 0o1777, "work": 0o777} {
		w.WriteHeader(&tar.Header{Name: dir + "/", Mode: mode, Typeflag: tar.TypeDir})
	}
	for path, text := range ProbeFiles {
		w.WriteHeader(&tar.Header{Name: path[1:], Mode: 0o644, Size: int64(len(text)), Typeflag: tar.TypeReg})
		io.WriteString(w, text)
	}
	for path, target := range ProbeLinks {
		w.WriteHeader(&tar.Header{Name: path[1:], Linkname: target, Mode: 0o777, Typeflag: tar.TypeSymlink})
	}
	w.Close()
	return buf.Bytes()
}

// programLayer compiles the probe. Where the directory that LEPTO_TEST_PROGRAMS
// names has one, because there is no compiler, it is taken.
func programLayer(t testing.TB, dir string) []byte {
	t.Helper()
	path := filepath.Join(os.Getenv("LEPTO_TEST_PROGRAMS"), "probe")
	if _, err := os.Stat(path); err != nil {
		path = filepath.Join(dir, "probe")
		compileProbe(t, path)
	}
	program, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	w.WriteHeader(&tar.Header{Name: "bin/probe", Mode: 0o755, Size: int64(len(program)), Typeflag: tar.TypeReg})
	w.Write(program)
	w.Close()
	return buf.Bytes()
}

func compileProbe(t testing.TB, path string) {
	t.Helper()
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", path,
		"github.com/lepto-dev/lepto/internal/backend/backendtest/probe/cmd")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the probe: %v\n%s", err, out)
	}
}
