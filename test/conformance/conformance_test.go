package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestLanguage compares the recorded cases of the language.
func TestLanguage(t *testing.T) {
	var out strings.Builder
	if err := compareFile(t.Context(), &out, "language.jsonl", "."); err != nil {
		t.Errorf("%v\n%s", err, out.String())
	}
}

// TestDifferences checks that each difference is a case, and is told to users:
// that its section is a row of the page on compatibility.
func TestDifferences(t *testing.T) {
	listed, err := readLines[Difference]("differences.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	cases, err := readLines[Case]("language.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "compatibility.md"))
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, c := range cases {
		known[c.Name] = true
	}
	if most := 15; len(listed) > most {
		t.Errorf("%d differences are listed, at most %d may be", len(listed), most)
	}
	for _, d := range listed {
		if !known[d.Name] {
			t.Errorf("%s is no case", d.Name)
		}
		if d.Reason == "" || !strings.Contains(string(page), "\n| "+d.Section) {
			t.Errorf("%s: %q is no row of docs/compatibility.md, or there is no reason", d.Name, d.Section)
		}
	}
}
