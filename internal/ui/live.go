package ui

import (
	"io"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/lepto-dev/lepto/internal/run"
)

// This file paints the live view: a few lines at the bottom of the terminal that
// are replaced in place, below text that stays. It uses cursor moves only, no
// alternate screen, so that the scroll-back holds all that was printed.

// A Live shows the events of a run on a terminal.
type Live struct {
	t          *Terminal
	transcript *Transcript

	mu       sync.Mutex
	progress Progress
	ticked   bool // the run lasts long enough for moving lines
	painted  int  // lines on the screen now
	dirty    bool // the cursor is hidden

	stop chan struct{}
	done sync.WaitGroup
}

// NewLive starts a view on Out. Close ends it.
func NewLive(t *Terminal, transcript *Transcript) *Live {
	l := &Live{t: t, transcript: transcript, stop: make(chan struct{})}
	l.done.Go(l.tick)
	return l
}

// tick repaints until Close. The first paint comes one tick after the start: a
// run that is over by then shows nothing that moves.
func (l *Live) tick() {
	ticker := time.NewTicker(frameTime)
	defer ticker.Stop()
	for {
		select {
		case <-l.stop:
			return
		case <-ticker.C:
			l.mu.Lock()
			l.ticked = true
			_ = l.paint("") // the next event tells of a terminal that is gone
			l.mu.Unlock()
		}
	}
}

// Event shows what happened. Only lasting text is written at once; what moves
// waits for the next tick.
func (l *Live) Event(e run.Event) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.progress.Feed(e, time.Now())
	text := l.transcript.Text(e)
	if text == "" && e.Done == nil {
		return nil
	}
	return l.paint(text)
}

// Note shows a line below the moving ones.
func (l *Live) Note(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.progress.Note(text)
	l.ticked = true
	_ = l.paint("")
}

// Close takes the moving lines away and ends the view.
func (l *Live) Close() error {
	close(l.stop)
	l.done.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.progress.finished = true
	err := l.paint("")
	if l.dirty {
		_, err = io.WriteString(l.t.Out, showCursor)
		l.dirty = false
	}
	return err
}

// Escape sequences of the painter. The synchronized update keeps terminals that
// know it from showing a half-painted view.
const (
	hideCursor  = "\x1b[?25l"
	showCursor  = "\x1b[?25h"
	beginUpdate = "\x1b[?2026h"
	endUpdate   = "\x1b[?2026l"
	eraseBelow  = "\x1b[J"
)

// paint replaces the moving lines, with lasting text above them.
func (l *Live) paint(lasting string) error {
	lines := l.view()
	if len(lines) == 0 && l.painted == 0 { // nothing moves: just append
		_, err := io.WriteString(l.t.Out, lasting)
		return err
	}
	var out strings.Builder
	out.WriteString(beginUpdate)
	if !l.dirty {
		out.WriteString(hideCursor)
		l.dirty = true
	}
	out.WriteString(up(l.painted) + eraseBelow + lasting)
	for _, line := range lines {
		out.WriteString(line + "\n")
	}
	out.WriteString(endUpdate)
	l.painted = len(lines)
	_, err := io.WriteString(l.t.Out, out.String())
	return err
}

// viewRows bounds the moving lines.
const viewRows = 10

func (l *Live) view() []string {
	if !l.ticked {
		return nil
	}
	cols, rows := l.t.Size()
	return l.progress.View(l.t.OutStyle, time.Now(), cols-1, min(viewRows, rows-2))
}

// up moves the cursor to the start of the n-th line above.
func up(n int) string {
	if n == 0 {
		return "\r"
	}
	return "\x1b[" + strconv.Itoa(n) + "F"
}
