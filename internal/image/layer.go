package image

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
)

// layerFile is the content of a layer's layer.json.
type layerFile struct {
	DiffID string `json:"diff_id"`
	contents
}

func (s *Store) layerPath(diffID string) string {
	return filepath.Join(s.dir, "layers", hexOf(diffID))
}

// readLayer reads what the store knows of a layer. The error wraps ErrNotFound
// where the layer is not there.
func (s *Store) readLayer(diffID string) (Layer, error) {
	if !isID(diffID) {
		return Layer{}, fmt.Errorf("%w: %q is no sha256 digest", errCorrupt, diffID)
	}
	dir := s.layerPath(diffID)
	raw, err := os.ReadFile(filepath.Join(dir, "layer.json"))
	if errors.Is(err, os.ErrNotExist) {
		return Layer{}, fmt.Errorf("layer %s: %w", diffID, ErrNotFound)
	}
	if err != nil {
		return Layer{}, fmt.Errorf("layer %s: %w", diffID, err)
	}
	var file layerFile
	if err := json.Unmarshal(raw, &file); err != nil {
		return Layer{}, fmt.Errorf("layer %s: %w", diffID, err)
	}
	return Layer{DiffID: diffID, Dir: filepath.Join(dir, "fs"), Size: file.Size, Opaque: file.Opaque}, nil
}

// AddLayer unpacks an uncompressed tar as a layer. If the store has it already,
// that one is given. Hold the store until the layer is part of an image.
func (s *Store) AddLayer(ctx context.Context, uncompressedTar io.Reader) (Layer, error) {
	layer, err := s.addLayer(ctx, uncompressedTar, "")
	if err != nil {
		return Layer{}, storeFault("store layer", err)
	}
	return layer, nil
}

// addLayer unpacks an uncompressed tar into the store. A wanted diffID is verified.
func (s *Store) addLayer(ctx context.Context, stream io.Reader, want string) (Layer, error) {
	dir, release, err := s.workDir(ctx)
	if err != nil {
		return Layer{}, err
	}
	defer release()
	fs := filepath.Join(dir, "fs")
	if err := os.Mkdir(fs, 0o755); err != nil {
		return Layer{}, err
	}
	if err := os.Chmod(fs, 0o755); err != nil { // the umask may be tighter
		return Layer{}, err
	}
	sum := sha256.New()
	// The buffer is above the hash: tar reads in blocks of 512 bytes, which are
	// slow to hash one by one.
	hashed := bufio.NewReaderSize(io.TeeReader(stream, sum), 256<<10)
	done, err := unpack(ctx, fs, hashed, s.limits)
	if err != nil {
		return Layer{}, err
	}
	diffID := "sha256:" + hex.EncodeToString(sum.Sum(nil))
	if want != "" && want != diffID {
		return Layer{}, fmt.Errorf("%w: layer is %s where the image says %s", errCorrupt, diffID, want)
	}
	return s.keepLayer(ctx, dir, layerFile{DiffID: diffID, contents: done})
}

// keepLayer gives a finished work folder its place among the layers.
func (s *Store) keepLayer(ctx context.Context, dir string, file layerFile) (Layer, error) {
	if layer, err := s.readLayer(file.DiffID); err == nil {
		return layer, nil
	}
	raw, err := json.Marshal(file)
	if err != nil {
		return Layer{}, err
	}
	if err := os.WriteFile(filepath.Join(dir, "layer.json"), raw, 0o600); err != nil {
		return Layer{}, err
	}
	if err := settleTree(ctx, dir); err != nil {
		return Layer{}, err
	}
	err = os.Rename(dir, s.layerPath(file.DiffID))
	if err != nil && !errors.Is(err, syscall.ENOTEMPTY) && !errors.Is(err, syscall.EEXIST) {
		return Layer{}, err
	}
	return s.readLayer(file.DiffID)
}
