package backendtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lepto-dev/lepto/internal/backend"
)

// query gives the text of the lines of "db" that a query selects.
func (w *world) query(q backend.LogQuery) []string {
	w.Helper()
	lines, err := collect(w.enclave.Logs(w.ctx, "db", q))
	w.must(err)
	var out []string
	for _, l := range lines {
		out = append(out, l.Text)
	}
	return out
}

var logRules = []rule{
	{"lines come oldest first, complete, with their times", nil, func(w *world) {
		const n = 3000
		w.start("db", fmt.Sprint("lines ", n))
		w.exited("db")
		lines, err := collect(w.enclave.Logs(w.ctx, "db", backend.LogQuery{Tail: -1}))
		w.must(err)
		if len(lines) != n {
			w.Fatalf("got %d lines of %d", len(lines), n)
		}
		for i, l := range lines {
			if l.Text != fmt.Sprintf("line %d", i+1) || l.Stream != backend.Stdout || l.At.IsZero() || i > 0 && l.At.Before(lines[i-1].At) {
				w.Fatalf("line %d is %+v", i+1, l)
			}
		}
	}},
	{"what is written to a log from outside is a part of it", nil, func(w *world) {
		taker, ok := w.enclave.(backend.LogTaker)
		if !ok {
			return // an optional interface, which has no ability of its own
		}
		w.start("db", "out own then wait")
		w.waitLine("db", "own")
		for stream, text := range map[backend.Stream]string{backend.Stdout: "one\ntwo\n", backend.Stderr: "oops\n"} {
			to, err := taker.LogTo(w.ctx, "db", stream)
			w.must(err)
			if n, err := to.Write([]byte(text)); n != len(text) || err != nil {
				w.Errorf("wrote %d bytes of %d: %v", n, len(text), err)
			}
			w.must(to.Close())
		}
		w.waitLine("db", "two")
		w.waitLine("db", "oops")
	}},
	{"stderr is told from stdout", nil, func(w *world) {
		w.start("db", "out one then err two then exit 0")
		w.exited("db")
		lines, err := collect(w.enclave.Logs(w.ctx, "db", backend.LogQuery{Tail: -1}))
		w.must(err)
		got := map[string]backend.Stream{}
		for _, l := range lines {
			got[l.Text] = l.Stream
		}
		if got["one"] != backend.Stdout || got["two"] != backend.Stderr {
			w.Errorf("got %v", got)
		}
	}},
	{"an unfinished last line is a line", nil, func(w *world) {
		w.start("db", "out one then part two")
		w.exited("db")
		if got := w.query(backend.LogQuery{Tail: -1}); !slices.Equal(got, []string{"one", "two"}) {
			w.Errorf("got %q", got)
		}
	}},
	{"tail gives the last lines", nil, func(w *world) {
		w.start("db", "lines 50")
		w.exited("db")
		if got := w.query(backend.LogQuery{Tail: 2}); !slices.Equal(got, []string{"line 49", "line 50"}) {
			w.Errorf("got %q", got)
		}
		if got := w.query(backend.LogQuery{Tail: 0}); len(got) > 0 {
			w.Errorf("tail 0 gives %q", got)
		}
		if got := w.query(backend.LogQuery{Tail: 100}); len(got) != 50 {
			w.Errorf("tail 100 gives %d", len(got))
		}
	}},
	{"since leaves out what is older", nil, func(w *world) {
		w.start("db", "out old then sleep 300 then out new")
		w.exited("db")
		lines, err := collect(w.enclave.Logs(w.ctx, "db", backend.LogQuery{Tail: -1}))
		w.must(err)
		if len(lines) != 2 {
			w.Fatalf("got %v", lines)
		}
		since := lines[0].At.Add(time.Millisecond)
		if got := w.query(backend.LogQuery{Tail: -1, Since: since}); !slices.Equal(got, []string{"new"}) {
			w.Errorf("got %q", got)
		}
	}},
	{"follow goes on with what is written later, also after a restart, until the service is removed", nil, func(w *world) {
		w.start("db", "out up then wait")
		w.waitLine("db", "up")
		got := make(chan string, 100)
		go func() {
			defer close(got)
			for line, err := range w.enclave.Logs(w.ctx, "db", backend.LogQuery{Tail: -1, Follow: true}) {
				if err != nil {
					return
				}
				got <- line.Text
			}
		}()
		next := func() string {
			select {
			case text, open := <-got:
				if !open {
					return "end"
				}
				return text
			case <-time.After(bound):
				return "nothing"
			}
		}
		seen := []string{next()}
		_, err := w.enclave.Stop(w.ctx, "db", bound)
		w.must(err)
		seen = append(seen, next())
		w.must(w.enclave.Restart(w.ctx, "db"))
		seen = append(seen, next())
		w.must(w.enclave.Remove(w.ctx, "db"))
		for text := next(); ; text = next() {
			if seen = append(seen, text); text == "end" || text == "nothing" {
				break
			}
		}
		// The last goodbye may or may not be stored before the log is gone.
		if text := strings.Join(seen, ","); text != "up,bye,up,end" && text != "up,bye,up,bye,end" {
			w.Errorf("followed %s", text)
		}
	}},
	{"follow ends with the context", nil, func(w *world) {
		w.start("db", "wait")
		cause := errors.New("enough")
		ctx, cancel := context.WithTimeoutCause(w.ctx, 100*time.Millisecond, cause)
		defer cancel()
		began := time.Now()
		_, err := collect(w.enclave.Logs(ctx, "db", backend.LogQuery{Tail: 0, Follow: true}))
		if err != nil && !errors.Is(err, cause) {
			w.Error(err)
		}
		if time.Since(began) > soon {
			w.Errorf("took %v", time.Since(began))
		}
	}},
	{"the reader may stop early", nil, func(w *world) {
		w.start("db", "lines 100")
		w.exited("db")
		n := 0
		for range w.enclave.Logs(w.ctx, "db", backend.LogQuery{Tail: -1}) {
			if n++; n == 3 {
				break
			}
		}
		if n != 3 {
			w.Errorf("read %d", n)
		}
	}},
}
