package ui

import (
	"strings"
	"testing"
)

func TestTree(t *testing.T) {
	var tree Tree
	for _, f := range []struct {
		path string
		size uint64
	}{{"a/", 0}, {"a/b/", 0}, {"a/b/c", 12}, {"a/d", 1536}, {"e/f", 3 << 30}, {"z", 0}} {
		tree.Add(f.path, f.size)
	}
	var out strings.Builder
	if err := tree.Write(&out, Coloured); err != nil {
		t.Fatal(err)
	}
	want := `├── [cyan]a
│   ├── [cyan]b
│   │   └── c [  12]
│   └── d [1.5K]
├── [cyan]e
│   └── f [3.0G]
└── z [   0]
`
	got := strings.NewReplacer("\x1b[36m", "[cyan]", "\x1b[0m", "").Replace(out.String())
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}
