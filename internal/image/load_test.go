package image

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"github.com/lepto-dev/lepto/internal/backend"
)

// layoutTar makes an OCI layout of images by name, and tars it.
func layoutTar(t testing.TB, images map[string]v1.Image) []byte {
	t.Helper()
	at := t.TempDir()
	path, err := layout.Write(at, empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	for ref, img := range images {
		options := []layout.Option{}
		if ref != "" {
			options = append(options, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": ref}))
		}
		if err := path.AppendImage(img, options...); err != nil {
			t.Fatal(err)
		}
	}
	return tarDir(t, at)
}

func tarDir(t testing.TB, dir string) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	if err := errors.Join(w.AddFS(os.DirFS(dir)), w.Close()); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// dockerTar makes what "docker save" writes.
func dockerTar(t testing.TB, images map[string]v1.Image) []byte {
	t.Helper()
	refs := map[name.Reference]v1.Image{}
	for n, img := range images {
		ref, err := name.ParseReference(n)
		if err != nil {
			t.Fatal(err)
		}
		refs[ref] = img
	}
	var buf bytes.Buffer
	if err := tarball.MultiRefWrite(refs, &buf); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// legacyTar is an archive of the kind of Docker 1.10 to 24: a folder for each
// layer, the second being a link to the first.
func legacyTar(t testing.TB, link func(name, target string) tarEntry) []byte {
	t.Helper()
	layer := tarOf(t, file("f", "1"))
	diffID, err := v1.NewHash(digestOf(layer))
	if err != nil {
		t.Fatal(err)
	}
	config, err := json.Marshal(v1.ConfigFile{Architecture: runtime.GOARCH, OS: "linux",
		RootFS: v1.RootFS{Type: "layers", DiffIDs: []v1.Hash{diffID, diffID}}})
	if err != nil {
		t.Fatal(err)
	}
	return tarOf(t,
		dir("aa/"), file("aa/VERSION", "1.0"), file("aa/json", "{}"), file("aa/layer.tar", string(layer)),
		dir("bb/"), link("bb/layer.tar", "../aa/layer.tar"),
		file("cfg.json", string(config)),
		file("manifest.json", `[{"Config":"cfg.json","RepoTags":["old/app:1","old/app:2"],"Layers":["aa/layer.tar","bb/layer.tar"]}]`),
		file("repositories", `{"old/app":{"1":"bb"}}`))
}

func squeeze(t testing.TB, content []byte, how string) []byte {
	t.Helper()
	var buf bytes.Buffer
	var w io.WriteCloser = gzip.NewWriter(&buf)
	if how == "xz" {
		z, err := xz.NewWriter(&buf)
		if err != nil {
			t.Fatal(err)
		}
		w = z
	}
	if how == "zstd" {
		z, err := zstd.NewWriter(&buf)
		if err != nil {
			t.Fatal(err)
		}
		w = z
	}
	_, err := w.Write(content)
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func TestLoad(t *testing.T) {
	one := imageOf(t, runtime.GOARCH, tarOf(t, dir("etc"), file("etc/one", "1")))
	two := imageOf(t, runtime.GOARCH, tarOf(t, dir("etc"), file("etc/one", "1")), tarOf(t, file("two", "2")))
	id, _ := two.ConfigName()
	tests := []struct {
		name    string
		archive []byte
		want    []string
	}{
		{"docker-archive", dockerTar(t, map[string]v1.Image{"app:1": one}), []string{"app:1"}},
		{"docker-archive of several", dockerTar(t, map[string]v1.Image{"app:1": one, "ghcr.io/x/app:2": two}), []string{"app:1", "ghcr.io/x/app:2"}},
		{"docker-archive, gzip", squeeze(t, dockerTar(t, map[string]v1.Image{"app:1": one}), "gzip"), []string{"app:1"}},
		{"docker-archive, xz", squeeze(t, dockerTar(t, map[string]v1.Image{"app:1": one}), "xz"), []string{"app:1"}},
		{"docker-archive, zstd", squeeze(t, dockerTar(t, map[string]v1.Image{"app:1": one}), "zstd"), []string{"app:1"}},
		{"legacy with symlink", legacyTar(t, symlink), []string{"old/app:1", "old/app:2"}},
		{"legacy with hard link", legacyTar(t, func(n, _ string) tarEntry { return hardlink(n, "aa/layer.tar") }), []string{"old/app:1", "old/app:2"}},
		{"layout", layoutTar(t, map[string]v1.Image{"docker.io/library/app:1": one}), []string{"app:1"}},
		{"layout of several", layoutTar(t, map[string]v1.Image{"app:1": one, "x.io/app:2": two}), []string{"app:1", "x.io/app:2"}},
		{"layout without a name", layoutTar(t, map[string]v1.Image{"": two}), []string{id.String()}},
		{"layout with only a tag", layoutTar(t, map[string]v1.Image{"latest": two}), []string{id.String()}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := testStore(t, Options{})
			for range 2 { // the second time it is all there
				infos, err := s.Load(testContext(t), bytes.NewReader(test.archive))
				if err != nil {
					t.Fatal(err)
				}
				sameRefs(t, infos, test.want)
			}
			listed, err := s.List()
			if err != nil {
				t.Fatal(err)
			}
			sameRefs(t, listed, test.want)
			for _, ref := range test.want {
				img, err := s.Resolve(ref)
				if err != nil {
					t.Fatal(err)
				}
				if len(listing(t, img.Layers[0].Dir)) == 0 {
					t.Errorf("%s has an empty layer", ref)
				}
				info := ensure(t, s, ref, backend.PullMissing)
				if info.Source != backend.SourceCached {
					t.Errorf("%s was not found in the store", ref)
				}
			}
			noLeftovers(t, s)
		})
	}
}

func sameRefs(t *testing.T, infos []backend.ImageInfo, want []string) {
	t.Helper()
	var got []string
	for _, info := range infos {
		got = append(got, info.Ref)
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("images are %q, want %q", got, want)
	}
}

func TestLoadLayoutOfSeveralPlatforms(t *testing.T) {
	mine := imageOf(t, runtime.GOARCH, tarOf(t, file("mine", "1")))
	foreign := imageOf(t, otherArch(), tarOf(t, file("foreign", "1")))
	at := t.TempDir()
	path, err := layout.Write(at, empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	inner := mutate.AppendManifests(empty.Index,
		mutate.IndexAddendum{Add: foreign, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: otherArch()}}},
		mutate.IndexAddendum{Add: mine, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: runtime.GOARCH}}})
	names := layout.WithAnnotations(map[string]string{"io.containerd.image.name": "docker.io/x/app:1", "org.opencontainers.image.ref.name": "1"})
	if err := path.AppendIndex(inner, names); err != nil {
		t.Fatal(err)
	}
	infos, err := testStore(t, Options{}).Load(testContext(t), bytes.NewReader(tarDir(t, at)))
	if err != nil {
		t.Fatal(err)
	}
	if len(infos) != 1 || infos[0].Ref != "x/app:1" || infos[0].Architecture != runtime.GOARCH {
		t.Errorf("loaded %+v", infos)
	}
}

