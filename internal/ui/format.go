package ui

import (
	"strings"

	"go.starlark.net/syntax"
)

// This file lays out the canonical text of a call for the executable verbosity:
// four spaces of indent, an argument a line where there is more than one.

const (
	indentText = "    "
	lineCells  = 80 // a list or dict shorter than this stays on its line
)

// FormatCall lays out a call. Text that is no Starlark expression is returned
// as it is.
func FormatCall(text string) string {
	expr, err := (&syntax.FileOptions{}).ParseExpr("call", text, 0)
	if err != nil {
		return text
	}
	return newFormatter(text).format(expr, 0)
}

type formatter struct {
	source []rune
	lines  []int // where each line starts
}

func newFormatter(text string) formatter {
	f := formatter{source: []rune(text), lines: []int{0}}
	for i, r := range f.source {
		if r == '\n' {
			f.lines = append(f.lines, i+1)
		}
	}
	return f
}

// format gives an expression, the lines after its first one indented.
func (f formatter) format(e syntax.Expr, depth int) string {
	switch e := e.(type) {
	case *syntax.CallExpr:
		return f.format(e.Fn, depth) + f.items("(", e.Args, ")", depth, len(e.Args) > 1)
	case *syntax.ListExpr:
		return f.items("[", e.List, "]", depth, f.long(e, depth))
	case *syntax.TupleExpr:
		if e.Lparen.IsValid() && len(e.List) != 1 {
			return f.items("(", e.List, ")", depth, f.long(e, depth))
		}
	case *syntax.DictExpr:
		return f.items("{", e.List, "}", depth, f.long(e, depth))
	case *syntax.DictEntry:
		return f.format(e.Key, depth) + ": " + f.format(e.Value, depth)
	case *syntax.BinaryExpr:
		if e.Op == syntax.EQ { // a keyword argument
			return f.format(e.X, depth) + " = " + f.format(e.Y, depth)
		}
	}
	return f.text(e)
}

// items lays out a bracketed list, an item a line if broken is set or an item
// takes several lines itself.
func (f formatter) items(open string, list []syntax.Expr, end string, depth int, broken bool) string {
	texts := make([]string, len(list))
	for i, item := range list {
		texts[i] = f.format(item, depth+1)
		broken = broken || len(list) > 1 && strings.Contains(texts[i], "\n")
	}
	if !broken {
		if len(list) == 1 { // hugs its bracket: print(struct(…
			texts[0] = f.format(list[0], depth)
		}
		return open + strings.Join(texts, ", ") + end
	}
	indent := strings.Repeat(indentText, depth+1)
	return open + "\n" + indent + strings.Join(texts, ",\n"+indent) + ",\n" + strings.Repeat(indentText, depth) + end
}

// long reports a list or dict that does not fit the rest of a line.
func (f formatter) long(e syntax.Expr, depth int) bool {
	return depth*len(indentText)+Width(f.text(e)) > lineCells
}

// text gives the source of an expression.
func (f formatter) text(e syntax.Expr) string {
	start, end := e.Span()
	return string(f.source[f.offset(start):f.offset(end)])
}

// offset finds a position, whose line and column count runes from 1.
func (f formatter) offset(p syntax.Position) int {
	return min(f.lines[p.Line-1]+int(p.Col)-1, len(f.source))
}
