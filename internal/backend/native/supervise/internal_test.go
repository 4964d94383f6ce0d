package supervise

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/fault"
)

func TestRecordsRoundTrip(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 60, time.UTC)
	for _, text := range []string{"", "plain", " F tricky P ", "ünïcödé", strings.Repeat("x", MaxRecord)} {
		for kind, whole := range map[Kind]bool{Line: true, LineCRLF: true, LastLine: true, Note: true, Part: false} {
			record := AppendRecord(nil, at, backend.Stderr, kind, []byte(text))
			line, got, ok := parseRecord(record[:len(record)-1])
			if !ok || got != whole || line != (backend.LogLine{At: at, Stream: backend.Stderr, Text: text}) {
				t.Errorf("%q, kind %c: %+v, %v, %v", text, kind, line, got, ok)
			}
		}
	}
	for _, junk := range []string{"", "x", "2026-01-02T03:04:05Z stdout", "2026-01-02T03:04:05Z stdout F", "noon stdout F x", "2026-01-02T03:04:05Z stdout M 7"} {
		if _, _, ok := parseRecord([]byte(junk)); ok {
			t.Errorf("%q is taken for a record", junk)
		}
	}
}

func TestLoggedCountsWhatTheSpoolHad(t *testing.T) {
	segment := func(lines ...string) string {
		path := filepath.Join(t.TempDir(), SegmentName(1))
		if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	const at = "2026-01-02T03:04:05Z "
	first := segment(at+"stdout M 7", at+"stderr M 0", at+"stdout F 12345", at+"stderr P ab", "")
	for name, c := range map[string]struct {
		segments    []string
		out, stderr int64
	}{
		"nothing":                {nil, 0, 0},
		"records without a mark": {[]string{segment(at+"stdout F x", "")}, 0, 0},
		"each kind": {[]string{segment(at+"stdout M 10", at+"stderr M 20", at+"stdout F abc", at+"stdout R abc",
			at+"stdout P abc", at+"stdout E abc", at+"stderr N missing", "")}, 10 + 4 + 5 + 3 + 3, 20},
		"a later mark":            {[]string{segment(at+"stdout M 10", at+"stdout F abc", at+"stdout M 3", at+"stdout F a", "")}, 5, 0},
		"half a record":           {[]string{segment(at+"stdout M 10", at+"stdout F abc", at+"stdout F ab")}, 14, 0},
		"half a mark":             {[]string{first, segment(at + "stdout M 1")}, 13, 2},
		"a segment just begun":    {[]string{first, segment()}, 13, 2},
		"a segment dropped since": {[]string{first, first + "x"}, 13, 2},
	} {
		got, err := Logged(c.segments)
		if err != nil || got[backend.Stdout] != c.out || got[backend.Stderr] != c.stderr {
			t.Errorf("%s: %v, %v; want %d and %d", name, got, err, c.out, c.stderr)
		}
	}
}

func TestSegmentNames(t *testing.T) {
	for _, n := range []int{1, 42, 1 << 40} {
		if got := SegmentNumber("/a/b/" + SegmentName(n)); got != n {
			t.Errorf("%d becomes %d", n, got)
		}
	}
	for _, name := range []string{"x.log", "-1.log", "1", "1.log.tmp"} {
		if got := SegmentNumber(name); got != 0 {
			t.Errorf("%s is segment %d", name, got)
		}
	}
}

func TestListeningAddresses(t *testing.T) {
	for text, want := range map[string]string{
		"0100007F:1F90":                         "127.0.0.1:8080",
		"00000000:0050":                         "0.0.0.0:80",
		"00000000000000000000000001000000:0016": "[::1]:22",
		"0000000000000000FFFF00000100007F:0016": "127.0.0.1:22",
	} {
		if got, ok := parseAddr(text); !ok || got.String() != want {
			t.Errorf("%s = %s, %v; want %s", text, got, ok, want)
		}
	}
	for _, text := range []string{"", "0100007F", "01:02", "zz:1", hex.EncodeToString(make([]byte, 5)) + ":1"} {
		if got, ok := parseAddr(text); ok {
			t.Errorf("%q = %s", text, got)
		}
	}
}

func TestFailureKeepsCodeAndKind(t *testing.T) {
	err := fault.New("E0401", "command %q: %w", "x", fault.ErrNotFound).WithHint("look")
	back := Fail(fmt.Errorf("start: %w", err)).Err()
	var f *fault.Fault
	if !errors.As(back, &f) || f.Code != "E0401" || f.Hint != "look" || !errors.Is(back, fault.ErrNotFound) || back.Error() != `start: command "x": not found` {
		t.Errorf("came back as %#v", back)
	}
	if Fail(nil).Err() != nil {
		t.Error("nil became an error")
	}
}

func TestFramesCarryDescriptors(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("deep/", 40)) // longer than a socket's address may be
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path, pin, err := SocketPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer pin.Close()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	server, err := l.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	r, w, _ := os.Pipe()
	defer r.Close()
	sent := Request{Op: OpExec, Exec: &ExecRequest{Args: []string{strings.Repeat("x", 1<<20)}}}
	go func() { Send(client, sent, int(w.Fd())); w.Close() }()
	var got Request
	files, err := Receive(server, &got)
	if err != nil || len(files) != 1 || got.Exec.Args[0] != sent.Exec.Args[0] {
		t.Fatalf("%d files, %v", len(files), err)
	}
	files[0].WriteString("through")
	files[0].Close()
	buf := make([]byte, 16)
	if n, _ := r.Read(buf); string(buf[:n]) != "through" {
		t.Errorf("read %q", buf[:n])
	}
}
