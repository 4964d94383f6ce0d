// Package embedded holds the programs that run beside and in containers —
// lepto-supervisor, lepto-filter, lepto-init — inside the lepto binary, each
// compressed with zstd: 3.9 MB instead of 9.6.
//
// [Extract] writes them to disk, where they are executed from. In a lepto that
// was built without them it falls back on programs beside the executable. It
// knows nothing of what the programs do.
package embedded

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/klauspost/compress/zstd"

	"github.com/lepto-dev/lepto/internal/fault"
)

//go:embed bin
var files embed.FS

// The programs. lepto-filter is started by lepto-supervisor, which looks for it
// beside itself.
const (
	supervisor = "lepto-supervisor"
	filter     = "lepto-filter"
	initName   = "lepto-init"
)

var all = []string{supervisor, filter, initName}

// Programs are the paths of the extracted programs.
type Programs struct {
	Supervisor string
	Init       string
}

// Extract makes the programs available below dir, in a directory named after
// their content: versions of lepto don't disturb each other, and a program that
// runs is never overwritten. Concurrent calls, also of several processes, are
// safe. fault.ErrNotFound if lepto was built without them and they are not
// beside its executable either.
func Extract(dir string) (Programs, error) {
	compressed := map[string][]byte{}
	for _, name := range all {
		data, err := files.ReadFile("bin/" + name + ".zst")
		if errors.Is(err, fs.ErrNotExist) {
			return beside()
		}
		if err != nil {
			return Programs{}, err
		}
		compressed[name] = data
	}
	in, err := extract(dir, compressed)
	if err != nil {
		return Programs{}, fmt.Errorf("extract lepto's own programs: %w", err)
	}
	return programs(in), nil
}

func programs(dir string) Programs {
	return Programs{Supervisor: filepath.Join(dir, supervisor), Init: filepath.Join(dir, initName)}
}

// extract writes the programs, unless they are there, and gives their
// directory. The digest of what is compressed is its name, and each rename comes
// last, so what has the name is whole. Decompressing takes a tenth of a second,
// once for each build of lepto.
func extract(dir string, compressed map[string][]byte) (string, error) {
	sum := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(compressed)) {
		fmt.Fprintf(sum, "%s %d\n", name, len(compressed[name]))
		sum.Write(compressed[name])
	}
	in := filepath.Join(dir, hex.EncodeToString(sum.Sum(nil)[:8]))
	if err := os.MkdirAll(in, 0o700); err != nil {
		return "", err
	}
	for name, data := range compressed {
		if err := Unpack(filepath.Join(in, name), data); err != nil {
			return "", fmt.Errorf("%s: %w", name, err)
		}
	}
	return in, nil
}

// Unpack writes a program, unless a file of its size, which its frame tells, is
// there.
func Unpack(path string, compressed []byte) error {
	var header zstd.Header
	if err := header.Decode(compressed); err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err == nil && header.HasFCS && uint64(info.Size()) == header.FrameContentSize {
		return nil
	}
	decoder, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
	if err != nil {
		return err
	}
	defer decoder.Close()
	data, err := decoder.DecodeAll(compressed, nil)
	if err != nil {
		return err
	}
	return write(path, data)
}

// writeSize is how much of a program is written at once. From what one write
// brings, the kernel makes one folio of its cache, and since Linux 6.18 the first
// access to any page of a folio maps all of it: written whole, 4 MB of a supervisor
// that waits are resident, in pieces of 64 KiB 1.5.
const writeSize = 64 << 10

func write(path string, data []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(tmp.Name()) }() // fails once it is renamed
	for piece := range slices.Chunk(data, writeSize) {
		if _, err = tmp.Write(piece); err != nil {
			break
		}
	}
	err = errors.Join(err, tmp.Chmod(mode(filepath.Base(path))), tmp.Sync(), tmp.Close())
	if err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}

// mode lets every user run the init: it runs as the container's.
func mode(name string) fs.FileMode {
	if name == initName {
		return 0o755
	}
	return 0o700
}

// beside finds the programs in the directory of lepto's own executable.
func beside() (Programs, error) {
	self, err := os.Executable()
	if err != nil {
		return Programs{}, err
	}
	dir := filepath.Dir(self)
	for _, name := range all {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			return Programs{}, fmt.Errorf("lepto was built without %s, and it is not in %s: %w", name, dir, fault.ErrNotFound)
		}
	}
	return programs(dir), nil
}
