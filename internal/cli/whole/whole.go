//go:build front

package whole

import (
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/lepto-dev/lepto/internal/backend/native/embedded"
)

//go:embed bin/lepto.zst
var program []byte

// prefix begins the names of the directories that hold the program, one for each
// build.
const prefix = "lepto-"

// Path gives the program's path: in the home's bin directory, or in the user's
// cache where the home is not there or can't be written to.
func Path(home string) (string, error) {
	name := prefix + digest()
	var errs []error
	if _, err := os.Stat(home); err == nil {
		path, err := unpack(filepath.Join(home, "bin"), name)
		if err == nil {
			return path, nil
		}
		errs = append(errs, err)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", errors.Join(append(errs, err)...)
	}
	path, err := unpack(filepath.Join(cache, "lepto", "bin"), name)
	if err != nil {
		return "", errors.Join(append(errs, err)...)
	}
	return path, nil
}

// digest tells builds apart. The compressed program ends with a checksum of its
// content (RFC 8878, 3.1.1): to compute one of all of it would take an engine's
// start 10 ms.
func digest() string {
	return fmt.Sprintf("%08x-%x", len(program), program[len(program)-4:])
}

// unpack writes the program, unless it is there.
func unpack(bin, name string) (string, error) {
	dir := filepath.Join(bin, name)
	path := filepath.Join(dir, "lepto")
	if _, err := os.Stat(path); err == nil {
		return path, embedded.Unpack(path, program)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	if err := embedded.Unpack(path, program); err != nil {
		return "", err
	}
	forgetOthers(bin, name)
	return path, nil
}

// recently is how long another build's program is left alone: somebody may be
// about to start it.
const recently = time.Hour

// forgetOthers deletes the programs of other builds. Those that run go on.
func forgetOthers(bin, name string) {
	others, _ := fs.Glob(os.DirFS(bin), prefix+"*")
	for _, other := range others {
		dir := filepath.Join(bin, other)
		info, err := os.Stat(dir)
		if err == nil && other != name && time.Since(info.ModTime()) > recently {
			_ = os.RemoveAll(dir) // the next build tries again
		}
	}
}
