package e2e

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
)

// blocks gives the blocks of a page in a language.
func blocks(t *testing.T, page, language string) []string {
	t.Helper()
	data, err := os.ReadFile(page)
	must(t, err)
	var out []string
	for _, found := range regexp.MustCompile("(?s)```"+language+"\n(.*?)```").FindAllStringSubmatch(string(data), -1) {
		out = append(out, found[1])
	}
	if len(out) == 0 {
		t.Fatalf("%s has no block of %s", page, language)
	}
	return out
}

// The examples in the pages about links run as they are written there.
func TestLinkExamplesOfTheDocs(t *testing.T) {
	w := newLinkWorld(t)
	for _, page := range []string{"subnetworks", "faults"} {
		for i, script := range blocks(t, "../../docs/"+page+".md", "python") {
			name := fmt.Sprint(page, "-", i)
			if r := w.run("run", w.script(script), "--enclave", name, "--show-enclave-inspect=false"); r.code != 0 {
				t.Errorf("example %d of %s.md: exit %d\n%s%s", i, page, r.code, r.stdout, r.stderr)
			}
		}
	}
	for line := range strings.Lines(blocks(t, "../../docs/subnetworks.md", "sh")[0]) {
		command, _, _ := strings.Cut(strings.TrimSpace(line), "#")
		arguments := strings.Fields(strings.ReplaceAll(command, "ENCLAVE", "subnetworks-0"))
		w.ok(arguments[1:]...)
	}
}
