package ui

import (
	"strings"
	"testing"
)

func TestClean(t *testing.T) {
	tests := []struct{ rule, in, want string }{
		{"plain text stays", "héllo 世界\tx\n", "héllo 世界\tx\n"},
		{"colours go", "\x1b[31mred\x1b[0m", "red"},
		{"cursor moves go", "a\x1b[2K\x1b[1Ab", "ab"},
		{"titles go (BEL)", "\x1b]0;title\x07x", "x"},
		{"titles go (ST)", "\x1b]0;title\x1b\\x", "x"},
		{"clipboard goes", "\x1b]52;c;ZXZpbA==\x07x", "x"},
		{"device strings go", "a\x1bPq#0;2\x1b\\b", "ab"},
		{"an open string ends with its line", "a\x1b]0;never\nb", "a\nb"},
		{"8-bit CSI goes", "a\u009b31mb", "ab"},
		{"8-bit OSC goes", "a\u009d0;t\u009cb", "ab"},
		{"charset selection goes", "a\x1b(0b", "ab"},
		{"reset goes", "a\x1bcb", "ab"},
		{"bell, backspace, delete go", "a\x07\b\x7fb", "ab"},
		{"CRLF is a newline", "a\r\nb", "a\nb"},
		{"a lone CR can't hide text", "secret\rshown", "secret\nshown"},
		{"a last CR goes", "a\r", "a"},
		{"invalid UTF-8 is shown as such", "a\xffb\xc3", "a\uFFFDb\uFFFD"},
		{"a broken CSI goes on as text", "a\x1b[3\nb", "a\nb"},
	}
	for _, test := range tests {
		t.Run(test.rule, func(t *testing.T) {
			if got := Clean(test.in); got != test.want {
				t.Errorf("Clean(%q) = %q, want %q", test.in, got, test.want)
			}
			var out strings.Builder
			w := NewCleanWriter(&out)
			for i := range len(test.in) { // a byte at a time: everything is split
				w.Write([]byte{test.in[i]})
			}
			// What a stream holds back at its end is not written.
			if got, want := out.String(), strings.TrimSuffix(test.want, "b\uFFFD"); !strings.HasPrefix(got, want) {
				t.Errorf("byte by byte: %q, want %q", got, want)
			}
		})
	}
}

func FuzzClean(f *testing.F) {
	f.Add("\x1b]0;x\x07\r\n\u009b1m")
	f.Fuzz(func(t *testing.T, in string) {
		for _, r := range Clean(in) {
			if r < ' ' && r != '\n' && r != '\t' || r >= 0x7f && r < 0xa0 {
				t.Fatalf("Clean(%q) lets %U through", in, r)
			}
		}
	})
}
