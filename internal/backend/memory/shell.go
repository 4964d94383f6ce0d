package memory

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"
)

// This file is a very small sh: simple commands joined by ; && || and line
// ends, quotes, $VAR and ${VAR}, and the redirections >file, >>file, >&2,
// 2>&1. It is enough for the recipes of tests and no more.

// shell is the program "sh".
func shell(ctx context.Context, p *Proc) int {
	if len(p.Args) < 3 || p.Args[1] != "-c" {
		fmt.Fprintln(p.Stderr, "sh: only sh -c SCRIPT is supported here")
		return 2
	}
	items, err := split(p.Args[2], func(name string) string { return p.Env[name] })
	if err != nil {
		fmt.Fprintf(p.Stderr, "sh: %v\n", err)
		return 2
	}
	code, skip := 0, false
	for _, item := range items {
		if !skip && len(item.words) > 0 {
			var left bool
			if code, left = runSimple(ctx, p, item.words); left {
				return code
			}
		}
		if ctx.Err() != nil {
			return code
		}
		skip = item.then == "&&" && code != 0 || item.then == "||" && code == 0
	}
	return code
}

// runSimple runs one command; left says that it was exit.
func runSimple(ctx context.Context, p *Proc, words []string) (code int, left bool) {
	child := *p
	args, file, appendTo := redirect(&child, words)
	if len(args) == 0 {
		return 0, false
	}
	if args[0] == "exit" {
		if len(args) > 1 {
			code, _ = strconv.Atoi(args[1])
		}
		return code, true
	}
	var buf bytes.Buffer
	if file != "" {
		child.Stdout = &buf
	}
	child.Args = args
	program, code := p.service.enclave.host.lookPath(p.Files, args[0])
	if program == nil {
		fmt.Fprintf(child.Stderr, "sh: %s: not found\n", args[0])
		return code, false
	}
	code = program(ctx, &child)
	if file == "" {
		return code, false
	}
	if !path.IsAbs(file) {
		file = path.Join(p.Dir, file)
	}
	data := buf.Bytes()
	if old, err := p.Files.ReadFile(file); err == nil && appendTo {
		data = append(old, data...)
	}
	if err := p.Files.WriteFile(file, data, 0o644); err != nil {
		fmt.Fprintf(p.Stderr, "sh: %v\n", err)
		return 1, false
	}
	return code, false
}

// redirect applies the redirections and gives the words that are left.
func redirect(p *Proc, words []string) (args []string, file string, appendTo bool) {
	for i := 0; i < len(words); i++ {
		switch w := words[i]; w {
		case ">&2", "1>&2":
			p.Stdout = p.Stderr
		case "2>&1":
			p.Stderr = p.Stdout
		case ">", ">>":
			if i++; i < len(words) {
				file, appendTo = words[i], w == ">>"
			}
		default:
			args = append(args, strings.ReplaceAll(w, quotedMark, ""))
		}
	}
	return args, file, appendTo
}

// simple is one command and the operator after it (";" at the end).
type simple struct {
	words []string
	then  string
}

// quotedMark starts a word that held quotes, so that ">" in quotes is a word.
const quotedMark = "\x00"

// split cuts a script into commands.
func split(script string, variable func(string) string) ([]simple, error) {
	l := lexer{variable: variable}
	for len(script) > 0 {
		n, err := l.take(script)
		if err != nil {
			return nil, err
		}
		script = script[n:]
	}
	l.endCommand(";")
	return l.commands, nil
}

// lexer is a script that is being cut.
type lexer struct {
	variable func(string) string
	commands []simple
	now      simple // the command that has begun
	word     strings.Builder
	open     bool // a word has begun, be it empty
}

func (l *lexer) endWord() {
	if l.open {
		l.now.words = append(l.now.words, l.word.String())
	}
	l.word.Reset()
	l.open = false
}

func (l *lexer) endCommand(then string) {
	l.endWord()
	l.now.then = then
	l.commands = append(l.commands, l.now)
	l.now = simple{}
}

// take takes what a script begins with, and gives its length.
func (l *lexer) take(script string) (int, error) {
	switch c := script[0]; {
	case c == ' ' || c == '\t':
		l.endWord()
	case c == ';' || c == '\n':
		l.endCommand(";")
	case strings.HasPrefix(script, "&&") || strings.HasPrefix(script, "||"):
		l.endCommand(script[:2])
		return 2, nil
	case operator(script) != "" && !l.open:
		l.now.words = append(l.now.words, operator(script))
		return len(operator(script)), nil
	case c == '>' && !strings.HasPrefix(l.word.String(), quotedMark):
		l.endWord()
		return 0, nil
	case c == '\'' || c == '"':
		return l.quoted(script)
	case c == '$':
		n := 1 + nameLength(script[1:])
		l.write(expand(script[:n], l.variable))
		return n, nil
	default:
		l.write(script[:1])
	}
	return 1, nil
}

// write goes on with a word, or begins one.
func (l *lexer) write(text string) {
	l.word.WriteString(text)
	l.open = true
}

// quoted takes the text in quotes that a script begins with.
func (l *lexer) quoted(script string) (int, error) {
	text, _, ended := strings.Cut(script[1:], script[:1])
	if !ended {
		return 0, errors.New("unterminated quote")
	}
	n := len(text) + 2
	if script[0] == '"' {
		text = expand(text, l.variable)
	}
	if !l.open {
		text = quotedMark + text
	}
	l.write(text)
	return n, nil
}

// operator gives the redirection that a script begins with, if it does.
func operator(s string) string {
	for _, op := range []string{"1>&2", "2>&1", ">&2", ">>", ">"} {
		if strings.HasPrefix(s, op) {
			return op
		}
	}
	return ""
}

// nameLength gives the length of NAME or {NAME}.
func nameLength(s string) int {
	if strings.HasPrefix(s, "{") {
		return strings.IndexByte(s, '}') + 1
	}
	n := 0
	for n < len(s) && (s[n] == '_' || s[n] >= '0' && s[n] <= '9' || s[n]|0x20 >= 'a' && s[n]|0x20 <= 'z') {
		n++
	}
	return n
}

// expand fills in the variables of a text.
func expand(text string, variable func(string) string) string {
	var out strings.Builder
	for i := 0; i < len(text); i++ {
		n := 0
		if text[i] == '$' {
			n = nameLength(text[i+1:])
		}
		if n == 0 {
			out.WriteByte(text[i])
			continue
		}
		out.WriteString(variable(strings.Trim(text[i+1:i+1+n], "{}")))
		i += n
	}
	return out.String()
}
