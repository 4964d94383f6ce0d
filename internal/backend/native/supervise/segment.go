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
// F ends a line of output, P is a part of one that goes on in the next record
// of the same stream.

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
func AppendRecord(buf []byte, at time.Time, stream backend.Stream, text []byte, whole bool) []byte {
	buf = at.UTC().AppendFormat(buf, time.RFC3339Nano)
	buf = append(buf, ' ')
	buf = append(buf, stream...)
	if whole {
		buf = append(buf, " F "...)
	} else {
		buf = append(buf, " P "...)
	}
	buf = append(buf, text...)
	return append(buf, '\n')
}

// parseRecord reads a record, without its line end; false if it is none.
func parseRecord(record []byte) (line backend.LogLine, whole, ok bool) {
	at, rest, ok1 := bytes.Cut(record, []byte(" "))
	stream, rest, ok2 := bytes.Cut(rest, []byte(" "))
	if !ok1 || !ok2 || len(rest) < 2 || rest[1] != ' ' {
		return line, false, false
	}
	when, err := time.Parse(time.RFC3339Nano, string(at))
	if err != nil {
		return line, false, false
	}
	return backend.LogLine{At: when, Stream: backend.Stream(stream), Text: string(rest[2:])}, rest[0] == 'F', true
}
