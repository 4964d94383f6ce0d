package supervise

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lepto-dev/lepto/internal/backend"
)

// This file defines how output is stored. LogDir holds segments, named by
// number; the highest is being written. A segment is text, one record a line:
//
//	2026-01-02T15:04:05.000000001Z stdout F the line
//
// The letter is the record's Kind. What follows M is no output: it says how many
// bytes of the stream's spool are in the log before it; each record then adds
// what Spooled says. A segment begins with an M for each stream.

// A Kind says what a record is.
type Kind byte

// The kinds of records.
const (
	Line     Kind = 'F' // ends a line of output
	LineCRLF Kind = 'R' // the same of a terminal, where lines end with \r\n
	LastLine Kind = 'E' // ends output that does not end with a line end
	Part     Kind = 'P' // goes on in the next record of the same stream
	Note     Kind = 'N' // a line of ours, for instance that output is missing
	mark     Kind = 'M'
)

// whole reports whether a record of this kind ends a line.
func (k Kind) whole() bool { return k == Line || k == LineCRLF || k == LastLine || k == Note }

// Spooled is how many bytes of a stream's spool a record with this text stands
// for, where no mark follows that says otherwise.
func (k Kind) Spooled(text []byte) int {
	switch k {
	case Line:
		return len(text) + 1
	case LineCRLF:
		return len(text) + 2
	case Part, LastLine:
		return len(text)
	}
	return 0
}

// LogDir is the folder of the segments, in the container's folder.
const LogDir = dirLog

// MaxRecord bounds the text of a record, in bytes; longer lines are split.
const MaxRecord = 16 << 10

// SegmentName gives the file name of a segment.
func SegmentName(n int) string { return fmt.Sprintf("%010d.log", n) }

// SegmentNumber gives the number in a segment's path; 0 if it is none.
func SegmentNumber(path string) int {
	name, ok := strings.CutSuffix(filepath.Base(path), ".log")
	n, err := strconv.Atoi(name)
	if !ok || err != nil || n < 0 {
		return 0
	}
	return n
}

// Segments lists the paths of a container's segments, oldest first.
func Segments(dir string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(dir, LogDir))
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range entries {
		if SegmentNumber(e.Name()) > 0 {
			out = append(out, filepath.Join(dir, LogDir, e.Name()))
		}
	}
	slices.SortFunc(out, func(a, b string) int { return SegmentNumber(a) - SegmentNumber(b) })
	return out, nil
}

// AppendRecord appends a record to buf.
func AppendRecord(buf []byte, at time.Time, stream backend.Stream, kind Kind, text []byte) []byte {
	buf = at.UTC().AppendFormat(buf, time.RFC3339Nano)
	buf = append(buf, ' ')
	buf = append(buf, stream...)
	buf = append(buf, ' ', byte(kind), ' ')
	buf = append(buf, text...)
	return append(buf, '\n')
}

// AppendMark appends a record that says how much of a stream's spool is stored.
func AppendMark(buf []byte, at time.Time, stream backend.Stream, stored int64) []byte {
	return AppendRecord(buf, at, stream, mark, strconv.AppendInt(nil, stored, 10))
}

// Logged gives how many bytes of each stream's spool are in the log that these
// segments are, from the last one that says so. A record without its end does
// not count: whoever was writing it was killed.
func Logged(segments []string) (map[backend.Stream]int64, error) {
	for _, name := range slices.Backward(segments) {
		data, err := os.ReadFile(name)
		if err != nil && !os.IsNotExist(err) {
			return nil, err
		}
		stored, said := map[backend.Stream]int64{}, false
		for record := range bytes.Lines(data) {
			record, ended := bytes.CutSuffix(record, []byte("\n"))
			_, stream, kind, text, ok := splitRecord(record)
			if !ok || !ended {
				continue
			}
			if kind != mark {
				stored[stream] += int64(kind.Spooled(text))
			} else if n, err := strconv.ParseInt(string(text), 10, 64); err == nil {
				stored[stream], said = n, true
			}
		}
		if said {
			return stored, nil
		}
	}
	return map[backend.Stream]int64{}, nil
}

// splitRecord takes a record without its line end apart; false if it is none.
func splitRecord(record []byte) (at []byte, stream backend.Stream, kind Kind, text []byte, ok bool) {
	at, rest, ok1 := bytes.Cut(record, []byte(" "))
	name, rest, ok2 := bytes.Cut(rest, []byte(" "))
	if !ok1 || !ok2 || len(rest) < 2 || rest[1] != ' ' {
		return nil, "", 0, nil, false
	}
	return at, backend.Stream(name), Kind(rest[0]), rest[2:], true
}

// parseRecord reads a record of output, without its line end; false if it is none.
func parseRecord(record []byte) (line backend.LogLine, whole, ok bool) {
	at, stream, kind, text, ok := splitRecord(record)
	if !ok || kind == mark {
		return line, false, false
	}
	when, err := time.Parse(time.RFC3339Nano, string(at))
	if err != nil {
		return line, false, false
	}
	return backend.LogLine{At: when, Stream: stream, Text: string(text)}, kind.whole(), true
}
