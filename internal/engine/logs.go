package engine

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/enclave"
	"github.com/lepto-dev/lepto/internal/fault"
)

// This file reads the output of several services at once, filtered.

// LogQuery selects output of services.
type LogQuery struct {
	Services []*enclave.Service
	Follow   bool
	Tail     int       // the last n lines of each service; negative: all
	Since    time.Time // zero: from the start
	Filters  []LogFilter
	// FilterFirst makes Tail count lines that pass the filters.
	FilterFirst bool
}

// LogFilter is a condition on a line.
type LogFilter struct {
	Pattern string
	Regex   bool
	Invert  bool
}

// LogLine is a line with the service that wrote it.
type LogLine struct {
	Service *enclave.Service
	backend.LogLine
}

// PickServices finds services of an enclave by uuid, short uuid or name, all if
// none are given, and tells which identifiers fit none.
func PickServices(in *enclave.Enclave, identifiers []string) (found []*enclave.Service, unknown []string, err error) {
	if len(identifiers) == 0 {
		return in.Services(), nil, nil
	}
	seen := map[string]bool{}
	for _, identifier := range identifiers {
		service, err := in.Service(identifier)
		switch {
		case errors.Is(err, fault.ErrNotFound):
			unknown = append(unknown, identifier)
		case err != nil:
			return nil, nil, err
		case !seen[service.UUID]:
			seen[service.UUID] = true
			found = append(found, service)
		}
	}
	return found, unknown, nil
}

// errReaderLeft is the cause of the end of reading for somebody who left.
var errReaderLeft = errors.New("the reader has left")

// Logs yields the lines of services, oldest first per service; services
// interleave. With Follow it goes on until ctx ends, which is no error then.
func (e *Engine) Logs(ctx context.Context, in *enclave.Enclave, q LogQuery) iter.Seq2[LogLine, error] {
	return func(yield func(LogLine, error) bool) {
		keep, err := compile(q.Filters)
		if err != nil {
			yield(LogLine{}, err)
			return
		}
		ctx, cancel := context.WithCancelCause(ctx)
		type item struct {
			line LogLine
			err  error
		}
		items := make(chan item)
		var readers sync.WaitGroup
		for _, service := range q.Services {
			readers.Go(func() {
				for line, err := range serviceLogs(ctx, in, service, q, keep) {
					select {
					case items <- item{LogLine{service, line}, err}:
					case <-ctx.Done():
						return
					}
				}
			})
		}
		go func() { readers.Wait(); close(items) }()
		defer func() {
			cancel(errReaderLeft)
			for range items { // until the readers have ended
			}
		}()
		for i := range items {
			if i.err != nil && ctx.Err() != nil {
				return
			}
			if !yield(i.line, i.err) || i.err != nil {
				return
			}
		}
	}
}

// serviceLogs yields the lines of one service that pass.
func serviceLogs(ctx context.Context, in *enclave.Enclave, service *enclave.Service, q LogQuery, keep func(string) bool) iter.Seq2[backend.LogLine, error] {
	return func(yield func(backend.LogLine, error) bool) {
		query := backend.LogQuery{Follow: q.Follow, Tail: q.Tail, Since: q.Since}
		skip := 0
		if q.FilterFirst && q.Tail >= 0 {
			stored, last, at, err := lastPassing(in.Logs(ctx, service.UUID, backend.LogQuery{Tail: -1, Since: q.Since}), q.Tail, keep)
			if err != nil {
				yield(backend.LogLine{}, err)
				return
			}
			for _, line := range stored {
				if !yield(line, nil) {
					return
				}
			}
			if !q.Follow {
				return
			}
			// Go on after what was read: from its last moment, without the lines
			// of that moment which were read.
			query.Tail, skip = -1, at
			if !last.IsZero() {
				query.Since = last
			}
		}
		for line, err := range in.Logs(ctx, service.UUID, query) {
			if err == nil && skip > 0 {
				skip--
				continue
			}
			if (err != nil || keep(line.Text)) && !yield(line, err) {
				return
			}
		}
	}
}

// lastPassing reads all lines and gives the last n that pass, the time of the
// last line, and how many lines have that time.
func lastPassing(lines iter.Seq2[backend.LogLine, error], n int, keep func(string) bool) (out []backend.LogLine, last time.Time, at int, err error) {
	for line, err := range lines {
		if err != nil {
			return nil, last, 0, err
		}
		if !line.At.Equal(last) {
			last, at = line.At, 0
		}
		at++
		if n == 0 || !keep(line.Text) {
			continue
		}
		if len(out) == n {
			copy(out, out[1:])
			out = out[:n-1]
		}
		out = append(out, line)
	}
	return out, last, at, nil
}

// compile makes one condition of all filters.
func compile(filters []LogFilter) (func(string) bool, error) {
	var conditions []func(string) bool
	for _, f := range filters {
		match := func(text string) bool { return strings.Contains(text, f.Pattern) }
		if f.Regex {
			re, err := regexp.Compile(f.Pattern)
			if err != nil {
				return nil, fmt.Errorf("log filter: %w: %w", err, fault.ErrInvalid)
			}
			match = re.MatchString
		}
		conditions = append(conditions, func(text string) bool { return match(text) != f.Invert })
	}
	return func(text string) bool {
		for _, pass := range conditions {
			if !pass(text) {
				return false
			}
		}
		return true
	}, nil
}
