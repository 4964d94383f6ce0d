package cli

import "strings"

// This file settles what -p of lepto run means. It is the shorthand of
// --production, and scripts of older days use it for --parallelism with a
// number. The token after it decides, before flags are parsed: a parser that
// knows -p as a switch would take the number for an argument.

// rewriteShorthand gives the command line with -p N, -p=N and -pN of run written
// out as --parallelism.
func rewriteShorthand(args []string) []string {
	at := commandIndex(args)
	if at < 0 || args[at] != "run" {
		return args
	}
	out := append([]string(nil), args[:at+1]...)
	rest := args[at+1:]
	for i := 0; i < len(rest); i++ {
		token := rest[i]
		if token == "--" {
			return append(out, rest[i:]...)
		}
		value, isShort := strings.CutPrefix(token, "-p")
		switch value = strings.TrimPrefix(value, "="); {
		case isShort && digits(value):
			token = "--parallelism=" + value
		case token == "-p" && i+1 < len(rest) && digits(rest[i+1]):
			i++
			token = "--parallelism=" + rest[i]
		}
		out = append(out, token)
	}
	return out
}

// commandIndex finds the command among the global flags before it; -1 if there
// is none.
func commandIndex(args []string) int {
	for i := 0; i < len(args); i++ {
		switch {
		case args[i] == "--home" || args[i] == "--log-level" || args[i] == "--cli-log-level":
			i++
		case !strings.HasPrefix(args[i], "-"):
			return i
		}
	}
	return -1
}

func digits(text string) bool {
	return text != "" && strings.Trim(text, "0123456789") == ""
}