func TestLoadRefuses(t *testing.T) {
	img := imageOf(t, runtime.GOARCH, tarOf(t, file("f", "1")))
	whole := dockerTar(t, map[string]v1.Image{"app:1": img})
	blobs := layoutTar(t, map[string]v1.Image{"app:1": img})
	tests := []struct {
		name    string
		archive []byte
		code    string
		words   string
	}{
		{"no archive", []byte("hello"), "E0419", "image archive"},
		{"nothing", nil, "E0419", "neither manifest.json"},
		{"a plain tar", tarOf(t, file("x", "1")), "E0419", "neither manifest.json"},
		{"an archive cut short", whole[:len(whole)/2], "E0419", "image archive"},
		{"a gzip cut short", squeeze(t, whole, "gzip")[:300], "E0419", "image archive"},
		{"no config", tarOf(t, file("manifest.json", `[{"Config":"c.json","Layers":[]}]`)), "E0419", `config "c.json" is missing`},
		{"other layer", rewrite(t, legacyTar(t, symlink), "aa/layer.tar", tarOf(t, file("evil", "1"))), "E0419", "where the config says"},
		{"no layer", rewrite(t, legacyTar(t, symlink), "aa/layer.tar", []byte("{}")), "E0419", "is missing"},
		{"bad blob", rewrite(t, blobs, "blobs/", []byte("{}")), "E0419", "not what its digest says"},
		{"bad name", rewrite(t, legacyTar(t, symlink), "manifest.json", []byte(`[{"Config":"cfg.json","RepoTags":["BAD/x"],"Layers":["aa/layer.tar","bb/layer.tar"]}]`)), "E0418", "BAD/x"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := testStore(t, Options{})
			_, err := s.Load(testContext(t), bytes.NewReader(test.archive))
			wantFault(t, err, test.code, test.words)
			if infos, _ := s.List(); len(infos) != 0 {
				t.Errorf("%d images are there", len(infos))
			}
			noLeftovers(t, s)
		})
	}
}

// rewrite replaces the content of files whose name starts with prefix.
func rewrite(t testing.TB, archive []byte, prefix string, content []byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	in, out := tar.NewReader(bytes.NewReader(archive)), tar.NewWriter(&buf)
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(in)
		if strings.HasPrefix(h.Name, prefix) && h.Typeflag == tar.TypeReg {
			body, h.Size = content, int64(len(content))
		}
		err = out.WriteHeader(h)
		if _, werr := out.Write(body); err != nil || werr != nil {
			t.Fatal(err, werr)
		}
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func FuzzLoad(f *testing.F) {
	img := imageOf(f, runtime.GOARCH, tarOf(f, file("f", "1")))
	f.Add(dockerTar(f, map[string]v1.Image{"app:1": img}))
	f.Add(layoutTar(f, map[string]v1.Image{"app:1": img}))
	f.Add(legacyTar(f, symlink))
	s := openStore(f, filepath.Join(f.TempDir(), "images"), Options{Limits: Limits{LayerBytes: 1 << 20, LayerEntries: 200}})
	f.Fuzz(func(t *testing.T, content []byte) {
		infos, err := s.Load(testContext(t), bytes.NewReader(content))
		if err == nil && len(infos) == 0 && !bytes.Contains(content, []byte("[]")) {
			t.Error("neither images nor an error")
		}
		noLeftovers(t, s)
	})
}
