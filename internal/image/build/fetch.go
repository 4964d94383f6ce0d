package build

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/lepto-dev/lepto/internal/fault"
)

const (
	maxFetch  = 8 << 30          // bytes of what a URL gives
	fetchTime = 30 * time.Minute // for all of it
)

// fetch adds what a URL gives.
func (a *adder) fetch(ctx context.Context, source string) error {
	u, err := url.Parse(source)
	if err != nil {
		return fault.New("E0415", "%q is no URL: %w", source, err)
	}
	base := path.Base(u.Path)
	if a.to.dir && (base == "/" || base == ".") {
		return fault.New("E0415", "%q names no file", source).WithHint("name the file in the destination: ADD %s /path/file", source)
	}
	file, size, err := a.download(ctx, source)
	if err != nil {
		return err
	}
	open := func() (io.ReadCloser, error) { return os.Open(file) }
	if a.cmd.Unpack != nil && *a.cmd.Unpack {
		return a.unpack(source, size, open)
	}
	name := a.to.name
	if a.to.dir {
		name = path.Join(name, base)
	}
	if err := a.ancestors(path.Dir(name), a.who()); err != nil {
		return err
	}
	h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o600, Uid: a.who().uid, Gid: a.who().gid, Size: size}
	a.mode.apply(h)
	return a.add(h, open)
}

// download fetches a URL into a file, and checks it if the instruction says how.
func (a *adder) download(ctx context.Context, source string) (file string, size int64, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, fetchTime, fmt.Errorf("%w after %s", fault.ErrTimeout, fetchTime))
	defer cancel()
	dir, release, err := a.stage.store.WorkDir(ctx)
	if err != nil {
		return "", 0, err
	}
	a.fetched = append(a.fetched, release)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, source, nil)
	if err != nil {
		return "", 0, fault.New("E0415", "%q is no URL: %w", source, err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", 0, fault.New("E0417", "can't be fetched: %w", err).WithHint("check the URL and the network")
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", 0, fault.New("E0417", "the server answers %s", resp.Status).WithHint("check the URL")
	}
	file = filepath.Join(dir, "fetched")
	f, err := os.Create(file)
	if err != nil {
		return "", 0, err
	}
	sum := sha256.New()
	size, err = io.Copy(io.MultiWriter(f, sum), io.LimitReader(resp.Body, maxFetch+1))
	if err := errors.Join(err, f.Close()); err != nil {
		return "", 0, fault.New("E0417", "can't be fetched: %w", err).WithHint("check the network and the disk")
	}
	if size > maxFetch {
		return "", 0, fault.New("E0417", "it has more than %d bytes", int64(maxFetch)).WithHint("fetch it in a RUN instead")
	}
	return file, size, checksum(a.cmd.Checksum, hex.EncodeToString(sum.Sum(nil)))
}

// checksum compares what came with what the instruction says.
func checksum(want, got string) error {
	if want == "" {
		return nil
	}
	digits, ok := strings.CutPrefix(want, "sha256:")
	if !ok {
		return fault.New("E0415", "--checksum=%s is not a sha256", want).WithHint("for example --checksum=sha256:…")
	}
	if digits != got {
		return fault.New("E0417", "what the URL gives is sha256:%s, not %s", got, want).WithHint("check whether the file was replaced")
	}
	return nil
}
