package cli

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/lepto-dev/lepto/internal/fault"
	"github.com/lepto-dev/lepto/internal/source"
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

// toObject gives JSON or YAML text as a JSON object.
func toObject(where string, text []byte) (string, error) {
	object, err := source.ParamsJSON(string(text))
	if err != nil {
		return "", fault.New(CodeBadArgs, "%s: %w", where, err)
	}
	if object = strings.TrimSpace(object); !strings.HasPrefix(object, "{") {
		return "", fault.New(CodeBadArgs, "%s: want an object, keys with values", where).
			WithHint(`such as '{"replicas": 3}', or in YAML: replicas: 3`)
	}
	return object, nil
}
