package api

import (
	"cmp"
	"iter"
	"strings"
	"sync"
	"time"

	"github.com/lepto-dev/lepto/internal/api/leptov1"
	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/engine"
)

// This file sends log lines in batches: one message each would cost more than
// the lines do.

const (
	batchLines = 500
	batchBytes = 256 << 10
	// batchWait is how long lines wait for more, so that a follower sees them at
	// once as far as anybody can tell.
	batchWait = 10 * time.Millisecond
)

// logBatch gathers lines for one message.
type logBatch struct {
	send  func(*leptov1.ServiceLogsResponse) error
	lines []*leptov1.ServiceLogsResponse_Line
	bytes int
}

func (b *logBatch) add(l engine.LogLine) {
	b.lines = append(b.lines, lineMessage(l))
	b.bytes += len(l.Text)
}

func (b *logBatch) full() bool { return len(b.lines) >= batchLines || b.bytes >= batchBytes }

// flush sends what there is.
func (b *logBatch) flush() error {
	if len(b.lines) == 0 {
		return nil
	}
	m := &leptov1.ServiceLogsResponse{Lines: b.lines}
	b.lines, b.bytes = nil, 0
	return b.send(m)
}

// logItem is a line or the error in its place.
type logItem struct {
	line engine.LogLine
	err  error
}

// sendLogs sends lines as they come until there are no more. stop makes their
// source end, wherever it waits.
func sendLogs(lines iter.Seq2[engine.LogLine, error], stop func(), send func(*leptov1.ServiceLogsResponse) error) error {
	items, quit := make(chan logItem, batchLines), make(chan struct{})
	var reader sync.WaitGroup
	reader.Go(func() {
		defer close(items)
		for line, err := range lines {
			select {
			case items <- logItem{line, err}:
			case <-quit:
				return
			}
		}
	})
	defer func() { stop(); close(quit); reader.Wait() }()
	batch := &logBatch{send: send}
	timer := time.NewTimer(batchWait)
	defer timer.Stop()
	for {
		select {
		case i, more := <-items:
			if !more || i.err != nil {
				return cmp.Or(batch.flush(), i.err)
			}
			if len(batch.lines) == 0 {
				timer.Reset(batchWait)
			}
			if batch.add(i.line); !batch.full() {
				continue
			}
		case <-timer.C:
		}
		if err := batch.flush(); err != nil {
			return err
		}
	}
}

func lineMessage(l engine.LogLine) *leptov1.ServiceLogsResponse_Line {
	return &leptov1.ServiceLogsResponse_Line{
		Service: l.Service.Name, Uuid: l.Service.UUID, AtUnixNano: l.At.UnixNano(),
		Stderr: l.Stream == backend.Stderr, Text: strings.ToValidUTF8(l.Text, "\uFFFD"),
	}
}

// timeOf reads a time on the wire; 0 is none.
func timeOf(nano int64) time.Time {
	if nano == 0 {
		return time.Time{}
	}
	return time.Unix(0, nano)
}
