package source

import (
	"errors"
	"fmt"
	"path"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"

	"github.com/lepto-dev/lepto/internal/fault"
)

// ManifestName is the file that makes a directory a package.
const ManifestName = "kurtosis.yml"

// maxManifest bounds a kurtosis.yml, in bytes.
const maxManifest = 1 << 20

// A Manifest is a package's kurtosis.yml.
type Manifest struct {
	Name        string            // the package's id: an absolute locator without version
	Description string            // for people
	Replace     map[string]string // package id to what takes its place; only the root package's counts
}

// ParseManifest reads a kurtosis.yml. It is strict: an unknown key, a key given
// twice or a value of a wrong type is an E0110 with its line.
func ParseManifest(file string, data []byte) (Manifest, error) {
	if len(data) > maxManifest {
		return Manifest{}, fault.New("E0110", "%s: larger than %d bytes", file, maxManifest)
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return Manifest{}, yamlFault(file, err)
	}
	m := manifestReader{file: file, out: Manifest{Replace: map[string]string{}}}
	if doc.Kind == 0 || len(doc.Content) == 0 {
		_ = m.problem(&doc, "is empty")
	} else {
		m.read(doc.Content[0])
	}
	return m.out, errors.Join(m.errs...)
}

// manifestReader walks the document and gathers every problem.
type manifestReader struct {
	file string
	out  Manifest
	errs []error
}

func (m *manifestReader) problem(at *yaml.Node, format string, args ...any) *fault.Fault {
	f := fault.New("E0110", "%s: %s", m.file, fmt.Sprintf(format, args...))
	if at != nil && at.Line > 0 {
		f.WithFrames(fault.Frame{File: m.file, Line: at.Line, Col: at.Column})
	}
	m.errs = append(m.errs, f)
	return f
}

func (m *manifestReader) read(root *yaml.Node) {
	m.pairs(root, "the file", func(key string, k, value *yaml.Node) {
		switch key {
		case "name":
			m.out.Name = m.text(key, value)
			m.checkName(value)
		case "description":
			m.out.Description = m.text(key, value)
		case "replace":
			if value.Kind == yaml.ScalarNode && value.Tag == "!!null" {
				return
			}
			m.pairs(value, "replace", func(from string, k, to *yaml.Node) {
				m.out.Replace[from] = m.text("replace."+from, to)
				m.checkReplace(from, k, to)
			})
		default:
			f := m.problem(k, "unknown key %q", key)
			if near := fault.Nearest(key, []string{"name", "description", "replace"}); near != "" {
				f.WithHint("did you mean %q?", near)
			} else {
				f.WithHint("the keys are name, description and replace")
			}
		}
	})
	if m.out.Name == "" && len(m.errs) == 0 {
		_ = m.problem(root, "has no name").WithHint("name: github.com/<author>/<repo>")
	}
}

// pairs visits a mapping, refusing keys given twice.
func (m *manifestReader) pairs(node *yaml.Node, what string, visit func(key string, k, value *yaml.Node)) {
	if node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	if node.Kind != yaml.MappingNode {
		_ = m.problem(node, "%s must be a mapping of keys to values", what)
		return
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		k, value := node.Content[i], node.Content[i+1]
		if line, twice := seen[k.Value]; twice {
			_ = m.problem(k, "key %q is given twice; first on line %d", k.Value, line)
			continue
		}
		seen[k.Value] = k.Line
		visit(k.Value, k, value)
	}
}

// text reads a string. YAML's other scalars are refused rather than guessed at.
func (m *manifestReader) text(key string, node *yaml.Node) string {
	if node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	if node.Kind == yaml.ScalarNode && node.Tag == "!!str" {
		return node.Value
	}
	_ = m.problem(node, "%s must be a text", key)
	return ""
}

func (m *manifestReader) checkName(at *yaml.Node) {
	name := m.out.Name
	if name == "" {
		if len(m.errs) == 0 {
			_ = m.problem(at, "name is empty").WithHint("name: github.com/<author>/<repo>")
		}
		return
	}
	l, err := ParseLocator(name)
	switch {
	case err != nil:
		_ = m.problem(at, "name %q is no locator", name).WithHint("name: github.com/<author>/<repo>[/<path>]")
	case l.Version != "" || l.ID() != name && !strings.EqualFold(l.ID(), name):
		_ = m.problem(at, "name %q must be a plain locator", name).WithHint("name: %s", l.ID())
	}
}

func (m *manifestReader) checkReplace(from string, k, to *yaml.Node) {
	if l, err := ParseLocator(from); err != nil || l.Version != "" {
		_ = m.problem(k, "replace: %q is no package", from).WithHint("a key of replace has the form github.com/<author>/<repo>[/<path>]")
	}
	value := m.out.Replace[from]
	if value == "" || isLocalPath(value) {
		if value == "" && to.Kind == yaml.ScalarNode {
			_ = m.problem(to, "replace.%s is empty", from)
		}
		return
	}
	if _, err := ParseLocator(value); err != nil {
		_ = m.problem(to, "replace.%s: %q is neither a package nor a path", from, value).
			WithHint("a path begins with ./, ../ or /")
	}
}

// isLocalPath reports whether a replacement is a directory on this machine.
func isLocalPath(value string) bool {
	return strings.HasPrefix(value, ".") || path.IsAbs(value)
}

var yamlLine = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`line (\d+): `) })

// yamlFault makes a fault of a YAML syntax error, with its line if it names one.
func yamlFault(file string, err error) error {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	m := yamlLine().FindStringSubmatch(text)
	f := fault.New("E0110", "%s: %s", file, yamlLine().ReplaceAllString(text, ""))
	if m != nil {
		if line, convErr := strconv.Atoi(m[1]); convErr == nil {
			f.WithFrames(fault.Frame{File: file, Line: line, Col: 1})
		}
	}
	return f
}
