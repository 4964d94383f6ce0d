package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"
)

func addLayer(t testing.TB, s *Store, entries ...tarEntry) Layer {
	t.Helper()
	layer, err := s.AddLayer(testContext(t), bytes.NewReader(tarOf(t, entries...)))
	if err != nil {
		t.Fatal(err)
	}
	return layer
}

func commit(t testing.TB, s *Store, ref string, layers ...Layer) *Image {
	t.Helper()
	img, err := s.Commit(testContext(t), ref, layers, v1.ConfigFile{Architecture: runtime.GOARCH, OS: "linux"})
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func exists(l Layer) bool {
	_, err := os.Stat(l.Dir)
	return err == nil
}

func TestCommitAndRemove(t *testing.T) {
	s := testStore(t, Options{})
	shared, own := addLayer(t, s, file("shared", "1")), addLayer(t, s, file("own", "2"))
	app := commit(t, s, "app", shared, own)
	commit(t, s, "app:alias", shared, own)
	commit(t, s, "base:1", shared)

	running := func(id string) bool { return id == app.Digest }
	if err := s.Remove(t.Context(), "app", running); err != nil {
		t.Errorf("a name that is not the last may go: %v", err)
	}
	wantFault(t, s.Remove(t.Context(), "app:alias", running), "E0426", "app:alias", "in use")
	wantFault(t, s.Remove(t.Context(), "app", nil), "E0410", "not found")
	if err := s.Remove(t.Context(), "app:alias", nil); err != nil {
		t.Fatal(err)
	}
	if exists(own) || !exists(shared) {
		t.Errorf("own layer is there: %t, shared one: %t", exists(own), exists(shared))
	}
	if _, err := s.Resolve("app:alias"); !errors.Is(err, ErrNotFound) {
		t.Errorf("removed image: %v", err)
	}
	if err := s.Remove(t.Context(), "base:1", nil); err != nil {
		t.Fatal(err)
	}
	if exists(shared) {
		t.Error("the last layer stays")
	}
	noLeftovers(t, s)
}

func TestRemoveByID(t *testing.T) {
	s := testStore(t, Options{})
	img := commit(t, s, "a:1", addLayer(t, s, file("f", "1")))
	commit(t, s, "b:1", img.Layers...)
	if err := s.Remove(t.Context(), img.Digest, nil); err != nil {
		t.Fatal(err)
	}
	if infos, _ := s.List(); len(infos) != 0 {
		t.Errorf("left: %v", infos)
	}
	wantFault(t, s.Remove(t.Context(), img.Digest, nil), "E0410", "not found")
}

func TestPrune(t *testing.T) {
	s := testStore(t, Options{})
	ctx := testContext(t)
	old, current := addLayer(t, s, file("v", "1")), addLayer(t, s, file("v", "2"))
	step := addLayer(t, s, file("step", "1"))
	if err := s.CachePut(ctx, "step", CacheEntry{DiffID: step.DiffID}); err != nil {
		t.Fatal(err)
	}
	lost := commit(t, s, "app", old)
	commit(t, s, "app", current)
	infos, err := s.List()
	if err != nil || len(infos) != 2 || infos[1].Ref != lost.Digest {
		t.Errorf("an image without a name is listed under its id: %v, %v", infos, err)
	}
	if err := s.Prune(ctx, func(id string) bool { return id == lost.Digest }); err != nil {
		t.Fatal(err)
	}
	if !exists(old) || !exists(current) || exists(step) {
		t.Errorf("in use %t, named %t, build step %t", exists(old), exists(current), exists(step))
	}
	if err := s.Prune(ctx, nil); err != nil {
		t.Fatal(err)
	}
	if exists(old) || !exists(current) {
		t.Errorf("unnamed %t, named %t", exists(old), exists(current))
	}
}

func TestBuildStepsKeepTheirLayers(t *testing.T) {
	s := testStore(t, Options{})
	ctx := testContext(t)
	step := addLayer(t, s, file("step", "1"))
	if err := s.CachePut(ctx, "k", CacheEntry{DiffID: step.DiffID, Note: "n"}); err != nil {
		t.Fatal(err)
	}
	commit(t, s, "app", addLayer(t, s, file("x", "1")))
	if err := s.Remove(ctx, "app", nil); err != nil {
		t.Fatal(err)
	}
	entry, layer, ok := s.CacheGet("k")
	if !ok || entry.Note != "n" || layer != step {
		t.Errorf("got %+v, %+v, %t", entry, layer, ok)
	}
	ancient := time.Now().Add(-2 * cacheLife)
	if err := os.Chtimes(s.cachePath("k"), ancient, ancient); err != nil {
		t.Fatal(err)
	}
	if err := s.collect(); err != nil {
		t.Fatal(err)
	}
	if _, _, ok := s.CacheGet("k"); ok || exists(step) {
		t.Error("a step nobody asked for in weeks is still there")
	}
}

func TestCollectionWaitsForWhoeverAdds(t *testing.T) {
	s := testStore(t, Options{})
	other := openStore(t, s.dir, Options{}) // as another process would
	release, err := other.Hold(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	layer := addLayer(t, other, file("f", "1"))
	commit(t, s, "app", addLayer(t, s, file("g", "1")))
	if err := s.Remove(t.Context(), "app", nil); err != nil {
		t.Fatal(err)
	}
	if !exists(layer) {
		t.Fatal("a layer was collected before it could be named")
	}
	commit(t, other, "named", layer)
	release()
	if !exists(layer) {
		t.Error("a named layer was collected")
	}
	if entries, _ := os.ReadDir(filepath.Join(s.dir, "layers")); len(entries) != 1 {
		t.Errorf("%d layers are there, want 1: release collects", len(entries))
	}
}

func TestOpenRemovesLeftovers(t *testing.T) {
	s := testStore(t, Options{})
	dead := filepath.Join(s.dir, "tmp", "work-dead")
	if err := os.MkdirAll(filepath.Join(dead, "fs", "deep"), 0o755); err != nil {
		t.Fatal(err)
	}
	alive, release, err := s.workDir(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	openStore(t, s.dir, Options{})
	if _, err := os.Stat(dead); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a dead process' folder stays: %v", err)
	}
	if _, err := os.Stat(alive); err != nil {
		t.Errorf("a living process' folder is gone: %v", err)
	}
}

func TestMissingLayerMakesAnImageMissing(t *testing.T) {
	s := testStore(t, Options{})
	img := commit(t, s, "app", addLayer(t, s, file("f", "1")))
	if err := os.RemoveAll(filepath.Dir(img.Layers[0].Dir)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Resolve("app"); !errors.Is(err, ErrNotFound) {
		t.Errorf("error is %v, want not found", err)
	}
	if infos, err := s.List(); err != nil || len(infos) != 0 {
		t.Errorf("listed: %v, %v", infos, err)
	}
}

func TestDamagedNameIsLeftOut(t *testing.T) {
	s := testStore(t, Options{})
	commit(t, s, "app", addLayer(t, s, file("f", "1")))
	if err := os.WriteFile(filepath.Join(s.dir, "refs", "bad.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if infos, err := s.List(); err != nil || len(infos) != 1 {
		t.Errorf("listed: %v, %v", infos, err)
	}
}

// TestManyAtOnce adds, names, removes and collects from several stores on one
// directory; what is named in the end must be whole.
func TestManyAtOnce(t *testing.T) {
	base := testStore(t, Options{})
	var group sync.WaitGroup
	for worker := range 4 {
		s := openStore(t, base.dir, Options{})
		group.Go(func() {
			for i := range 6 {
				ref := fmt.Sprintf("app:%d-%d", worker, i)
				release, err := s.Hold(testContext(t))
				if err != nil {
					t.Error(err)
					return
				}
				shared, err := s.AddLayer(testContext(t), bytes.NewReader(tarOf(t, file("shared", fmt.Sprint(i)))))
				if err == nil {
					_, err = s.Commit(testContext(t), ref, []Layer{shared}, v1.ConfigFile{Author: ref})
				}
				release()
				if err == nil && i%2 == 0 {
					err = s.Remove(testContext(t), ref, nil)
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	infos, err := base.List()
	if err != nil || len(infos) != 12 {
		t.Errorf("%d images, %v; want 12", len(infos), err)
	}
	if entries, _ := os.ReadDir(filepath.Join(base.dir, "layers")); len(entries) != 3 {
		t.Errorf("%d layers, want 3", len(entries))
	}
	noLeftovers(t, base)
}

// TestRemovalDuringACollection removes an image while a collection, which has seen its
// layers as needed, is at work: that one collects once more. It is held up by a config
// that is a pipe.
func TestRemovalDuringACollection(t *testing.T) {
	s := testStore(t, Options{})
	layer := addLayer(t, s, file("f", "1"))
	commit(t, s, "app", layer)
	commit(t, s, "other", addLayer(t, s, file("f", "2")))
	pipe := s.configPath("sha256:" + strings.Repeat("f", 64)) // the last that is read
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Remove(t.Context(), "other", nil) }()
	var reader *os.File
	for reader == nil { // until somebody reads
		f, err := os.OpenFile(pipe, os.O_WRONLY|unix.O_NONBLOCK, 0)
		if err == nil {
			reader = f
		} else if !errors.Is(err, unix.ENXIO) || t.Context().Err() != nil {
			t.Fatal(err)
		}
		runtime.Gosched()
	}
	if err := s.Remove(t.Context(), "app", nil); err != nil {
		t.Error(err)
	}
	if !exists(layer) {
		t.Error("two collections were at work at once")
	}
	if err := os.Remove(pipe); err != nil {
		t.Error(err)
	}
	if _, err := reader.WriteString("{}"); err != nil {
		t.Error(err)
	}
	reader.Close()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if exists(layer) {
		t.Error("the layer of the image that was removed meanwhile stays")
	}
	noLeftovers(t, s)
}

func TestLockEndsWithItsContext(t *testing.T) {
	s := testStore(t, Options{})
	unlock, err := s.lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	ctx, cancel := context.WithCancelCause(t.Context())
	gone := errors.New("the user left")
	cancel(gone)
	if _, err := s.lock(ctx); !errors.Is(err, gone) {
		t.Errorf("error is %v, want the cause", err)
	}
}
