package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/lepto-dev/lepto/internal/api/chunks"
)

// This file spools files that arrive in chunks.

// upload is a file that arrived. Close removes it.
type upload struct {
	*os.File
	name string
}

// Close closes and removes the file.
func (u *upload) Close() error {
	return errors.Join(u.File.Close(), os.Remove(u.Name()))
}

// receive spools a stream of chunks into a file under dir, at its start again.
func receive(ctx context.Context, stream chunks.Stream, dir string, limit int64) (_ *upload, err error) {
	file, err := os.CreateTemp(dir, "upload-")
	if err != nil {
		return nil, fmt.Errorf("spool upload: %w", err)
	}
	u := &upload{File: file}
	defer func() {
		if err != nil {
			err = errors.Join(err, u.Close())
		}
	}()
	content := chunks.NewReader(stream, limit)
	if u.name, err = content.Name(); err != nil {
		return nil, err
	}
	if _, err := io.Copy(file, content); err != nil {
		return nil, fmt.Errorf("spool upload: %w", err)
	}
	if cause := context.Cause(ctx); cause != nil {
		return nil, cause
	}
	if _, err := file.Seek(0, 0); err != nil {
		return nil, fmt.Errorf("spool upload: %w", err)
	}
	return u, nil
}
