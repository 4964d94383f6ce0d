package companion

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// This file notices that the table is taken away.

// A Watch notices that a table is taken away.
type Watch struct {
	table  string
	events *os.File // of inotify(7); nil where the user's instances or watches are used up
}

// lookPause is how often a watch without events looks.
const lookPause = 200 * time.Millisecond

// Watch begins to watch the table of a folder. A process that reads its table after
// that misses no end of it.
func (k Kind) Watch(dir string) (*Watch, error) {
	w := &Watch{table: filepath.Join(dir, k.Table)}
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if errors.Is(err, unix.EMFILE) {
		return w, nil
	}
	if err != nil {
		return nil, os.NewSyscallError("inotify_init1", err)
	}
	w.events = os.NewFile(uintptr(fd), "inotify")
	_, err = unix.InotifyAddWatch(fd, dir, unix.IN_DELETE|unix.IN_MOVED_FROM|unix.IN_DELETE_SELF|unix.IN_MOVE_SELF|unix.IN_ONLYDIR)
	if err == nil {
		return w, nil
	}
	w.events.Close()
	w.events = nil
	if errors.Is(err, unix.ENOSPC) {
		return w, nil
	}
	return nil, os.NewSyscallError("inotify_add_watch "+dir, err)
}

// Wait returns when the table is gone, or ctx has ended.
func (w *Watch) Wait(ctx context.Context) {
	if w.events == nil {
		w.look(ctx)
		return
	}
	defer w.events.Close()
	stop := context.AfterFunc(ctx, func() { _ = w.events.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	buf := make([]byte, 4096) // events are read away, not looked at: the file tells
	for {
		if _, err := os.Stat(w.table); errors.Is(err, fs.ErrNotExist) {
			return
		}
		if _, err := w.events.Read(buf); err != nil {
			return // ctx has ended
		}
	}
}

// look does the same without events.
func (w *Watch) look(ctx context.Context) {
	tick := time.NewTicker(lookPause)
	defer tick.Stop()
	for {
		if _, err := os.Stat(w.table); errors.Is(err, fs.ErrNotExist) {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// maxLog bounds the process's log file, in bytes.
const maxLog = 256 << 10

// boundedLog writes to a log file and empties it when it has grown too large.
type boundedLog struct {
	file    *os.File
	limit   int64
	written atomic.Int64
}

func (b *boundedLog) Write(p []byte) (int, error) {
	if b.written.Add(int64(len(p))) > b.limit {
		// Only a file can be emptied; a terminal or a pipe goes on.
		if st, err := b.file.Stat(); err == nil && st.Mode().IsRegular() {
			_ = b.file.Truncate(0)
		}
		b.written.Store(int64(len(p)))
	}
	return b.file.Write(p)
}
