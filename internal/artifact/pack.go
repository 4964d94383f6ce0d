package artifact

import (
	"archive/tar"
	"context"
	"io"
	"os"
	"path/filepath"

	"github.com/klauspost/compress/gzip"
)

// This file writes archives.

// PackPath writes a tar of a file or directory of this host, as an artifact of it
// has it: see [Builder.Copy]. It goes to an engine on the same host, so that
// compressing it would only cost time.
func PackPath(ctx context.Context, path string, w io.Writer) error {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	info, err := os.Stat(real)
	if err != nil {
		return err
	}
	dir, from := real, walking{}
	if !info.IsDir() {
		dir, from.rel, from.as = filepath.Dir(real), filepath.Base(real), filepath.Base(path)
	}
	if from.root, err = os.OpenRoot(dir); err != nil {
		return err
	}
	defer from.root.Close()
	return pack(ctx, from, w)
}

// packGzip writes a gzip'ed tar.
func packGzip(ctx context.Context, from walking, w io.Writer) error {
	zipped, err := gzip.NewWriterLevel(w, gzip.BestSpeed)
	if err != nil {
		return err
	}
	if err := pack(ctx, from, zipped); err != nil {
		return err // what was written must not look whole
	}
	return zipped.Close()
}

// pack writes a tar.
func pack(ctx context.Context, from walking, w io.Writer) error {
	out := tar.NewWriter(w)
	buf := make([]byte, 256<<10)
	if err := walk(ctx, from, func(e item) error { return packItem(ctx, out, e, buf) }); err != nil {
		return err
	}
	return out.Close()
}

func packItem(ctx context.Context, out *tar.Writer, e item, buf []byte) error {
	h := &tar.Header{Name: e.name, Mode: int64(e.info.Mode().Perm()), ModTime: e.info.ModTime(), Typeflag: tar.TypeReg}
	switch {
	case e.info.IsDir():
		h.Name, h.Typeflag = e.name+"/", tar.TypeDir
		return out.WriteHeader(h)
	case e.link != "":
		h.Typeflag, h.Linkname = tar.TypeSymlink, e.link
		return out.WriteHeader(h)
	}
	in, err := e.open()
	if err != nil {
		return err
	}
	defer in.Close()
	h.Size = e.info.Size()
	if err := out.WriteHeader(h); err != nil {
		return err
	}
	_, err = io.CopyBuffer(struct{ io.Writer }{out}, io.LimitReader(cancellable{ctx, in}, h.Size), buf)
	return err // a file that has shrunk fails at the next header
}

// cancellable is a reader that ends with its context.
type cancellable struct {
	ctx context.Context
	r   io.Reader
}

// Read reads unless the context has ended.
func (c cancellable) Read(p []byte) (int, error) {
	if cause := context.Cause(c.ctx); cause != nil {
		return 0, cause
	}
	return c.r.Read(p)
}
