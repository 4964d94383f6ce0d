package cli

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lepto-dev/lepto/internal/api/client"
)

func TestRewriteShorthand(t *testing.T) {
	tests := []struct{ rule, in, want string }{
		{"-p with a number", "run x.star -p 8", "run x.star --parallelism=8"},
		{"-p=N", "run -p=8 x.star", "run --parallelism=8 x.star"},
		{"-pN", "run -p8 x.star", "run --parallelism=8 x.star"},
		{"-p alone", "run x.star -p", "run x.star -p"},
		{"-p before a word", "run -p x.star", "run -p x.star"},
		{"-p=true", "run -p=true x.star", "run -p=true x.star"},
		{"long names", "run --production x.star --parallelism 8", "run --production x.star --parallelism 8"},
		{"after --", "run x.star -- -p 8", "run x.star -- -p 8"},
		{"global flags before", "--home /run --log-level=debug run x.star -p 8", "--home /run --log-level=debug run x.star --parallelism=8"},
		{"other commands", "enclave add -p 8", "enclave add -p 8"},
		{"run of the engine", "engine run -p 8", "engine run -p 8"},
		{"nothing", "", ""},
	}
	for _, test := range tests {
		t.Run(test.rule, func(t *testing.T) {
			if got := rewriteShorthand(strings.Fields(test.in)); !slices.Equal(got, strings.Fields(test.want)) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestFormatPort(t *testing.T) {
	web := client.Port{Application: "http", HostIP: "127.0.0.1", HostPort: 32769}
	raw := client.Port{HostIP: "::1", HostPort: 53}
	tests := []struct {
		port         client.Port
		format, want string
	}{
		{web, "protocol,ip,number", "http://127.0.0.1:32769"},
		{web, "ip,number", "127.0.0.1:32769"},
		{web, "protocol,ip", "http://127.0.0.1"},
		{web, "protocol", "http"},
		{web, "ip", "127.0.0.1"},
		{web, "number", "32769"},
		{raw, "protocol,ip,number", "[::1]:53"},
		{raw, "protocol", ""},
	}
	for _, test := range tests {
		parts, err := parsePortFormat(test.format)
		if got := formatPort(test.port, parts); err != nil || got != test.want {
			t.Errorf("%s: %q (%v), want %q", test.format, got, err, test.want)
		}
	}
	for _, format := range []string{"", "ip,protocol", "number,ip", "ip,ip", "host"} {
		if _, err := parsePortFormat(format); err == nil {
			t.Errorf("--format %q is accepted", format)
		}
	}
}

func TestParseSince(t *testing.T) {
	now := time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"":                     {},
		"10m":                  now.Add(-10 * time.Minute),
		"2026-01-02T03:04:05Z": time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
	} {
		if got, err := parseSince(text, now); err != nil || !got.Equal(want) {
			t.Errorf("%q: %v (%v), want %v", text, got, err, want)
		}
	}
	if _, err := parseSince("yesterday", now); err == nil {
		t.Error("no error for what is no time")
	}
}

func TestKeyValues(t *testing.T) {
	getenv := func(key string) string { return "own-" + key }
	got, err := keyValues("--env", []string{"A=1", "B=x=y", "C=", "D"}, getenv)
	if err != nil || got["A"] != "1" || got["B"] != "x=y" || got["C"] != "" || got["D"] != "own-D" {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := keyValues("--env", []string{"=1"}, getenv); err == nil {
		t.Error("no error for a variable without a name")
	}
}
