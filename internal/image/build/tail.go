package build

import (
	"bytes"
	"strings"
	"sync"
	"time"
)

const (
	tailLines = 20                     // kept for an error's evidence
	tailWidth = 500                    // bytes of a line; what is longer is cut
	tellPause = 100 * time.Millisecond // between tellings
)

// tail keeps the last lines that a step writes, and tells of them as they come.
type tail struct {
	mu   sync.Mutex
	kept []string
	part []byte
	tell func(line string)
	told time.Time
}

func newTail(tell func(string)) *tail { return &tail{tell: tell} }

// Write implements io.Writer.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for rest := p; len(rest) > 0; {
		line, more, ended := bytes.Cut(rest, []byte("\n"))
		t.part = append(t.part, line[:min(len(line), max(tailWidth-len(t.part), 0))]...)
		if ended {
			t.end()
		}
		rest = more
	}
	return len(p), nil
}

// end ends a line.
func (t *tail) end() {
	line := strings.ToValidUTF8(strings.TrimRight(string(t.part), "\r"), "�")
	t.part = t.part[:0]
	t.kept = append(t.kept, line)
	if len(t.kept) > tailLines {
		t.kept = t.kept[1:]
	}
	if now := time.Now(); now.Sub(t.told) >= tellPause {
		t.told = now
		t.tell(line)
	}
}

// lines gives the last lines, the unfinished one included.
func (t *tail) lines() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.part) > 0 {
		t.end()
	}
	return append([]string(nil), t.kept...)
}
