// Package docs checks that what the documentation lists is what the code has.
package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const root = "../.."

// shared lists the codes that several packages use, for one and the same
// condition. Every other code belongs to one package.
var shared = map[string][]string{
	"E0114": {"internal/lang/types", "internal/source"}, // a file of a package is missing
	"E0207": {"internal/lang", "internal/source"},       // parameters are no object
	"E0305": {"internal/plan", "internal/recipe"},       // no such port: before the run, and in it
	"E0352": {"internal/enclave", "internal/run"},       // an image could not be made available
	// The memory backend fails as the native one does.
	"E0401": {"internal/backend/memory", "internal/backend/native/supervise"},
	"E0402": {"internal/backend/memory", "internal/backend/native/supervise"},
	"E0406": {"internal/backend/memory", "internal/backend/native/supervise"},
	"E0407": {"internal/backend/memory", "internal/backend/native"},
	"E0410": {"internal/backend/memory", "internal/backend/native", "internal/image"},
	"E0411": {"internal/backend/backendtest", "internal/backend/memory", "internal/image", "internal/image/build"},
	"E0414": {"internal/backend/native", "internal/image"}, // the disk is full
	"E0415": {"internal/backend/memory", "internal/image/build"},
	"E0421": {"internal/backend/memory", "internal/backend/native/gateway"},
}

var codePattern = regexp.MustCompile(`^E0\d{3}$`)

func TestErrorCodes(t *testing.T) {
	documented := documentedCodes(t)
	used := usedCodes(t)
	for _, code := range slices.Sorted(maps.Keys(used)) {
		in := slices.Sorted(maps.Keys(used[code]))
		if !documented[code] {
			t.Errorf("%s, of %s, has no row in docs/errors.md", code, strings.Join(in, ", "))
		}
		if want := shared[code]; len(in) > 1 && !slices.Equal(in, want) {
			t.Errorf("%s is used by %s: a code has one meaning, and one package unless it is listed as shared", code, strings.Join(in, ", "))
		}
	}
	for _, code := range slices.Sorted(maps.Keys(documented)) {
		if used[code] == nil {
			t.Errorf("docs/errors.md has a row for %s, which nothing uses", code)
		}
	}
	for _, code := range slices.Sorted(maps.Keys(shared)) {
		if len(used[code]) < 2 {
			t.Errorf("%s is listed as shared, but is not", code)
		}
	}
}

// documentedCodes gives the codes that have a row, and checks the rows.
func documentedCodes(t *testing.T) map[string]bool {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "docs/errors.md"))
	if err != nil {
		t.Fatal(err)
	}
	codes, section, last := map[string]bool{}, "", ""
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "## "); ok {
			section, _, _ = strings.Cut(rest, ":")
		}
		if !strings.HasPrefix(line, "| E") {
			continue
		}
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		code := strings.TrimSpace(cells[0])
		switch {
		case len(cells) != 3 || !codePattern.MatchString(code) || strings.TrimSpace(cells[1]) == "":
			t.Errorf("docs/errors.md: want a code, what it means and what to do: %s", line)
		case codes[code]:
			t.Errorf("docs/errors.md has %s twice", code)
		case code < last || !strings.HasPrefix(code, section):
			t.Errorf("docs/errors.md: %s is out of order, or in the wrong section (%s)", code, section)
		}
		codes[code], last = true, code
	}
	return codes
}

// usedCodes gives the packages, by directory, whose code has each fault code as
// a string of its own.
func usedCodes(t *testing.T) map[string]map[string]bool {
	t.Helper()
	used := map[string]map[string]bool{}
	for _, top := range []string{"internal", "cmd"} {
		err := filepath.WalkDir(filepath.Join(root, top), func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			dir, err := filepath.Rel(root, filepath.Dir(path))
			if err != nil {
				return err
			}
			return codesIn(path, func(code string) {
				if used[code] == nil {
					used[code] = map[string]bool{}
				}
				used[code][filepath.ToSlash(dir)] = true
			})
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return used
}

func codesIn(path string, found func(code string)) error {
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			if text, err := strconv.Unquote(lit.Value); err == nil && codePattern.MatchString(text) {
				found(text)
			}
		}
		return true
	})
	return nil
}
