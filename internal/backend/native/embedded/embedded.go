// Package embedded holds the programs that run beside and in containers —
// lepto-supervisor, lepto-create, lepto-init — inside the lepto binary.
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

	"github.com/lepto-dev/lepto/internal/fault"
)

//go:embed bin
var files embed.FS

// The programs. lepto-create is started by lepto-supervisor, which looks for it
// beside itself.
const (
	supervisor = "lepto-supervisor"
	creator    = "lepto-create"
	initName   = "lepto-init"
)

var all = []string{supervisor, creator, initName}

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
	content := map[string][]byte{}
	for _, name := range all {
		data, err := files.ReadFile("bin/" + name)
		if errors.Is(err, fs.ErrNotExist) {
			return beside()
		}
		if err != nil {
			return Programs{}, err
		}
		content[name] = data
	}
	in, err := extract(dir, content)
	if err != nil {
		return Programs{}, fmt.Errorf("extract lepto's own programs: %w", err)
	}
	return programs(in), nil
}

func programs(dir string) Programs {
	return Programs{Supervisor: filepath.Join(dir, supervisor), Init: filepath.Join(dir, initName)}
}

// extract writes the programs, unless they are there, and gives their
// directory. The digest is its name, and each rename comes last, so what has
// the name is whole.
func extract(dir string, content map[string][]byte) (string, error) {
	sum := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(content)) {
		fmt.Fprintf(sum, "%s %d\n", name, len(content[name]))
		sum.Write(content[name])
	}
	in := filepath.Join(dir, hex.EncodeToString(sum.Sum(nil)[:8]))
	if err := os.MkdirAll(in, 0o700); err != nil {
		return "", err
	}
	for name, data := range content {
		path := filepath.Join(in, name)
		if info, err := os.Stat(path); err == nil && info.Size() == int64(len(data)) {
			continue
		}
		if err := write(path, data); err != nil {
			return "", err
		}
	}
	return in, nil
}

func write(path string, data []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) // fails once it is renamed
	_, err = tmp.Write(data)
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
