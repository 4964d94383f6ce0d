package ui

import (
	"io"
	"strings"
	"unicode/utf8"
)

// This file keeps text that others wrote (service output, log lines, error
// messages, scripts) from driving the user's terminal: moving the cursor,
// rewriting what is above, setting the title, answering queries, or filling the
// clipboard. Escape sequences are dropped whole, after ECMA-48: CSI, OSC, DCS
// and the other strings, in their 7-bit and 8-bit forms. Tabs and newlines
// stay; a lone carriage return becomes a newline, since it could hide text.

// Clean gives text without terminal control characters. Invalid UTF-8 becomes
// U+FFFD.
func Clean(s string) string {
	if printable(s) {
		return s
	}
	var out strings.Builder
	c := cleaner{}
	c.feed(&out, []byte(s))
	c.flush(&out)
	return out.String()
}

// CleanLine is Clean for text that has to stay on one line.
func CleanLine(s string) string {
	return strings.Join(strings.FieldsFunc(Clean(s), func(r rune) bool { return r == '\n' }), " ")
}

// printable reports the common case: nothing to clean.
func printable(s string) bool {
	for i := 0; i < len(s); i++ {
		if b := s[i]; b < ' ' && b != '\n' && b != '\t' || b == 0x7f || b == 0xc2 || b >= 0xf8 {
			return false
		}
	}
	return utf8.ValidString(s)
}

// NewCleanWriter gives a writer that cleans a stream on its way to w. Sequences
// and runes may be split between writes.
func NewCleanWriter(w io.Writer) io.Writer { return &cleanWriter{w: w} }

type cleanWriter struct {
	w io.Writer
	c cleaner
}

func (cw *cleanWriter) Write(p []byte) (int, error) {
	var out strings.Builder
	cw.c.feed(&out, p)
	if out.Len() > 0 {
		if _, err := io.WriteString(cw.w, out.String()); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

// mode is where a cleaner is in an escape sequence.
type mode int

const (
	modeText       mode = iota
	modeEscape          // after ESC
	modeControl         // in CSI, until its final byte
	modeOperand         // in OSC, DCS, …: until ST, BEL or a newline
	modeOperandEnd      // after ESC in such a string
)

// cleaner is the state of a stream being cleaned.
type cleaner struct {
	mode    mode
	cr      bool   // a carriage return is held back
	partial []byte // the start of a rune
}

func (c *cleaner) feed(out *strings.Builder, p []byte) {
	if len(c.partial) > 0 {
		p = append(c.partial, p...)
		c.partial = nil
	}
	for len(p) > 0 {
		if !utf8.FullRune(p) {
			c.partial = append([]byte(nil), p...)
			return
		}
		r, n := utf8.DecodeRune(p)
		p = p[n:]
		c.rune(out, r)
	}
}

// flush ends the stream: what was held back is decided.
func (c *cleaner) flush(out *strings.Builder) {
	if len(c.partial) > 0 {
		c.rune(out, utf8.RuneError)
		c.partial = nil
	}
	c.cr = false
}

func (c *cleaner) rune(out *strings.Builder, r rune) {
	switch c.mode {
	case modeText:
		c.plain(out, r)
	case modeEscape:
		c.afterEscape(r)
	case modeControl:
		c.inControl(out, r)
	case modeOperand, modeOperandEnd:
		c.inOperand(out, r)
	}
}

// plain handles a rune outside of sequences.
func (c *cleaner) plain(out *strings.Builder, r rune) {
	if c.cr {
		c.cr = false
		if r != '\n' && r != '\r' {
			out.WriteByte('\n')
		}
	}
	switch {
	case r == '\r':
		c.cr = true
	case r == '\n' || r == '\t':
		out.WriteRune(r)
	case r == 0x1b:
		c.mode = modeEscape
	case r == 0x9b:
		c.mode = modeControl
	case r == 0x90 || r == 0x98 || r == 0x9d || r == 0x9e || r == 0x9f:
		c.mode = modeOperand
	case r < ' ' || r >= 0x7f && r < 0xa0:
	default:
		out.WriteRune(r)
	}
}

func (c *cleaner) afterEscape(r rune) {
	switch {
	case r == '[':
		c.mode = modeControl
	case r == ']' || r == 'P' || r == 'X' || r == '^' || r == '_':
		c.mode = modeOperand
	case r == 0x1b || r >= 0x20 && r <= 0x2f: // ESC again, or an intermediate byte
	default:
		c.mode = modeText
	}
}

func (c *cleaner) inControl(out *strings.Builder, r rune) {
	switch {
	case r >= 0x20 && r <= 0x3f: // parameters
	case r == 0x1b:
		c.mode = modeEscape
	case r >= 0x40 && r <= 0x7e:
		c.mode = modeText
	default: // not a sequence after all: go on as text
		c.mode = modeText
		c.plain(out, r)
	}
}

func (c *cleaner) inOperand(out *strings.Builder, r rune) {
	switch {
	case r == 0x07 || r == 0x9c:
		c.mode = modeText
	case r == '\n': // unterminated: do not swallow the lines after it
		c.mode = modeText
		out.WriteByte('\n')
	case r == 0x1b:
		c.mode = modeOperandEnd
	case c.mode == modeOperandEnd && r == '\\':
		c.mode = modeText
	default:
		c.mode = modeOperand
	}
}
