package e2e

import (
	"archive/tar"
	"bytes"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"net/http"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// This file: images come from a registry, once.

func TestImageFromARegistry(t *testing.T) {
	w := newWorld(t)
	var asked atomic.Int64
	handler := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			asked.Add(1)
		}
		handler.ServeHTTP(rw, r)
	}))
	defer server.Close()
	ref := strings.TrimPrefix(server.URL, "http://") + "/team/lab:1.0"
	push(t, ref)

	script := w.script(`
def run(plan, image):
    plan.add_service("s", ServiceConfig(
        image = image, cmd = ["serve", "8080"],
        ports = {"http": PortSpec(number = 8080, application_protocol = "http")},
    ))
`)
	args := `{"image": "` + ref + `"}`
	w.ok("run", script, args, "--enclave", "first")
	if body, err := get(w.url("first", "s", "http") + "/name"); err != nil || body != "s pulled" {
		t.Errorf("the service answers %q, %v", body, err)
	}
	before := asked.Load()
	w.ok("run", script, args, "--enclave", "second")
	if now := asked.Load(); now != before {
		t.Errorf("an image that is there was asked for again, %d times", now-before)
	}
	if out := w.ok("image", "ls"); !strings.Contains(out, "team/lab") {
		t.Errorf("image ls: %s", out)
	}
	if r := w.run("image", "rm", ref); r.code == 0 {
		t.Error("an image in use was removed")
	}
	w.ok("enclave", "rm", "-f", "first", "second")
	w.ok("image", "rm", ref)
}

// push makes an image of the lab program and pushes it.
func push(t *testing.T, ref string) {
	t.Helper()
	program, err := os.ReadFile(lab)
	must(t, err)
	var layer bytes.Buffer
	archive := tar.NewWriter(&layer)
	must(t, archive.WriteHeader(&tar.Header{Name: "lab", Mode: 0o755, Size: int64(len(program))}))
	_, err = archive.Write(program)
	must(t, err)
	must(t, archive.Close())

	content, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(layer.Bytes())), nil })
	must(t, err)
	image, err := mutate.AppendLayers(empty.Image, content)
	must(t, err)
	image, err = mutate.ConfigFile(image, withConfig(t, image))
	must(t, err)
	tag, err := name.NewTag(ref, name.Insecure)
	must(t, err)
	must(t, remote.Write(tag, image, remote.WithContext(t.Context())))
}

func withConfig(t *testing.T, image v1.Image) *v1.ConfigFile {
	t.Helper()
	config, err := image.ConfigFile()
	must(t, err)
	config = config.DeepCopy()
	config.Architecture, config.OS = runtime.GOARCH, "linux"
	config.Config = v1.Config{Entrypoint: []string{"/lab"}, Env: []string{"LAB=pulled"}}
	return config
}
