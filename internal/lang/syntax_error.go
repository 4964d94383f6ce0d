package lang

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"go.starlark.net/syntax"

	"github.com/lepto-dev/lepto/internal/fault"
)

// This file says in a user's words what the parser says in its own, and where.

// A syntaxError is an error of the parser with what is made of it. The text form
// of the wire API keeps the parser's words, and has another place.
type syntaxError struct {
	parsed syntax.Error
	legacy syntax.Position // the end of the token that is wrong
	shown  syntax.Position // its start
	plain  plainError
}

// plainError is an error in a user's words.
type plainError struct{ code, summary, hint string }

// Error gives the parser's text.
func (e *syntaxError) Error() string { return e.parsed.Error() }

// Unwrap gives the parser's error.
func (e *syntaxError) Unwrap() error { return e.parsed }

// explain makes a syntaxError of an error of the parser; text is the file's.
func explain(err error, text string) error {
	e := &syntaxError{}
	if !errors.As(err, &e.parsed) {
		return err
	}
	e.legacy, e.shown = e.parsed.Pos, e.parsed.Pos
	got, want, _ := strings.Cut(strings.TrimPrefix(e.parsed.Msg, "got "), ", want ")
	switch {
	case want == "primary expression":
		e.legacy = endOf(got, e.parsed.Pos, text)
	case want != "":
		e.shown = startOf(got, e.parsed.Pos, text)
	}
	line := lineAt(text, e.shown)
	e.plain = plainSyntax(e.parsed.Msg, got, want, line, int(e.shown.Col))
	if first := len([]rune(line)) - len([]rune(strings.TrimLeft(line, " \t"))); want != "" && int(e.shown.Col) <= first+1 && e.plain.code == "E0101" {
		// The line is not to blame where one before it goes on.
		if bracket, at := openBracket(text, int(e.shown.Line)); bracket != 0 {
			e.plain = plainError{"E0101", fmt.Sprintf("the %q of line %d is not closed", string(bracket), at), ""}
		}
	}
	return e
}

// endOf gives the end of a token that begins at a place. A text that does not end
// with a line end has none after its last line.
func endOf(token string, at syntax.Position, text string) syntax.Position {
	switch {
	case token == "newline":
		if int(at.Line) <= strings.Count(text, "\n") {
			at.Line, at.Col = at.Line+1, 1
		}
	case strings.HasPrefix(token, "'"):
		at.Col += int32(len(strings.Trim(token, "'")))
	case token != "EOF" && token != "indent" && token != "outdent":
		at.Col += int32(len(token)) // a keyword
	}
	return at
}

var lastToken = regexp.MustCompile(`("[^"]*"|'[^']*'|\w+|[^\w\s]+)$`)

// startOf gives the start of a token that ends at a place.
func startOf(token string, at syntax.Position, text string) syntax.Position {
	if token == "newline" && at.Col == 1 && at.Line > 1 {
		at.Line--
		at.Col = int32(len([]rune(lineAt(text, at)))) + 1
		return at
	}
	line := []rune(lineAt(text, at))
	before := string(line[:max(0, min(int(at.Col)-1, len(line)))])
	at.Col -= int32(len([]rune(lastToken.FindString(before))))
	return at
}

func lineAt(text string, at syntax.Position) string {
	lines := strings.SplitN(text, "\n", int(at.Line)+1)
	if int(at.Line) > len(lines) || at.Line < 1 {
		return ""
	}
	return strings.TrimRight(lines[at.Line-1], "\r")
}

// pythonWords are words that Starlark keeps for Python's sake, with what is written
// instead of them.
var pythonWords = map[string]string{
	"import": `lib = import_module("./lib.star"), then lib.name`, "from": `lib = import_module("./lib.star"), then lib.name`,
	"class": "struct(a = 1, b = 2) makes a value with fields",
	"try":   `nothing catches errors; fail("…") ends the script`, "except": `nothing catches errors; fail("…") ends the script`,
	"finally": `nothing catches errors; fail("…") ends the script`, "raise": `fail("…") ends the script`,
	"with": "nothing has to be closed", "as": `lib = import_module("./lib.star") gives a module a name`,
	"global": "a global is set once; return what is new", "nonlocal": "return what is new",
	"yield": "build a list and return it", "is": `compare with "=="`, "del": `d.pop("key") takes a key out of a dict`,
	"assert": `fail("…") ends the script; plan.verify compares values of instructions`,
}

