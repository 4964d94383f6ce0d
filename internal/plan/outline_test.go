package plan

import (
	"fmt"
	"strings"
	"testing"

	"go.yaml.in/yaml/v2"

	"github.com/lepto-dev/lepto/internal/enclave"
)

// TestOutlineText shows that a document written in batches is the one that the
// library writes in one piece.
func TestOutlineText(t *testing.T) {
	texts := []string{
		"", "x", "true", "1", "a: b", "- a", "#", "two\nlines\n", "\n\n lead", "trail \n", "tab\there", "\"quoted\" 'single'",
		strings.Repeat("long words ", 40), strings.Repeat("x", 300), strings.Repeat("lines of words\n", 20), "hé 世界 \U0001F600", "\x00\x1b",
	}
	for _, n := range []int{0, 1, 2, 17, outlineBatch - 1, outlineBatch, 2*outlineBatch + 3} {
		o := &Outline{values: map[string]string{}, artifacts: map[string]string{}}
		if n%2 == 1 {
			o.doc.PackageID = "github.com/a/b"
			o.doc.Packages = texts[:n%len(texts)]
		}
		for i := range n {
			text := texts[i%len(texts)]
			o.AddService(OutlineService{Name: fmt.Sprint("s", i), ValueID: fmt.Sprint(i), Config: enclave.ServiceConfig{
				Image: enclave.Image{Ref: "i" + text}, Cmd: []string{text, "y"}, Env: map[string]string{"A": text, "B" + text: "z"},
				Ports: map[string]enclave.Port{"http": {Number: 80}},
			}})
			o.AddArtifact("a"+text, text, "/b")
			o.AddTask(OutlineTask{Name: text, Type: "sh", Command: []string{text}, Codes: []int64{0, 1}})
		}
		want, err := yaml.Marshal(o.doc)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := o.doc.text(); err != nil || got != string(want) {
			t.Fatalf("%d: %v got\n%s\nwant\n%s", n, err, got, want)
		}
	}
}
