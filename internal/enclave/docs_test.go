package enclave

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func TestEveryCodeIsDocumented(t *testing.T) {
	doc, err := os.ReadFile("../../docs/errors.md")
	if err != nil {
		t.Fatal(err)
	}
	code := regexp.MustCompile(`"(E0[0-9]{3})"`)
	for _, pattern := range []string{"*.go", "../run/*.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v, %v", pattern, files, err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			source, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, match := range code.FindAllStringSubmatch(string(source), -1) {
				if !strings.Contains(string(doc), "| "+match[1]+" |") {
					t.Errorf("%s uses %s, which docs/errors.md does not have", file, match[1])
				}
			}
		}
	}
}
