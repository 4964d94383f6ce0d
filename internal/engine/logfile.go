package engine

import (
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// This file keeps the log of an engine in the background within bounds.

// maxLog bounds a log file, in bytes; there are two at most.
const maxLog = 4 << 20

// logFile is an io.Writer on the engine's log. When the file is full, it becomes
// the one before, whose place it takes, and the process's own stdout and stderr
// (where a crash is told) move along to the new one.
type logFile struct {
	mu    sync.Mutex
	path  string
	max   int64
	stdio bool // move stdout and stderr along
	file  *os.File
	size  int64
}

func openLog(path string, limit int64, stdio bool) (*logFile, error) {
	l := &logFile{path: path, max: limit, stdio: stdio}
	if err := l.open(); err != nil {
		return nil, err
	}
	return l, nil
}

func (l *logFile) open() error {
	file, err := os.OpenFile(l.path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("engine's log: %w", err)
	}
	info, err := file.Stat()
	if err != nil {
		file.Close()
		return fmt.Errorf("engine's log: %w", err)
	}
	l.file, l.size = file, info.Size()
	if !l.stdio {
		return nil
	}
	for _, fd := range []int{1, 2} {
		if err := unix.Dup3(int(file.Fd()), fd, 0); err != nil {
			return fmt.Errorf("engine's log: %w", err)
		}
	}
	return nil
}

// Write appends a line. A log that can't be rotated goes on in the old file.
func (l *logFile) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.size > 0 && l.size+int64(len(line)) > l.max {
		l.rotate()
	}
	n, err := l.file.Write(line)
	l.size += int64(n)
	return n, err
}

func (l *logFile) rotate() {
	if err := os.Rename(l.path, l.path+".1"); err != nil {
		return
	}
	old := l.file
	if err := l.open(); err != nil {
		l.file = old
		return
	}
	old.Close()
}

// Close closes the file; stdout and stderr stay.
func (l *logFile) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.file.Close()
}
