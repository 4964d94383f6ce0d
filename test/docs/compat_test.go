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
		listed = append(listed, strings.Trim(cells[0], "`"))
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
