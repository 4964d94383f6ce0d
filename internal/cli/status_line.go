package cli

import (
	"fmt"
	"sync"
	"time"

	"github.com/lepto-dev/lepto/internal/ui"
)

// This file shows the progress of one long operation on stderr: a line that is
// rewritten on a terminal, a plain line for each new thing elsewhere.

// statusGap is the least time between two paints of the line.
const statusGap = 100 * time.Millisecond

type statusLine struct {
	d  *deps
	mu sync.Mutex

	moving  bool // on a terminal
	what    string
	painted time.Time
	shown   bool
}

func (d *deps) statusLine() *statusLine {
	return &statusLine{d: d, moving: d.term.ErrTTY && d.term.Interactive}
}

// Progress is a backend.ProgressFunc.
func (l *statusLine) Progress(what string, done, total int64) {
	if l.d.level < levelInfo {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	what = ui.CleanLine(what)
	isNew := what != l.what
	l.what = what
	if !l.moving {
		if isNew {
			fmt.Fprintln(l.d.term.Err, what)
		}
		return
	}
	if time.Since(l.painted) < statusGap && !isNew {
		return
	}
	if total > 0 {
		what += "  " + ui.Amount(done, total)
	}
	cols, _ := l.d.term.Size()
	fmt.Fprintf(l.d.term.Err, "\r\x1b[K%s", ui.Cut(what, cols-1))
	l.painted, l.shown = time.Now(), true
}

// Close takes the line away.
func (l *statusLine) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.shown {
		fmt.Fprint(l.d.term.Err, "\r\x1b[K")
		l.shown = false
	}
}
