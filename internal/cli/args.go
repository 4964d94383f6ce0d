package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/lepto-dev/lepto/internal/fault"
)

// This file reads the arguments of a run: JSON or YAML, from the command line,
// a file or a URL. The engine gets a JSON object.

// CodeBadArgs is the fault of arguments that can't be read.
const CodeBadArgs = "E0808"

const (
	argsLimit   = 16 << 20 // bytes
	argsTimeout = 30 * time.Second
)

// loadArgs gives the arguments as a JSON object. The file is read only where
// the command line has none.
func (d *deps) loadArgs(ctx context.Context, inline, file string) (string, error) {
	if trimmed := strings.TrimSpace(inline); trimmed != "" && trimmed != "{}" {
		if file != "" {
			d.warn("--args-file is not read, since arguments are given on the command line")
		}
		return toObject("arguments", []byte(inline))
	}
	if file == "" {
		return "{}", nil
	}
	text, err := readArgsFile(ctx, file)
	if err != nil {
		return "", fault.New(CodeBadArgs, "arguments from %s: %w", file, err)
	}
	return toObject(file, text)
}

func readArgsFile(ctx context.Context, file string) ([]byte, error) {
	if strings.HasPrefix(file, "http://") || strings.HasPrefix(file, "https://") {
		return fetchArgs(ctx, file)
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readLimited(f)
}

func fetchArgs(ctx context.Context, url string) ([]byte, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, argsTimeout, fault.ErrTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the server answers %s", res.Status)
	}
	return readLimited(res.Body)
}

func readLimited(r io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, argsLimit+1))
	if err == nil && len(data) > argsLimit {
		err = fmt.Errorf("more than %d bytes", argsLimit)
	}
	return data, err
}

// toObject gives JSON or YAML text as a JSON object; JSON stays as it is.
func toObject(where string, text []byte) (string, error) {
	trimmed := bytes.TrimSpace(text)
	if bytes.HasPrefix(trimmed, []byte("{")) && json.Valid(trimmed) {
		return string(trimmed), nil
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return "", fault.New(CodeBadArgs, "%s: neither JSON nor YAML: %w", where, err)
	}
	if len(doc.Content) == 0 { // empty, or only comments
		return "{}", nil
	}
	var w jsonWriter
	if err := w.value(doc.Content[0]); err != nil {
		return "", fault.New(CodeBadArgs, "%s: %w", where, err)
	}
	if !bytes.HasPrefix(w.out.Bytes(), []byte("{")) {
		return "", fault.New(CodeBadArgs, "%s: want an object, keys with values", where).
			WithHint(`such as '{"replicas": 3}', or in YAML: replicas: 3`)
	}
	return w.out.String(), nil
}

// jsonWriter writes YAML as JSON, keys in their order.
type jsonWriter struct {
	out   bytes.Buffer
	nodes int
	depth int
}

const (
	// maxNodes and maxDepth bound what a small text can grow to through aliases.
	maxNodes = 1_000_000
	maxDepth = 1000
)

func (w *jsonWriter) value(n *yaml.Node) error {
	w.nodes++
	w.depth++
	defer func() { w.depth-- }()
	if w.nodes > maxNodes || w.depth > maxDepth {
		return fmt.Errorf("line %d: the document is too large", n.Line)
	}
	switch n.Kind {
	case yaml.AliasNode:
		return w.value(n.Alias)
	case yaml.MappingNode:
		return w.mapping(n)
	case yaml.SequenceNode:
		w.out.WriteByte('[')
		for i, item := range n.Content {
			if i > 0 {
				w.out.WriteByte(',')
			}
			if err := w.value(item); err != nil {
				return err
			}
		}
		w.out.WriteByte(']')
		return nil
	}
	return w.scalar(n)
}

func (w *jsonWriter) mapping(n *yaml.Node) error {
	w.out.WriteByte('{')
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		switch {
		case key.Tag == "!!merge":
			return fmt.Errorf("line %d: merge keys (<<) are not supported", key.Line)
		case key.Kind != yaml.ScalarNode:
			return fmt.Errorf("line %d: a key must be text", key.Line)
		case seen[key.Value]:
			return fmt.Errorf("line %d: key %q is there twice", key.Line, key.Value)
		}
		if len(seen) > 0 {
			w.out.WriteByte(',')
		}
		seen[key.Value] = true
		w.text(key.Value)
		w.out.WriteByte(':')
		if err := w.value(value); err != nil {
			return err
		}
	}
	w.out.WriteByte('}')
	return nil
}

func (w *jsonWriter) text(s string) {
	quoted, _ := json.Marshal(s) // a string always has a JSON form
	w.out.Write(quoted)
}

// scalar writes a scalar. Dates stay the text they are.
func (w *jsonWriter) scalar(n *yaml.Node) error {
	switch n.ShortTag() {
	case "!!null", "!!bool", "!!int", "!!float":
	default:
		w.text(n.Value)
		return nil
	}
	if json.Valid([]byte(n.Value)) { // also integers of any size
		w.out.WriteString(n.Value)
		return nil
	}
	var value any
	err := n.Decode(&value)
	if err == nil {
		var text []byte
		text, err = json.Marshal(value)
		w.out.Write(text)
	}
	var unsupported *json.UnsupportedValueError
	if errors.As(err, &unsupported) {
		err = errors.New("JSON has no such number")
	}
	if err != nil {
		return fmt.Errorf("line %d: %s: %w", n.Line, n.Value, err)
	}
	return nil
}
