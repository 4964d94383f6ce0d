package memory

import (
	"bytes"
	"context"
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
	var out []simple
	var now simple
	var word strings.Builder
	open := false
	endWord := func() {
		if open {
			now.words = append(now.words, word.String())
		}
		word.Reset()
		open = false
	}
	endCommand := func(then string) {
		endWord()
		now.then = then
		out = append(out, now)
		now = simple{}
	}
	for i := 0; i < len(script); i++ {
		rest := script[i:]
		switch c := script[i]; {
		case c == ' ' || c == '\t':
			endWord()
		case c == ';' || c == '\n':
			endCommand(";")
		case strings.HasPrefix(rest, "&&") || strings.HasPrefix(rest, "||"):
			endCommand(rest[:2])
			i++
		case operator(rest) != "" && !open:
			now.words = append(now.words, operator(rest))
			i += len(operator(rest)) - 1
		case c == '>' && !strings.HasPrefix(word.String(), quotedMark):
			endWord()
			i--
		case c == '\'' || c == '"':
			end := strings.IndexByte(rest[1:], c)
			if end < 0 {
				return nil, fmt.Errorf("unterminated quote")
			}
			if !open {
				word.WriteString(quotedMark)
			}
			text := rest[1 : 1+end]
			if c == '"' {
				text = expand(text, variable)
			}
			word.WriteString(text)
			open = true
			i += end + 1
		case c == '$':
			name := rest[:1+nameLength(rest[1:])]
			word.WriteString(expand(name, variable))
			open = true
			i += len(name) - 1
		default:
			word.WriteByte(c)
			open = true
		}
	}
	endCommand(";")
	return out, nil
}

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
