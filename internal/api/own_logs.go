package api

import (
	"cmp"
	"iter"
	"strings"
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

// sendLogs sends lines as they come until there are no more. stop makes their
// source end, wherever it waits.
func sendLogs(lines iter.Seq2[engine.LogLine, error], stop func(), send func(*leptov1.ServiceLogsResponse) error) error {
	type item struct {
		line engine.LogLine
		err  error
	}
	items, quit, ended := make(chan item, batchLines), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		defer close(items)
		for line, err := range lines {
			select {
			case items <- item{line, err}:
			case <-quit:
				return
			}
		}
	}()
	defer func() { stop(); close(quit); <-ended }()
	batch, size := &leptov1.ServiceLogsResponse{}, 0
	flush := func() error {
		if len(batch.Lines) == 0 {
			return nil
		}
		full := batch
		batch, size = &leptov1.ServiceLogsResponse{}, 0
		return send(full)
	}
	timer := time.NewTimer(batchWait)
	defer timer.Stop()
	for {
		select {
		case i, more := <-items:
			if !more {
				return flush()
			}
			if i.err != nil {
				return cmp.Or(flush(), i.err)
			}
			if len(batch.Lines) == 0 {
				timer.Reset(batchWait)
			}
			batch.Lines = append(batch.Lines, lineMessage(i.line))
			size += len(i.line.Text)
			if len(batch.Lines) < batchLines && size < batchBytes {
				continue
			}
		case <-timer.C:
		}
		if err := flush(); err != nil {
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
