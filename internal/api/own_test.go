package api_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lepto-dev/lepto/internal/api/client"
	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/backend/memory"
	"github.com/lepto-dev/lepto/internal/fault"
)

// talker prints lines and then waits.
const talker = `
def run(plan):
    for name in ["a", "b"]:
        plan.add_service(name, ServiceConfig(
            image = "busybox",
            entrypoint = ["sh", "-c", "; ".join(["echo %d of %s" % (i, name) for i in range(1, 7)]) + "; sleep 1000"],
        ))
`

func enclaveOf(t *testing.T, script string) (*client.Client, string) {
	t.Helper()
	c, _ := startEngine(t, testConfig(memory.New(memory.Options{}), tempHome(t)))
	e, err := c.CreateEnclave(t.Context(), "own", false)
	if err != nil {
		t.Fatal(err)
	}
	for event, err := range c.Run(t.Context(), client.RunRequest{Enclave: e.Name, Script: script}) {
		if err != nil {
			t.Fatal(err)
		}
		if event.Error != nil {
			t.Fatalf("run: %+v", event.Error)
		}
	}
	return c, e.Name
}

// TestExecStreams checks what flows between a client and a command.
func TestExecStreams(t *testing.T) {
	c, enclave := enclaveOf(t, `
def run(plan):
    plan.add_service("a", ServiceConfig(image = "pause"))
`)
	exec := func(ctx context.Context, spec backend.ExecSpec) (int, string, string, error) {
		var out, errs bytes.Buffer
		spec.Stdout, spec.Stderr = &out, &errs
		code, err := c.Exec(ctx, enclave, "a", spec, nil)
		return code, out.String(), errs.String(), err
	}
	if code, out, errs, err := exec(t.Context(), backend.ExecSpec{Args: []string{"sh", "-c", "echo out; echo err >&2; exit 5"}}); err != nil || code != 5 || out != "out\n" || errs != "err\n" {
		t.Errorf("%d %q %q %v", code, out, errs, err)
	}
	if code, _, errs, err := exec(t.Context(), backend.ExecSpec{Args: []string{"no-such-command"}}); err != nil || code != 127 || errs == "" {
		t.Errorf("unknown command: %d %q %v", code, errs, err)
	}
	// A command that doesn't read: its input is more than any buffer holds.
	big := strings.Repeat("x", 6<<20)
	if code, _, _, err := exec(t.Context(), backend.ExecSpec{Args: []string{"true"}, Stdin: strings.NewReader(big)}); err != nil || code != 0 {
		t.Errorf("unread input: %d %v", code, err)
	}
	if code, out, _, err := exec(t.Context(), backend.ExecSpec{Args: []string{"cat"}, Stdin: strings.NewReader(big[:1<<20])}); err != nil || code != 0 || out != big[:1<<20] {
		t.Errorf("much input: %d, %d bytes, %v", code, len(out), err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	began := time.Now()
	// Its input never ends and it never does.
	endless, _ := io.Pipe()
	if _, _, _, err := exec(ctx, backend.ExecSpec{Args: []string{"sleep", "1000"}, Stdin: endless}); err == nil || time.Since(began) > testBound {
		t.Errorf("cancelled: %v after %v", err, time.Since(began))
	}
	if _, err := c.Exec(t.Context(), enclave, "nobody", backend.ExecSpec{Args: []string{"true"}}, nil); !errors.Is(err, fault.ErrNotFound) {
		t.Errorf("unknown service: %v", err)
	}
	if _, err := c.Exec(t.Context(), enclave, "a", backend.ExecSpec{}, nil); !errors.Is(err, fault.ErrInvalid) {
		t.Errorf("no command: %v", err)
	}
	control := make(chan client.Control, 1)
	control <- client.Control{Signal: 15}
	if code, err := c.Exec(t.Context(), enclave, "a", backend.ExecSpec{Args: []string{"sleep", "1000"}}, control); err != nil || code != 143 {
		t.Errorf("signalled: %d %v", code, err)
	}
}

// TestLogs checks what is selected of the services' output.
func TestLogs(t *testing.T) {
	c, enclave := enclaveOf(t, talker)
	lines := func(req client.LogsRequest) []string {
		t.Helper()
		req.Enclave = enclave
		var got []string
		for line, err := range c.Logs(t.Context(), req) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, line.Text)
		}
		slices.Sort(got)
		return got
	}
	all := lines(client.LogsRequest{Tail: -1})
	for deadline := time.Now().Add(testBound); len(all) < 12 && time.Now().Before(deadline); {
		all = lines(client.LogsRequest{Tail: -1})
	}
	if len(all) != 12 {
		t.Fatalf("all: %q", all)
	}
	odd := []client.LogFilter{{Pattern: "^[135] ", Regex: true}, {Pattern: "5 of b", Invert: true}}
	for name, c := range map[string]struct {
		req  client.LogsRequest
		want []string
	}{
		"tail is per service": {client.LogsRequest{Tail: 1}, []string{"6 of a", "6 of b"}},
		"none":                {client.LogsRequest{Tail: 0}, nil},
		"one service":         {client.LogsRequest{Services: []string{"b"}, Tail: 1}, []string{"6 of b"}},
		"filters":             {client.LogsRequest{Tail: -1, Filters: odd}, []string{"1 of a", "1 of b", "3 of a", "3 of b", "5 of a"}},
		"filters after tail":  {client.LogsRequest{Tail: 2, Filters: odd}, []string{"5 of a"}},
		"filters before tail": {client.LogsRequest{Tail: 2, Filters: odd, FilterFirst: true}, []string{"1 of b", "3 of a", "3 of b", "5 of a"}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := lines(c.req); !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
	var unknown []string
	lines(client.LogsRequest{Services: []string{"a", "nobody"}, Unknown: func(names []string) { unknown = names }})
	if !slices.Equal(unknown, []string{"nobody"}) {
		t.Errorf("unknown: %q", unknown)
	}
	for _, err := range c.Logs(t.Context(), client.LogsRequest{Enclave: enclave, Filters: []client.LogFilter{{Pattern: "(", Regex: true}}}) {
		if !errors.Is(err, fault.ErrInvalid) {
			t.Errorf("broken pattern: %v", err)
		}
	}
	// A follower that counts what passes sees the stored lines, then the new ones.
	follow := func() (got []string) {
		ctx, cancel := context.WithTimeout(t.Context(), testBound)
		defer cancel()
		restarted := false
		for line, err := range c.Logs(ctx, client.LogsRequest{Enclave: enclave, Services: []string{"a"}, Follow: true, Tail: 1,
			FilterFirst: true, Filters: []client.LogFilter{{Pattern: "3 of"}}}) {
			if err != nil {
				t.Fatal(err)
			}
			if got = append(got, line.Text); len(got) == 2 {
				break
			}
			if !restarted {
				restarted = true
				if err := errors.Join(c.StopService(t.Context(), enclave, "a"), c.StartService(t.Context(), enclave, "a")); err != nil {
					t.Fatal(err)
				}
			}
		}
		return got
	}
	if got := follow(); !slices.Equal(got, []string{"3 of a", "3 of a"}) {
		t.Errorf("followed: %q", got)
	}
}

// TestImages checks the calls about images against a backend that can do some.
func TestImages(t *testing.T) {
	c, _ := startEngine(t, testConfig(memory.New(memory.Options{Missing: []string{"gone:1"}}), tempHome(t)))
	image, err := c.PullImage(t.Context(), backend.ImageRequest{Ref: "postgres:16"}, func(string, int64, int64) {})
	if err != nil || image.Digest == "" {
		t.Errorf("pull: %+v, %v", image, err)
	}
	if _, err := c.PullImage(t.Context(), backend.ImageRequest{Ref: "gone:1"}, nil); !errors.Is(err, fault.ErrNotFound) {
		t.Errorf("pull what is not there: %v", err)
	}
	if _, err := c.Images(t.Context()); !errors.Is(err, fault.ErrUnsupported) {
		t.Errorf("list: %v", err)
	}
	if _, err := c.LoadImage(t.Context(), strings.NewReader(strings.Repeat("x", 3<<20))); !errors.Is(err, fault.ErrUnsupported) {
		t.Errorf("load: %v", err)
	}
	if _, err := c.BuildImage(t.Context(), backend.BuildSpec{Tag: "x:1", ContextDir: "relative"}, nil); !errors.Is(err, fault.ErrInvalid) {
		t.Errorf("build of a relative directory: %v", err)
	}
}
