package cli

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lepto-dev/lepto/internal/ui"
)

func TestToObject(t *testing.T) {
	tests := []struct{ rule, in, want string }{
		{"JSON stays as it is", ` {"a": 1.0, "b": [1,2]} `, `{"a": 1.0, "b": [1,2]}`},
		{"YAML becomes JSON, keys sorted", "b: 1\na: x", `{"a":"x","b":1}`},
		{"flow YAML", "{b: yes, a: [1, ~]}", `{"a":[1,null],"b":true}`},
		{"booleans", "a: true", `{"a":true}`},
		{"large integers keep their digits", "a: 123456789012345678901234567890", `{"a":123456789012345678901234567890}`},
		{"hexadecimal", "a: 0x10", `{"a":16}`},
		{"floats", "a: 1.50\nb: .5", `{"a":1.5,"b":0.5}`},
		{"dates stay text", "a: 2026-01-02", `{"a":"2026-01-02"}`},
		{"quoted numbers stay text", `a: "1"`, `{"a":"1"}`},
		{"keys become text", "1: a", `{"1":"a"}`},
		{"aliases", "a: &x {k: v}\nb: *x", `{"a":{"k":"v"},"b":{"k":"v"}}`},
		{"merge keys", "a: &a {x: 1, z: 2}\nb: {<<: *a, z: 3}", `{"a":{"x":1,"z":2},"b":{"x":1,"z":3}}`},
		{"blocks", "a: |\n  one\n  two\n", `{"a":"one\ntwo\n"}`},
		{"nothing", "# only a comment\n", `{}`},
	}
	for _, test := range tests {
		t.Run(test.rule, func(t *testing.T) {
			got, err := toObject("arguments", []byte(test.in))
			if err != nil || got != test.want {
				t.Errorf("got %s (%v), want %s", got, err, test.want)
			}
		})
	}
}

func TestToObjectRefuses(t *testing.T) {
	bomb := "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n"
	for i := range 9 {
		previous := string(rune('0' + i))
		next := string(rune('1' + i))
		bomb += "a" + next + ": &a" + next + " [" + strings.Repeat("*a"+previous+",", 10) + "]\n"
	}
	tests := []struct{ rule, in, want string }{
		{"a list", "[1, 2]", "want an object"},
		{"a scalar", "hello", "want an object"},
		{"broken text", "a: [1", "neither JSON nor YAML"},
		{"a key twice", "a: 1\na: 2", "twice"},
		{"a mapping as key", "{a: 1}: 2", "a key must be a text"},
		{"no JSON number", "a: .inf", "can't be written as JSON"},
		{"what grows without bound", bomb, "more than 1000000 values"},
	}
	for _, test := range tests {
		t.Run(test.rule, func(t *testing.T) {
			_, err := toObject("arguments", []byte(test.in))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one with %q", err, test.want)
			}
		})
	}
}

func TestLoadArgs(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/args.yml" {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write([]byte("from: web"))
	}))
	defer server.Close()
	file := filepath.Join(t.TempDir(), "args.json")
	if err := os.WriteFile(file, []byte(`{"from": "file"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct{ rule, inline, file, want, wantErr string }{
		{"nothing is an empty object", "", "", "{}", ""},
		{"a file", "", file, `{"from": "file"}`, ""},
		{"a file, with empty arguments", "{}", file, `{"from": "file"}`, ""},
		{"the command line wins", "from: line", file, `{"from":"line"}`, ""},
		{"a URL", "", server.URL + "/args.yml", `{"from":"web"}`, ""},
		{"a URL with nothing behind", "", server.URL + "/x", "", "404"},
		{"no file", "", file + "x", "", "no such file"},
	}
	for _, test := range tests {
		t.Run(test.rule, func(t *testing.T) {
			var talk strings.Builder
			d := &deps{term: ui.Plain(nil, nil, &talk), level: levelInfo}
			got, err := d.loadArgs(t.Context(), test.inline, test.file)
			if got != test.want || (err == nil) != (test.wantErr == "") || err != nil && !strings.Contains(err.Error(), test.wantErr) {
				t.Errorf("got %s (%v), want %s (%s)", got, err, test.want, test.wantErr)
			}
			if ignored := test.inline == "from: line"; ignored != strings.Contains(talk.String(), "not read") {
				t.Errorf("talk: %q", talk.String())
			}
		})
	}
}

// TestNamed: one of several names is told with its error, unless that has it.
func TestNamed(t *testing.T) {
	for text, want := range map[string]string{
		`service "a" does not exist`: `service "a" does not exist`,
		"the engine is busy":         "a: the engine is busy", // an "a" is in many a word
	} {
		if got := named("a", errors.New(text)).Error(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
