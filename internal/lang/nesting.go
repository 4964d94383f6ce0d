package lang

import (
	"strings"

	"github.com/lepto-dev/lepto/internal/fault"
)

// This file refuses code that is nested without measure. Parser, resolver and
// compiler recurse over it, and a Go program that runs out of stack can't be
// saved; so the measure is taken before, without recursion.

const (
	maxBrackets = 400    // brackets open at once
	maxChain    = 50_000 // operators and names between two commas, over all open brackets
)

// nesting scans code for brackets and chains of operators.
type nesting struct {
	text  string
	pos   int
	line  int
	level []chain // per open bracket
	total int     // of all chains
}

// chain is what may nest in one bracket: tokens since the last comma, and
// lambdas, whose parameters have commas too.
type chain struct {
	tokens, lambdas int

	bracket byte // that opened it; 0 for none
	line    int  // where it stands
}

// checkNesting is an E0101 for code nested beyond the limits.
func checkNesting(file, text string) error {
	n := nesting{text: text, line: 1, level: []chain{{}}}
	for n.pos < len(text) {
		n.step()
		if len(n.level) > maxBrackets || n.total > maxChain {
			return fault.New("E0101", "the code is nested too deeply here").
				WithFrames(fault.Frame{File: file, Line: n.line, Col: 1}).
				WithHint("build the value in several statements")
		}
	}
	return nil
}

// openBracket gives the innermost bracket that is open where a line begins, and the
// line where it stands; 0 if none is.
func openBracket(text string, line int) (bracket byte, at int) {
	n := nesting{text: text, line: 1, level: []chain{{}}}
	for n.pos < len(text) && n.line < line {
		n.step()
	}
	last := n.level[len(n.level)-1]
	return last.bracket, last.line
}

func (n *nesting) step() {
	switch c := n.text[n.pos]; c {
	case '#':
		n.skipTo("\n")
	case '"', '\'':
		n.quoted(c)
		n.count()
	case '\n':
		n.line++
		n.pos++
		if len(n.level) == 1 {
			n.reset()
		}
	case '\\':
		n.pos++ // a continued line is the same statement
		if n.pos < len(n.text) && n.text[n.pos] == '\n' {
			n.line++
			n.pos++
		}
	case ',', ';':
		n.pos++
		n.comma()
	case '(', '[', '{':
		n.pos++
		n.count()
		n.level = append(n.level, chain{bracket: c, line: n.line})
	case ')', ']', '}':
		n.pos++
		if last := len(n.level) - 1; last > 0 {
			n.total -= n.level[last].tokens + n.level[last].lambdas
			n.level = n.level[:last]
		}
	case ' ', '\t', '\r':
		n.pos++
	default:
		n.word()
		n.count()
	}
}

// count adds a token to the innermost bracket.
func (n *nesting) count() {
	n.level[len(n.level)-1].tokens++
	n.total++
}

// comma ends a chain of operators, but not of lambdas.
func (n *nesting) comma() {
	last := &n.level[len(n.level)-1]
	n.total -= last.tokens
	last.tokens = 0
}

// reset ends a statement.
func (n *nesting) reset() {
	n.total -= n.level[0].tokens + n.level[0].lambdas
	n.level[0] = chain{}
}

// word passes a name, a number or one operator character.
func (n *nesting) word() {
	start := n.pos
	for n.pos < len(n.text) && isWordByte(n.text[n.pos]) {
		n.pos++
	}
	if n.text[start:n.pos] == "lambda" {
		n.level[len(n.level)-1].lambdas++
		n.total++
	}
	if n.pos == start {
		n.pos++
	}
}

func isWordByte(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
}

// quoted passes a string literal.
func (n *nesting) quoted(quote byte) {
	if triple := strings.Repeat(string(quote), 3); strings.HasPrefix(n.text[n.pos:], triple) {
		n.pos += 3
		n.stringEnd(triple, true)
		return
	}
	n.pos++
	n.stringEnd(string(quote), false)
}

// stringEnd passes the rest of a literal; an unclosed one ends with its line.
func (n *nesting) stringEnd(end string, lines bool) {
	for n.pos < len(n.text) {
		switch {
		case strings.HasPrefix(n.text[n.pos:], end):
			n.pos += len(end)
			return
		case n.text[n.pos] == '\\':
			n.pos++
			if n.pos < len(n.text) && n.text[n.pos] == '\n' {
				n.line++
			}
		case n.text[n.pos] == '\n':
			if !lines {
				return
			}
			n.line++
		}
		n.pos++
	}
	n.pos = min(n.pos, len(n.text))
}

func (n *nesting) skipTo(end string) {
	if i := strings.Index(n.text[n.pos:], end); i >= 0 {
		n.pos += i
		return
	}
	n.pos = len(n.text)
}
