package memory

import (
	"bytes"
	"context"
	"iter"
	"sync"
	"time"

	"github.com/lepto-dev/lepto/internal/backend"
)

// journal is the stored output of one service.
type journal struct {
	mu      sync.Mutex
	now     func() time.Time
	budget  int64
	size    int64
	first   int // how many lines were dropped: the index of lines[0]
	lines   []backend.LogLine
	changed chan struct{} // closed and replaced at each change
	closed  bool          // the service is removed
}

func newJournal(now func() time.Time, budget int64) *journal {
	return &journal{now: now, budget: budget, changed: make(chan struct{})}
}

func (j *journal) add(stream backend.Stream, text string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, backend.LogLine{At: j.now(), Stream: stream, Text: text})
	j.size += int64(len(text)) + 1
	for j.size > j.budget && len(j.lines) > 1 {
		j.size -= int64(len(j.lines[0].Text)) + 1
		j.lines = j.lines[1:]
		j.first++
	}
	j.announce()
}

func (j *journal) announce() {
	close(j.changed)
	j.changed = make(chan struct{})
}

func (j *journal) close() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.closed = true
	j.announce()
}

// start gives the index of the first line that the query wants.
func (j *journal) start(q backend.LogQuery) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	end := j.first + len(j.lines)
	begin := j.first
	for begin < end && j.lines[begin-j.first].At.Before(q.Since) {
		begin++
	}
	if q.Tail >= 0 {
		begin = max(begin, end-q.Tail)
	}
	return begin
}

// after gives the lines from index next on, the index after them, and how to
// learn of more.
func (j *journal) after(next int) ([]backend.LogLine, int, <-chan struct{}, bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	next = max(next, j.first)
	lines := j.lines[next-j.first:]
	return lines[:len(lines):len(lines)], next + len(lines), j.changed, j.closed
}

func (j *journal) read(ctx context.Context, q backend.LogQuery) iter.Seq2[backend.LogLine, error] {
	return func(yield func(backend.LogLine, error) bool) {
		next := j.start(q)
		for {
			lines, end, changed, closed := j.after(next)
			next = end
			for _, line := range lines {
				if !yield(line, nil) {
					return
				}
			}
			if !q.Follow || closed {
				return
			}
			select {
			case <-changed:
			case <-ctx.Done():
				yield(backend.LogLine{}, context.Cause(ctx))
				return
			}
		}
	}
}

// lineWriter cuts a stream into lines of a journal.
type lineWriter struct {
	mu     sync.Mutex
	to     *journal
	stream backend.Stream
	rest   []byte
}

func (w *lineWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rest = append(w.rest, p...)
	for {
		line, rest, found := bytes.Cut(w.rest, []byte{'\n'})
		if !found {
			return len(p), nil
		}
		w.to.add(w.stream, string(bytes.TrimSuffix(line, []byte{'\r'})))
		w.rest = append([]byte(nil), rest...)
	}
}

// flush stores what came after the last line end.
func (w *lineWriter) flush() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.rest) > 0 {
		w.to.add(w.stream, string(w.rest))
		w.rest = nil
	}
}

// Close stores what came after the last line end.
func (w *lineWriter) Close() error {
	w.flush()
	return nil
}
