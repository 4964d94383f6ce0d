package supervise

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/lepto-dev/lepto/internal/backend"
)

// FileExit is where the container's init records how its command ended.
const FileExit = "exit"

// ReadExit reads a container's exit file; false while it holds nothing.
func ReadExit(dir string) (backend.Exit, bool) {
	path := filepath.Join(dir, FileExit)
	data, err := os.ReadFile(path)
	if err != nil {
		return backend.Exit{}, false
	}
	var exit backend.Exit
	if n, _ := fmt.Sscanf(string(data), "%d %d\n", &exit.Code, &exit.Signal); n != 2 {
		return backend.Exit{}, false
	}
	if info, err := os.Stat(path); err == nil {
		exit.At = info.ModTime()
	}
	return exit, true
}
