package supervise_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/backend/native/supervise"
	"github.com/lepto-dev/lepto/internal/fault"
)

// lines gives what a query yields.
func lines(t testing.TB, h *supervise.Handle, q backend.LogQuery) []string {
	t.Helper()
	var out []string
	for line, err := range h.Logs(t.Context(), q) {
		must(t, err)
		out = append(out, line.Text)
	}
	return out
}

func TestLogsTailAndSince(t *testing.T) {
	h := start(t, spec(t, "for i in 1 2 3 4 5; do echo $i; done; printf 6"))
	_, err := h.Wait(t.Context())
	must(t, err)
	for _, c := range []struct {
		tail int
		want string
	}{{-1, "1 2 3 4 5 6"}, {0, ""}, {2, "5 6"}, {99, "1 2 3 4 5 6"}} {
		if got := strings.Join(lines(t, h, backend.LogQuery{Tail: c.tail}), " "); got != c.want {
			t.Errorf("tail %d: %q", c.tail, got)
		}
	}
	if got := lines(t, h, backend.LogQuery{Tail: -1, Since: time.Now()}); len(got) != 0 {
		t.Errorf("since now: %q", got)
	}
	for range h.Logs(t.Context(), backend.LogQuery{Tail: -1}) {
		break // a consumer may stop
	}
}

func TestLogsRotate(t *testing.T) {
	s := spec(t, "seq 30000")
	s.LogBudget = 128 << 10
	h := start(t, s)
	_, err := h.Wait(t.Context())
	must(t, err)
	var size int64
	segments, err := supervise.Segments(s.Dir)
	must(t, err)
	for _, p := range segments {
		info, err := os.Stat(p)
		must(t, err)
		size += info.Size()
	}
	if size > s.LogBudget || size < s.LogBudget/2 || len(segments) < 3 {
		t.Errorf("%d bytes in %d segments, with a budget of %d", size, len(segments), s.LogBudget)
	}
	got := lines(t, h, backend.LogQuery{Tail: 600})
	if len(got) != 600 || got[0] != "29401" || got[599] != "30000" {
		t.Errorf("tail: %d lines, %q to %q", len(got), got[0], got[len(got)-1])
	}
	all := lines(t, h, backend.LogQuery{Tail: -1})
	for i, text := range all {
		if want := fmt.Sprint(30000 - len(all) + 1 + i); text != want {
			t.Fatalf("line %d of %d is %q, want %q", i, len(all), text, want)
		}
	}
}

func TestLongLinesAreWhole(t *testing.T) {
	s := spec(t, "head -c 100000 /dev/zero | tr '\\0' x; echo; echo short; head -c 16384 /dev/zero | tr '\\0' y; echo")
	s.Args[2] = strings.ReplaceAll(s.Args[2], "tr ", "busybox tr ")
	h := start(t, s)
	_, err := h.Wait(t.Context())
	must(t, err)
	got := lines(t, h, backend.LogQuery{Tail: -1})
	if len(got) != 3 || got[0] != strings.Repeat("x", 100000) || got[1] != "short" || got[2] != strings.Repeat("y", 16384) {
		t.Errorf("%d lines", len(got))
	}
	data, err := os.ReadFile(filepath.Join(s.Dir, supervise.LogDir, supervise.SegmentName(1)))
	must(t, err)
	if n := strings.Count(string(data), " stdout P "); n < 6 {
		t.Errorf("%d parts", n)
	}
}

func TestFollow(t *testing.T) {
	s := spec(t, "echo old; while [ ! -e /go ]; do sleep 0.01; done; seq 3000; echo done; sleep 1000")
	s.LogBudget = 1 << 20
	h := start(t, s)
	eventually(t, "output", func() bool { return text(t, h) == "old\n" })
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	why := errors.New("seen enough")
	var got []string
	var end error
	for line, err := range h.Logs(ctx, backend.LogQuery{Follow: true, Tail: 1}) {
		if err != nil {
			end = err
			break
		}
		got = append(got, line.Text)
		switch line.Text {
		case "old":
			_, code := output(t, h, "touch", "/go")
			if code != 0 {
				t.Fatal("touch")
			}
		case "done":
			cancel(why)
		}
	}
	if !errors.Is(end, why) || len(got) != 3002 || got[1500] != "1500" {
		t.Errorf("%d lines, then %v", len(got), end)
	}
}

func TestFollowEndsWithTheFolder(t *testing.T) {
	s := spec(t, "echo x")
	h := start(t, s)
	_, err := h.Wait(t.Context())
	must(t, err)
	must(t, h.Destroy(t.Context()))
	for _, err := range h.Logs(t.Context(), backend.LogQuery{Follow: true, Tail: -1}) {
		must(t, err)
		must(t, os.RemoveAll(s.Dir))
	}
	for _, err := range h.Logs(t.Context(), backend.LogQuery{}) {
		if !errors.Is(err, fault.ErrNotFound) {
			t.Errorf("error = %v", err)
		}
	}
}

func TestLastOutputIsNeverLost(t *testing.T) {
	for i := range 15 {
		_, out := run(t, spec(t, "seq 2000; printf end"))
		if !strings.HasSuffix(out, "\n2000\nend\n") {
			t.Fatalf("run %d ends with %q", i, out[max(0, len(out)-20):])
		}
	}
}
