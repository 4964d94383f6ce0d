package docs

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lepto-dev/lepto/internal/instruction"
)

// TestInstructionsOfTheCompatibilityPage compares the page's table with the
// instructions that there are: all of them, sorted, and no other.
func TestInstructionsOfTheCompatibilityPage(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "docs/compatibility.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), "\n| Instruction |")
	table, _, ended := strings.Cut(rest, "\n\n")
	if !found || !ended {
		t.Fatal("docs/compatibility.md has no table of instructions")
	}
	shown := onNative(t)
	var listed []string
	for line := range strings.Lines(table) {
		if !strings.HasPrefix(line, "| `") {
			continue
		}
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for i, cell := range cells {
			cells[i] = strings.TrimSpace(cell)
		}
		if len(cells) != 4 || slices.ContainsFunc(cells[1:], func(c string) bool { return c != "yes" && c != "no" }) {
			t.Errorf("want a name and three times yes or no: %s", line)
		}
		name := strings.Trim(cells[0], "`")
		listed = append(listed, name)
		if cells[3] == "yes" && !strings.Contains(shown, "plan."+name+"(") {
			t.Errorf("%s is said to be executed on native; no test or example runs it there", name)
		}
	}
	var there []string
	for _, i := range instruction.All() {
		there = append(there, i.Name())
	}
	slices.Sort(there)
	if !slices.Equal(listed, there) {
		t.Errorf("docs/compatibility.md lists %q\nthere are %q", listed, there)
	}
}

// onNative gives the text of all that is run in real containers: the end-to-end
// tests, and the examples.
func onNative(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	for _, pattern := range []string{"test/e2e/*.go", "examples/*/*.star"} {
		files, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v", pattern, err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			all.Write(text)
		}
	}
	return all.String()
}