// wanted says what is missing, by what the parser wants.
var wanted = map[string]string{
	"':'": `":" is missing here`, "','": `"," or a closing bracket is missing before this`,
	"')'": `")" is missing before this`, "']'": `"]" is missing before this`, "'}'": `"}" is missing before this`,
	"newline": "the statement should have ended before this", "identifier": "a name is missing before this", "in": `"in" is missing before this`,
	"indent": "the body of this is missing: lines that are indented more",
}

// plainSyntax says what the parser says in other words: got and want are from its
// message, and the token begins at a column of a line.
func plainSyntax(msg, got, want, line string, col int) plainError {
	runes := []rune(line)
	before := string(runes[:max(0, min(col-1, len(runes)))])
	switch hint, isWord := pythonWords[got]; {
	case isWord && want != "":
		return plainError{"E0103", `"` + got + `" is Python's, and not part of Starlark`, hint}
	case got == "string literal" && endsInPrefix(before):
		return plainError{"E0103", "there are no f-strings in Starlark", `"{} of {}".format(a, b)`}
	case got == "newline" && (strings.HasSuffix(line, "++") || strings.HasSuffix(line, "--")):
		return plainError{"E0103", `"++" and "--" are not part of Starlark`, "x += 1"}
	case got == "'&'" && strings.HasSuffix(before, "&"):
		return plainError{"E0103", `"&&" is not part of Starlark`, "a and b"}
	case got == "'|'" && strings.HasSuffix(before, "|"):
		return plainError{"E0103", `"||" is not part of Starlark`, "a or b"}
	case got == "if" && want == "':'":
		return plainError{"E0101", `"else if" is written in one word`, "elif …:"}
	case got == "'='" && want == "':'":
		return plainError{"E0101", `"=" sets, and can't be part of a condition`, `compare with "=="`}
	case got == "EOF", got == "outdent" && want == "primary expression": // a bracket is open, so lines do not count
		return plainError{"E0101", "the file ends in the middle of a statement", "look for a bracket that is not closed"}
	case wanted[want] != "":
		return plainError{"E0101", wanted[want], ""}
	case want == "primary expression":
		return plainValue(got, line)
	}
	return plainScan(msg)
}

// plainValue says what is wrong where a value should be.
func plainValue(got, line string) plainError {
	switch got {
	case "indent":
		if strings.Contains(line[:len(line)-len(strings.TrimLeft(line, " \t"))], "\t") {
			return plainError{"E0101", "the line is indented more than the one before it", "a tab counts as 8 spaces; use one or the other"}
		}
		return plainError{"E0101", "the line is indented more than the one before it", "only the body of a def, if, else or for is indented"}
	case "newline":
		return plainError{"E0101", "the line ends where a value is missing", ""}
	}
	return plainError{"E0101", "a value is missing before " + got, ""}
}

// plainScan says what is wrong with a token.
func plainScan(msg string) plainError {
	e := plainError{"E0101", msg, ""}
	switch {
	case strings.HasPrefix(msg, "unexpected newline in string"), strings.HasPrefix(msg, "unexpected EOF in string"):
		e.summary, e.hint = "the string is not closed", `close it with the quote that it began with; one of several lines is in """`
	case strings.Contains(msg, "input character '!'"):
		e.code, e.hint = "E0103", "not a; a != b"
	case strings.Contains(msg, "input character '?'"):
		e.code, e.hint = "E0103", "a if condition else b"
	case strings.Contains(msg, "input character '“'"), strings.Contains(msg, "input character '”'"), strings.Contains(msg, "input character '’'"), strings.Contains(msg, "input character '‘'"):
		e.hint = `strings are in plain quotes: "…"`
	}
	return e
}

// endsInPrefix reports text that ends in the f of an f-string.
func endsInPrefix(text string) bool {
	return fStringPrefix.MatchString(text)
}

var fStringPrefix = regexp.MustCompile(`(^|[^\w])[rR]?[fF][rR]?$`)

// parse parses a file.
func parse(name, text string) (*syntax.File, error) {
	file, err := dialect.Parse(name, text, 0)
	if err != nil {
		return nil, explain(err, text)
	}
	return file, nil
}

// fault gives the error as a fault, without its place.
func (p plainError) fault() *fault.Fault {
	f := fault.New(p.code, "%s", p.summary)
	f.Hint = p.hint
	return f
}
