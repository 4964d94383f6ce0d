package artifact

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"unicode"
	"unicode/utf8"

	"github.com/lepto-dev/lepto/internal/fault"
)

// This file looks into trees of the store. The caller pins them.

// Pack writes a tree as a gzip'ed tar.
func (s *Store) Pack(ctx context.Context, hash string, w io.Writer) error {
	root, err := os.OpenRoot(s.Dir(hash))
	if err != nil {
		return err
	}
	defer root.Close()
	return packGzip(ctx, walking{root: root, stored: true}, w)
}

// CodeNoFile is the code of a file that an artifact does not have.
const CodeNoFile = "E0811"

// OpenFile opens a file of a tree, through links that stay in it.
// fault.ErrNotFound if it has no such file.
func (s *Store) OpenFile(hash, name string) (io.ReadCloser, error) {
	root, err := os.OpenRoot(s.Dir(hash))
	if err != nil {
		return nil, err
	}
	defer root.Close()
	clean, err := CleanPath(name)
	if err != nil {
		return nil, fmt.Errorf("%q %w: %w", name, err, fault.ErrNotFound)
	}
	file, err := root.Open(filepath.FromSlash(clean))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, fault.ErrNotFound)
	}
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(fmt.Errorf("%q is no file: %w", name, fault.ErrNotFound), err, file.Close())
	}
	return file, nil
}

// An Entry is what a tree has at a path.
type Entry struct {
	Path string // of a directory, with a "/" at its end
	Size int64
	Link string // of a symbolic link: where it leads
	// Preview is the whole text of a file that is short and can be shown; IsText
	// says that it is one.
	Preview string
	IsText  bool
}

// maxPreviews bounds the text of all previews of a tree, in bytes: they travel
// in one message.
const maxPreviews = 2 << 20 // clients take 4 MiB

// maxPreview bounds that of one.
const maxPreview = 512 << 10

// Entries lists what a tree has, in order of paths, with previews if wanted.
func (s *Store) Entries(ctx context.Context, hash string, previews bool) ([]Entry, error) {
	root, err := os.OpenRoot(s.Dir(hash))
	if err != nil {
		return nil, err
	}
	defer root.Close()
	left := int64(maxPreviews)
	if !previews {
		left = 0
	}
	var out []Entry
	err = walk(ctx, walking{root: root, stored: true}, func(in item) (err error) {
		e := Entry{Path: in.name, Size: in.info.Size(), Link: in.link}
		switch {
		case in.info.IsDir():
			e = Entry{Path: in.name + "/"}
		case in.link == "" && e.Size <= min(left, maxPreview):
			e.Preview, e.IsText, err = preview(root, in.name)
			left -= int64(len(e.Preview))
		}
		out = append(out, e)
		return err
	})
	return out, err
}

// maxLine bounds a line of a text that can be shown, in bytes.
const maxLine = 64 << 10

// preview gives a file's text, unless it is none.
func preview(root *os.Root, name string) (text string, isText bool, err error) {
	data, err := root.ReadFile(filepath.FromSlash(name))
	if errors.Is(err, fs.ErrPermission) {
		return "", false, nil
	}
	if err != nil || !printable(data) {
		return "", false, err
	}
	return string(data), true, nil
}

func printable(data []byte) bool {
	if !utf8.Valid(data) {
		return false
	}
	for _, r := range string(data) {
		if r != '\n' && r != '\t' && r != '\r' && !unicode.IsPrint(r) {
			return false
		}
	}
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(make([]byte, 0, maxLine), maxLine)
	for lines.Scan() { //nolint:revive // only the lengths count
	}
	return lines.Err() == nil
}
