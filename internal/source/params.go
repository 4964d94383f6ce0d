package source

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/lepto-dev/lepto/internal/fault"
)

// This file turns what a user writes as parameters into what a run takes. YAML
// is read as Kurtosis' clients read it, version 1.1 in the main, since files of
// parameters are written for that: "no" is false, and keys are sorted.

// ParamsJSON gives parameters as JSON: text that is a JSON object stays as it
// is; otherwise it is read as YAML and converted. Empty text is {}. Text that is
// neither is an E0207.
func ParamsJSON(text string) (string, error) {
	if strings.TrimSpace(text) == "" {
		return "{}", nil
	}
	var object map[string]json.RawMessage
	notJSON := json.Unmarshal([]byte(text), &object)
	if notJSON == nil && object != nil {
		return text, nil
	}
	doc, err := yamlDocument(text)
	if err != nil {
		return "", brokenParams(text, notJSON, strings.TrimPrefix(err.Error(), "yaml: "))
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

// brokenParams is the error for what is neither JSON nor YAML. What begins as an
// object was meant as JSON most likely, so that reason comes first.
func brokenParams(text string, notJSON error, notYAML string) error {
	if at := (*json.SyntaxError)(nil); strings.HasPrefix(strings.TrimSpace(text), "{") && errors.As(notJSON, &at) {
		before := strings.TrimRight(text[:min(int(at.Offset), len(text))], " \t\r\n")
		line, column := 1+strings.Count(before, "\n"), utf8.RuneCountInString(before[strings.LastIndex(before, "\n")+1:])
		return fault.New("E0207", "the parameters are neither JSON (line %d, column %d: %s) nor YAML (%s)", line, column, at, notYAML)
	}
	return fault.New("E0207", "the parameters are neither JSON nor YAML: %s", notYAML)
}

// yamlDocument reads a text that is one YAML document, or none. What comes after
// it, such as a bracket too many, must not be ignored.
func yamlDocument(text string) (doc yaml.Node, err error) {
	reader := yaml.NewDecoder(strings.NewReader(text))
	if err := reader.Decode(&doc); err != nil {
		if errors.Is(err, io.EOF) {
			err = nil
		}
		return doc, err
	}
	var more yaml.Node
	switch err := reader.Decode(&more); {
	case errors.Is(err, io.EOF):
		return doc, nil
	case err != nil:
		return doc, err
	}
	return doc, fmt.Errorf("line %d: there is more after the end of the parameters", more.Line)
}

const (
	maxParams      = 1_000_000 // values: YAML's aliases can multiply without end
	maxParamsBytes = 64 << 20  // of text, which aliases multiply as well
	maxParamsDepth = 1000
)

// yamlWriter writes YAML nodes as JSON, integers digit by digit as they are
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
	if err := w.counted(node); err != nil {
		return err
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

// counted counts a value: each use of one that has a name counts, with its text.
func (w *yamlWriter) counted(node *yaml.Node) error {
	if w.count++; w.count > maxParams {
		return fmt.Errorf("line %d: more than %d values", node.Line, maxParams)
	}
	if w.out.Len() > maxParamsBytes {
		return fmt.Errorf("line %d: more than %d MiB of text", node.Line, maxParamsBytes>>20)
	}
	return nil
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
	pairs, err := w.mergedPairs(node, depth)
	if err != nil {
		return err
	}
	w.out.WriteByte('{')
	for i := 0; i+1 < len(pairs); i += 2 {
		if i > 0 {
			w.out.WriteByte(',')
		}
		w.text(keyText(pairs[i]))
		w.out.WriteByte(':')
		if err := w.write(pairs[i+1], depth+1); err != nil {
			return err
		}
	}
	w.out.WriteByte('}')
	return nil
}

// mergedPairs gives keys and values of a mapping, sorted. Its own keys win over
// what "<<" merges in; keys given twice are refused.
func (w *yamlWriter) mergedPairs(node *yaml.Node, depth int) ([]*yaml.Node, error) {
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
			more, err := w.mergeSource(value, depth+1)
			if err != nil {
				return nil, err
			}
			merged = append(merged, more...)
			continue
		}
		if own[keyText(key)] {
			return nil, fmt.Errorf("line %d: key %q is given twice", key.Line, key.Value)
		}
		own[keyText(key)] = true
		pairs = append(pairs, key, value)
	}
	for i := 0; i+1 < len(merged); i += 2 {
		if !own[keyText(merged[i])] {
			own[keyText(merged[i])] = true
			pairs = append(pairs, merged[i], merged[i+1])
		}
	}
	return sorted(pairs), nil
}

// sorted sorts pairs of keys and values by key.
func sorted(pairs []*yaml.Node) []*yaml.Node {
	order := make([]int, len(pairs)/2)
	for i := range order {
		order[i] = 2 * i
	}
	slices.SortFunc(order, func(a, b int) int { return strings.Compare(keyText(pairs[a]), keyText(pairs[b])) })
	out := make([]*yaml.Node, 0, len(pairs))
	for _, i := range order {
		out = append(out, pairs[i], pairs[i+1])
	}
	return out
}

// keyText gives a key as JSON has it.
func keyText(key *yaml.Node) string {
	if value, is := oldBool(key); is {
		return strconv.FormatBool(value)
	}
	return key.Value
}

// oldBools are the words that are true or false in YAML 1.1 only, in lower case.
var oldBools = map[string]bool{"y": true, "yes": true, "on": true, "n": false, "no": false, "off": false}

// oldBool tells whether a plain scalar is such a word: all in lower or in upper
// case, or with a capital.
func oldBool(node *yaml.Node) (value, is bool) {
	const explicit = yaml.TaggedStyle | yaml.SingleQuotedStyle | yaml.DoubleQuotedStyle | yaml.LiteralStyle | yaml.FoldedStyle
	text := node.Value
	if node.Kind != yaml.ScalarNode || node.Style&explicit != 0 || text == "" {
		return false, false
	}
	lower := strings.ToLower(text)
	if rest := text[1:]; rest != lower[1:] && text != strings.ToUpper(text) {
		return false, false
	}
	value, is = oldBools[lower]
	return value, is
}

// mergeSource gives the pairs of what "<<" names: a mapping, or a list of them.
func (w *yamlWriter) mergeSource(node *yaml.Node, depth int) ([]*yaml.Node, error) {
	if err := w.counted(node); err != nil {
		return nil, err
	}
	if depth > maxParamsDepth {
		return nil, fmt.Errorf("line %d: nested more than %d deep", node.Line, maxParamsDepth)
	}
	switch node.Kind {
	case yaml.AliasNode:
		return w.mergeSource(node.Alias, depth+1)
	case yaml.MappingNode:
		return w.mergedPairs(node, depth)
	case yaml.SequenceNode:
		var all []*yaml.Node
		for _, item := range node.Content {
			more, err := w.mergeSource(item, depth+1)
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
	if value, is := oldBool(node); is {
		w.out.WriteString(strconv.FormatBool(value))
		return nil
	}
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

// plain writes a bool or a number. A float without a fraction becomes an int, as
// JSON encoders write it.
func (w *yamlWriter) plain(node *yaml.Node) error {
	text := strings.ReplaceAll(node.Value, "_", "")
	digits := strings.Trim(text, "-0123456789") == "" // also those that YAML takes for floats, being large
	if (digits || node.ShortTag() != "!!float") && json.Valid([]byte(text)) && !strings.HasPrefix(text, `"`) {
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
