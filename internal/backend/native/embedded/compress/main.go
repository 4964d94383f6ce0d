// Command compress makes DIR/NAME.zst of each FILE, for package embedded:
//
//	compress DIR FILE...
//
// The same input gives the same output, and a .zst file that is the same already
// is left alone, so that what embeds it stays cached.
package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"

	"github.com/klauspost/compress/zstd"
)

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: compress DIR FILE...")
		os.Exit(2)
	}
	if err := compress(os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "compress:", err)
		os.Exit(1)
	}
}

func compress(dir string, files []string) error {
	encoder, err := zstd.NewWriter(nil,
		zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return err
	}
	defer encoder.Close()
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		path := filepath.Join(dir, filepath.Base(file)+".zst")
		if err := replace(path, encoder.EncodeAll(data, nil)); err != nil {
			return err
		}
	}
	return nil
}

// replace writes a file whole, unless it is the same already.
func replace(path string, data []byte) error {
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, data) {
		return nil
	}
	tmp := path + ".tmp"
	if err := os.WriteFile(tmp, data, 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}
