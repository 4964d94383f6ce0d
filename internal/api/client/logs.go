package client

import (
	"context"
	"iter"
	"time"

	"connectrpc.com/connect"

	"github.com/lepto-dev/lepto/internal/api/errwire"
	"github.com/lepto-dev/lepto/internal/api/leptov1"
	"github.com/lepto-dev/lepto/internal/backend"
)

// This file holds the reading of services' output.

// LogsRequest selects output of services.
type LogsRequest struct {
	Enclave  string
	Services []string // uuids, short uuids or names; empty: all
	Follow   bool
	Tail     int       // the last n lines of each service; negative: all
	Since    time.Time // zero: from the start
	Filters  []LogFilter
	// FilterFirst makes Tail count lines that pass the filters. Without it the
	// last lines are taken first, as the wire API does.
	FilterFirst bool
	// Unknown is told of services asked for that are not there; may be nil.
	Unknown func(names []string)
}

// LogFilter is a condition on a line. All filters of a request must pass.
type LogFilter struct {
	Pattern string
	Regex   bool // RE2 syntax; else a substring
	Invert  bool
}

// Logs yields lines, oldest first per service; services interleave. With Follow
// it goes on until the context ends.
func (c *Client) Logs(ctx context.Context, req LogsRequest) iter.Seq2[LogEntry, error] {
	return func(yield func(LogEntry, error) bool) {
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(errLeft)
		stream, err := c.own.ServiceLogs(ctx, connect.NewRequest(logsMessage(req)))
		if err != nil {
			yield(LogEntry{}, errwire.Decode(err))
			return
		}
		defer stream.Close()
		for stream.Receive() {
			m := stream.Msg()
			if len(m.GetUnknown()) > 0 && req.Unknown != nil {
				req.Unknown(m.GetUnknown())
			}
			for _, line := range m.GetLines() {
				if !yield(entryOf(line), nil) {
					return
				}
			}
		}
		if err := stream.Err(); err != nil {
			yield(LogEntry{}, errwire.Decode(err))
		}
	}
}

func logsMessage(req LogsRequest) *leptov1.ServiceLogsRequest {
	m := &leptov1.ServiceLogsRequest{
		Enclave: req.Enclave, Services: req.Services, Follow: req.Follow,
		Tail: int64(req.Tail), FilterFirst: req.FilterFirst,
	}
	if !req.Since.IsZero() {
		m.SinceUnixNano = req.Since.UnixNano()
	}
	for _, f := range req.Filters {
		m.Filters = append(m.Filters, &leptov1.LogFilter{Pattern: f.Pattern, Regex: f.Regex, Invert: f.Invert})
	}
	return m
}

func entryOf(line *leptov1.ServiceLogsResponse_Line) LogEntry {
	e := LogEntry{Service: line.GetService(), UUID: line.GetUuid()}
	e.LogLine = backend.LogLine{At: time.Unix(0, line.GetAtUnixNano()), Stream: backend.Stdout, Text: line.GetText()}
	if line.GetStderr() {
		e.Stream = backend.Stderr
	}
	return e
}
