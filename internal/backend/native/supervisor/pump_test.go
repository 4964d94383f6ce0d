package supervisor

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/backend/backendtest/bounds"
	"github.com/lepto-dev/lepto/internal/backend/native/supervise"
)

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// printing is a pump, and the other end of its pipe.
type printing struct {
	t    *testing.T
	dir  string
	log  *logWriter
	pump *pump
	pipe *os.File
}

func newPrinting(t *testing.T, tty bool) *printing {
	t.Helper()
	p := &printing{t: t, dir: t.TempDir()}
	var err error
	p.log, err = openLog(p.dir, 64<<20)
	check(t, err)
	p.pump, err = openPump(p.dir, backend.Stdout, p.log, tty)
	check(t, err)
	p.pipe, err = os.OpenFile(filepath.Join(p.dir, supervise.FifoName(backend.Stdout)), os.O_RDWR, 0)
	check(t, err)
	return p
}

func (p *printing) print(text string) {
	p.t.Helper()
	_, err := p.pipe.WriteString(text)
	check(p.t, err)
}

// spool gives the size of the spool.
func (p *printing) spool() int64 {
	p.t.Helper()
	info, err := os.Stat(filepath.Join(p.dir, supervise.SpoolName(backend.Stdout)))
	check(p.t, err)
	return info.Size()
}

// end ends the output, and gives the lines that were stored.
func (p *printing) end() []string {
	p.t.Helper()
	p.pump.finish()
	p.log.close()
	check(p.t, p.pipe.Close())
	names, err := supervise.Segments(p.dir)
	check(p.t, err)
	var lines []string
	var part strings.Builder
	for _, name := range names {
		data, err := os.ReadFile(name)
		check(p.t, err)
		for record := range bytes.Lines(data) {
			fields := strings.SplitN(strings.TrimSuffix(string(record), "\n"), " ", 4)
			switch kind := fields[2]; kind {
			case "M":
			default:
				part.WriteString(fields[3])
				if kind != string(supervise.Part) {
					lines = append(lines, part.String())
					part.Reset()
				}
			}
		}
	}
	if part.Len() > 0 {
		p.t.Errorf("a line without an end is stored: %q", part.String())
	}
	return lines
}

// The spool is emptied between the two bytes of a terminal's end of a line.
func TestEndOfALineAcrossAnEmptiedSpool(t *testing.T) {
	p := newPrinting(t, true)
	line := strings.Repeat("x", 1022)
	for range spoolFull>>10 - 1 {
		p.print(line + "\r\n")
	}
	p.print(line + line + "last\r") // with which it is full
	for deadline := time.Now().Add(bounds.Wide(20 * time.Second)); p.spool() > 1<<10; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the spool is not emptied")
		}
	}
	p.print("\nend\r\n")
	lines := p.end()
	if n := spoolFull>>10 + 1; len(lines) != n || !slices.Equal(lines[n-2:], []string{line + line + "last", "end"}) {
		t.Errorf("%d lines, the last are %q", len(lines), lines[max(0, len(lines)-2):])
	}
}

// A record is full between the two bytes of a terminal's end of a line.
func TestEndOfALineAcrossAFullRecord(t *testing.T) {
	for _, length := range []int{supervise.MaxRecord - 2, supervise.MaxRecord - 1, supervise.MaxRecord, supervise.MaxRecord + 1} {
		p := newPrinting(t, true)
		long := strings.Repeat("x", length)
		p.print(long + "\r\n" + "next\r\n")
		if lines := p.end(); !slices.Equal(lines, []string{long, "next"}) {
			t.Errorf("of %d bytes came %d lines, the last is %q", length, len(lines), lines[len(lines)-1])
		}
	}
}

// What a program writes last may end in the middle of a line.
func TestLastLineIsStoredOnce(t *testing.T) {
	for _, tty := range []bool{false, true} {
		p := newPrinting(t, tty)
		p.print("one\ntwo")
		if lines := p.end(); !slices.Equal(lines, []string{"one", "two"}) {
			t.Errorf("stored %q", lines)
		}
	}
}
