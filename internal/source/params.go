package source

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/lepto-dev/lepto/internal/fault"
)

// This file turns what a user writes as parameters into what a run takes.

// ParamsJSON gives parameters as JSON: text that is a JSON object stays as it
// is; otherwise it is read as YAML and converted. Empty text is {}. Text that is
// neither is an E0207.
func ParamsJSON(text string) (string, error) {
	if strings.TrimSpace(text) == "" {
		return "{}", nil
	}
	var object map[string]json.RawMessage
	if json.Unmarshal([]byte(text), &object) == nil && object != nil {
		return text, nil
	}
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(text), &doc); err != nil {
		reason := strings.TrimPrefix(err.Error(), "yaml: ")
		return "", fault.New("E0207", "the parameters are neither JSON nor YAML: %s", reason)
	}
	if len(doc.Content) == 0 {
		return "{}", nil
	}
	var out bytes.Buffer
	w := &yamlWriter{out: &out, strings: json.NewEncoder(&out)}
	w.strings.SetEscapeHTML(false)
	if err := w.write(doc.Content[0], 0); err != nil {
		return "", fault.New("E0207", "the parameters: %w", err)
	}
	return out.String(), nil
}

const (
	maxParams      = 1_000_000 // values: YAML's aliases can multiply without end
	maxParamsDepth = 1000
)

// yamlWriter writes YAML nodes as JSON, numbers digit by digit as they are
// written.
type yamlWriter struct {
	out     *bytes.Buffer
	strings *json.Encoder // into out
	count   int
}

func (w *yamlWriter) write(node *yaml.Node, depth int) error {
	if depth > maxParamsDepth {
		return fmt.Errorf("line %d: nested more than %d deep", node.Line, maxParamsDepth)
	}
	if w.count++; w.count > maxParams {
		return fmt.Errorf("line %d: more than %d values", node.Line, maxParams)
	}
	switch node.Kind {
	case yaml.AliasNode:
		return w.write(node.Alias, depth+1)
	case yaml.SequenceNode:
		return w.sequence(node, depth)
	case yaml.MappingNode:
		return w.mapping(node, depth)
	case yaml.ScalarNode:
		return w.scalar(node)
	}
	return fmt.Errorf("line %d: unexpected content", node.Line)
}

func (w *yamlWriter) sequence(node *yaml.Node, depth int) error {
	w.out.WriteByte('[')
	for i, item := range node.Content {
		if i > 0 {
			w.out.WriteByte(',')
		}
		if err := w.write(item, depth+1); err != nil {
			return err
		}
	}
	w.out.WriteByte(']')
	return nil
}

func (w *yamlWriter) mapping(node *yaml.Node, depth int) error {
	pairs, err := mergedPairs(node, depth)
	if err != nil {
		return err
	}
	w.out.WriteByte('{')
	for i := 0; i+1 < len(pairs); i += 2 {
		if i > 0 {
			w.out.WriteByte(',')
		}
		w.text(pairs[i].Value)
		w.out.WriteByte(':')
		if err := w.write(pairs[i+1], depth+1); err != nil {
			return err
		}
	}
	w.out.WriteByte('}')
	return nil
}

// mergedPairs gives keys and values of a mapping; what "<<" merges in comes
// first, so that the mapping's own keys win in the JSON decoder, and keys given
// twice are refused.
func mergedPairs(node *yaml.Node, depth int) ([]*yaml.Node, error) {
	own := map[string]bool{}
	var pairs, merged []*yaml.Node
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		if key.Kind == yaml.AliasNode {
			key = key.Alias
		}
		if key.Kind != yaml.ScalarNode {
			return nil, fmt.Errorf("line %d: a key must be a text", key.Line)
		}
		if key.Tag == "!!merge" {
			more, err := mergeSource(value, depth+1)
			if err != nil {
				return nil, err
			}
			merged = append(merged, more...)
			continue
		}
		if own[key.Value] {
			return nil, fmt.Errorf("line %d: key %q is given twice", key.Line, key.Value)
		}
		own[key.Value] = true
		pairs = append(pairs, key, value)
	}
	for i := 0; i+1 < len(merged); i += 2 {
		if !own[merged[i].Value] {
			own[merged[i].Value] = true
			pairs = append(pairs, merged[i], merged[i+1])
		}
	}
	return pairs, nil
}

// mergeSource gives the pairs of what "<<" names: a mapping, or a list of them.
func mergeSource(node *yaml.Node, depth int) ([]*yaml.Node, error) {
	if depth > maxParamsDepth {
		return nil, fmt.Errorf("line %d: nested more than %d deep", node.Line, maxParamsDepth)
	}
	switch node.Kind {
	case yaml.AliasNode:
		return mergeSource(node.Alias, depth+1)
	case yaml.MappingNode:
		return mergedPairs(node, depth)
	case yaml.SequenceNode:
		var all []*yaml.Node
		for _, item := range node.Content {
			more, err := mergeSource(item, depth+1)
			if err != nil {
				return nil, err
			}
			all = append(all, more...)
		}
		return all, nil
	}
	return nil, fmt.Errorf("line %d: << needs a mapping", node.Line)
}

func (w *yamlWriter) scalar(node *yaml.Node) error {
	switch node.ShortTag() {
	case "!!null":
		w.out.WriteString("null")
	case "!!bool", "!!int", "!!float":
		return w.plain(node)
	default:
		w.text(node.Value)
	}
	return nil
}

// plain writes a bool or a number.
func (w *yamlWriter) plain(node *yaml.Node) error {
	text := strings.ReplaceAll(node.Value, "_", "")
	if json.Valid([]byte(text)) && !strings.HasPrefix(text, `"`) {
		w.out.WriteString(text)
		return nil
	}
	var value any
	if err := node.Decode(&value); err != nil {
		return fmt.Errorf("line %d: %w", node.Line, err)
	}
	encoded, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("line %d: %s can't be written as JSON", node.Line, strconv.Quote(node.Value))
	}
	w.out.Write(encoded)
	return nil
}

func (w *yamlWriter) text(s string) {
	if w.strings.Encode(s) == nil { // a string always encodes, and a line end follows
		w.out.Truncate(w.out.Len() - 1)
	}
}
