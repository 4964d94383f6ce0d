package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// This file reads and writes the store's small files.

// record is the content of a file in refs.
type record struct {
	Ref    string `json:"ref"`    // the whole name
	Config string `json:"config"` // sha256:… of the config
	// Manifest is the digest the name had at the registry: of an index or of a
	// manifest. Empty for images that come from no registry.
	Manifest string `json:"manifest,omitempty"`
}

// hexOf gives the hex digits of a sha256:… digest.
func hexOf(digest string) string { return strings.TrimPrefix(digest, "sha256:") }

// digestOf gives the digest of content.
func digestOf(content []byte) string {
	sum := sha256.Sum256(content)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func (s *Store) refPath(full string) string {
	return filepath.Join(s.dir, "refs", hexOf(digestOf([]byte(full)))+".json")
}

func (s *Store) configPath(id string) string {
	return filepath.Join(s.dir, "configs", hexOf(id)+".json")
}

// commit writes a config and names it. rec.Config is set here.
func (s *Store) commit(ctx context.Context, config []byte, rec record) error {
	unlock, err := s.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	rec.Config = digestOf(config)
	if s.committed(rec) {
		return nil
	}
	if err := s.writeFile(s.configPath(rec.Config), config, rec.Ref == ""); err != nil {
		return err
	}
	if rec.Ref == "" {
		return nil
	}
	raw, err := json.Marshal(rec)
	if err != nil {
		return err
	}
	return s.writeFile(s.refPath(rec.Ref), raw, true)
}

// committed reports whether all that commit would write is there, as it is when
// a build is repeated.
func (s *Store) committed(rec record) bool {
	if _, err := os.Stat(s.configPath(rec.Config)); err != nil {
		return false
	}
	there, err := readRecord(s.refPath(rec.Ref))
	return err == nil && there == rec
}

// readRef reads what the store knows of a name. A name with a digest is also
// found where another name of the repository has that digest.
func (s *Store) readRef(r reference) (record, error) {
	rec, err := readRecord(s.refPath(r.full()))
	if err == nil {
		return rec, nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return rec, fmt.Errorf("image %q: %w", r.familiar(), err)
	}
	if digest := r.digest(); digest != "" {
		refs, err := s.readRefs()
		if err != nil {
			return rec, err
		}
		for _, rec := range refs {
			if rec.Manifest == digest && strings.HasPrefix(rec.Ref, r.repository()+":") {
				return rec, nil
			}
		}
	}
	return rec, fmt.Errorf("image %q: %w", r.familiar(), ErrNotFound)
}

func readRecord(path string) (record, error) {
	var rec record
	raw, err := os.ReadFile(path)
	if err != nil {
		return rec, err
	}
	if err := json.Unmarshal(raw, &rec); err != nil {
		return rec, fmt.Errorf("%s: %w", path, err)
	}
	if !isID(rec.Config) {
		return rec, fmt.Errorf("%s: config %q is no digest", path, rec.Config)
	}
	return rec, nil
}

// readRefs reads all names, in no order. A damaged file is logged and left out.
func (s *Store) readRefs() ([]record, error) {
	entries, err := os.ReadDir(filepath.Join(s.dir, "refs"))
	if err != nil {
		return nil, err
	}
	var out []record
	for _, e := range entries {
		rec, err := readRecord(filepath.Join(s.dir, "refs", e.Name()))
		switch {
		case err == nil:
			out = append(out, rec)
		case !errors.Is(err, os.ErrNotExist):
			s.log.Warn("image name is unreadable", "error", err)
		}
	}
	return out, nil
}

// configIDs lists the ids of all images, named or not.
func (s *Store) configIDs() ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(s.dir, "configs"))
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range entries {
		if id := "sha256:" + strings.TrimSuffix(e.Name(), ".json"); isID(id) {
			out = append(out, id)
		}
	}
	return out, nil
}

// writeFile writes a file so that after a crash it is there as a whole, or as
// it was before. durable says that it must not be lost either, nor anything
// renamed before it.
func (s *Store) writeFile(path string, content []byte, durable bool) (err error) {
	f, err := os.CreateTemp(filepath.Join(s.dir, "tmp"), "file-")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(content)
	if durable {
		err = errors.Join(err, f.Sync())
	} else {
		err = errors.Join(err, settle(f, startWrite|awaitWrite))
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
