package compose

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/lepto-dev/lepto/internal/fault"
)

// This file finds the lines of a compose file that something was said on. The
// library that reads compose files forgets them.

// places are the documents that a project was read from, the main file first.
type places struct {
	main string
	docs map[string]*yaml.Node // by path in the tree
}

// of gives FILE:LINE of a field of a service, or as much of that as is known:
// the field's own line, or that of what holds it.
func (p places) of(service string, field ...string) string {
	files := []string{p.main}
	for _, name := range slices.Sorted(maps.Keys(p.docs)) {
		if name != p.main {
			files = append(files, name)
		}
	}
	best, deepest := p.main, 0
	for _, name := range files {
		node := p.docs[name]
		if node == nil || len(node.Content) == 0 {
			continue
		}
		at, depth := descend(node.Content[0], append([]string{"services", service}, field...))
		if depth > deepest && depth >= 2 {
			best, deepest = fmt.Sprintf("%s:%d", name, at), depth
		}
	}
	return best
}

// misfit is what the library says of a field that does not fit: its path in the
// document, and why.
var misfit = regexp.MustCompile(`^validating \S+: (services\.\S+) (.*)`)

// invalid makes an error of what the library says of a file, with its place where
// that is known.
func invalid(p places, said string) error {
	m := misfit.FindStringSubmatch(said)
	if m == nil {
		return errors.New(said)
	}
	keys := strings.Split(m[1], ".")[1:]
	service, field, why := keys[0], strings.Join(keys[1:], "."), m[2]
	if strings.Contains(why, "false schema") || strings.Contains(why, "additional propert") {
		near := fault.Nearest(field, knownFields())
		switch {
		case near == field:
			why = "it has a field that Compose does not know"
		case near != "":
			why = fmt.Sprintf("Compose knows no such field; did you mean %q?", near)
		default:
			why = "Compose knows no such field"
		}
	}
	if field == "" {
		return fmt.Errorf("%s: service %q: %s", p.of(service), service, why)
	}
	return fmt.Errorf("%s: service %q: %s: %s", p.of(service, keys[1:]...), service, field, why)
}

// knownFields are the fields that a service can have.
func knownFields() []string {
	all := map[string]string{}
	maps.Copy(all, unlike)
	maps.Copy(all, refused)
	for _, known := range []map[string]bool{converted, harmless} {
		for field := range known {
			all[field] = ""
		}
	}
	return sorted(all)
}

// top gives FILE:LINE of a key beside services.
func (p places) top(keys ...string) string {
	node := p.docs[p.main]
	if node == nil || len(node.Content) == 0 {
		return p.main
	}
	if at, depth := descend(node.Content[0], keys); depth > 0 {
		return fmt.Sprintf("%s:%d", p.main, at)
	}
	return p.main
}

// descend follows keys as far as they go: the line of the last one that is there,
// and how many are.
func descend(node *yaml.Node, keys []string) (line, depth int) {
	for _, key := range keys {
		k, value := entry(node, key, 0)
		if k == nil {
			return line, depth
		}
		line, node = k.Line, value
		depth++
	}
	return line, depth
}

// maxMerges bounds how deep mappings merge each other; vet has refused circles.
const maxMerges = 20

// entry gives a key of a mapping with its value, its own or one that it merges in.
func entry(node *yaml.Node, key string, depth int) (k, value *yaml.Node) {
	if node != nil && node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	if node == nil || node.Kind != yaml.MappingNode || depth > maxMerges {
		return nil, nil
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		if node.Content[i].Value == key {
			return node.Content[i], node.Content[i+1]
		}
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		if node.Content[i].Tag != "!!merge" {
			continue
		}
		merged := []*yaml.Node{node.Content[i+1]}
		if merged[0].Kind == yaml.SequenceNode {
			merged = merged[0].Content
		}
		for _, from := range merged {
			if k, value := entry(from, key, depth+1); k != nil {
				return k, value
			}
		}
	}
	return nil, nil
}
