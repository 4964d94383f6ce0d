package compose

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/dotenv"
	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/sirupsen/logrus"
	"go.yaml.in/yaml/v3"
)

// This file reads compose files.

const (
	maxFile  = 16 << 20 // bytes
	maxFiles = 100      // that include or extend each other
	maxNodes = 50_000   // of a file, aliases counted as often as they are used
)

// load reads a compose file and all that it includes or extends. Variables come
// from the .env file beside it.
func load(ctx context.Context, root *os.Root, file string) (*types.Project, places, error) {
	logrus.SetOutput(io.Discard) // the library warns there of what it passes over
	content, err := read(root, file)
	if err != nil {
		return nil, places{}, err
	}
	seen := map[string]*yaml.Node{}
	if err := vet(root, file, seen); err != nil {
		return nil, places{}, err
	}
	dir := slashDir(file)
	env, err := readEnv(root, path.Join(dir, ".env"), nil)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, places{}, err
	}
	details := types.ConfigDetails{
		WorkingDir:  filepath.Join(root.Name(), filepath.FromSlash(dir)),
		ConfigFiles: []types.ConfigFile{{Filename: filepath.Join(root.Name(), filepath.FromSlash(file)), Content: content}},
		Environment: env,
	}
	project, err := loader.LoadWithContext(ctx, details, func(o *loader.Options) {
		o.SetProjectName("package", true)
		o.ResolvePaths, o.SkipNormalization, o.SkipConsistencyCheck, o.SkipResolveEnvironment = false, true, true, true
		o.MaxNodeVisits = 4 * maxNodes
		if profiles := env["COMPOSE_PROFILES"]; profiles != "" {
			o.Profiles = strings.Split(profiles, ",")
		}
	})
	if err != nil {
		// The library names files by their place on this machine.
		text := strings.ReplaceAll(err.Error(), root.Name()+string(filepath.Separator), "")
		return nil, places{}, invalid(places{main: file, docs: seen}, text)
	}
	return project, places{main: file, docs: seen}, nil
}

// read reads a regular file of the tree.
func read(root *os.Root, name string) ([]byte, error) {
	info, err := root.Stat(filepath.FromSlash(name)) // before it is opened: a FIFO would wait
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, reason(err))
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file", name)
	}
	if info.Size() > maxFile {
		return nil, fmt.Errorf("%s is larger than %d MiB", name, maxFile>>20)
	}
	return root.ReadFile(filepath.FromSlash(name))
}

// reason gives what is wrong without the path of this machine.
func reason(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// readEnv reads a file of variables.
func readEnv(root *os.Root, name string, lookup dotenv.LookupFn) (map[string]string, error) {
	data, err := read(root, name)
	if err != nil {
		return nil, err
	}
	values, err := dotenv.UnmarshalBytesWithLookup(data, lookup)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return values, nil
}

// reference is what a compose file says of others.
type reference struct {
	Include []yaml.Node `yaml:"include"`
	Service map[string]struct {
		Extends yaml.Node `yaml:"extends"`
	} `yaml:"services"`
}

// vet refuses a compose file that reads anything outside of the tree, itself or
// by those that it includes or extends: the library opens what is named. What it
// saw is kept.
func vet(root *os.Root, file string, seen map[string]*yaml.Node) error {
	if _, known := seen[file]; known {
		return nil
	}
	if seen[file] = nil; len(seen) > maxFiles {
		return fmt.Errorf("more than %d files include or extend each other", maxFiles)
	}
	content, err := read(root, file)
	if err != nil {
		return err
	}
	var refs reference
	var doc yaml.Node
	if err := yaml.Unmarshal(content, &doc); err != nil {
		return nil //nolint:nilerr // the library tells better what is wrong, and reads no other file
	}
	left := maxNodes
	if err := bounded(&doc, map[*yaml.Node]bool{}, &left); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	seen[file] = &doc
	if err := doc.Decode(&refs); err != nil {
		return nil //nolint:nilerr // as above
	}
	files, others, err := refs.named(slashDir(file))
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	for _, name := range append(others, slices.Sorted(maps.Keys(files))...) {
		if !filepath.IsLocal(filepath.FromSlash(name)) {
			return fmt.Errorf("%s names %q, which leads out of the package", file, name)
		}
		if _, err := root.Stat(filepath.FromSlash(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s names %q: %w", file, name, reason(err))
		}
	}
	for name := range files {
		if err := vet(root, name, seen); err != nil {
			return err
		}
	}
	return nil
}

// bounded refuses a document whose aliases contain themselves, or multiply beyond
// bounds: the library takes its time to find that out.
func bounded(node *yaml.Node, above map[*yaml.Node]bool, left *int) error {
	if *left--; *left < 0 {
		return fmt.Errorf("more than %d values", maxNodes)
	}
	if node.Kind == yaml.AliasNode {
		if above[node.Alias] {
			return fmt.Errorf("line %d: the alias *%s is part of itself", node.Line, node.Value)
		}
		return bounded(node.Alias, above, left)
	}
	above[node] = true
	defer delete(above, node)
	for _, child := range node.Content {
		if err := bounded(child, above, left); err != nil {
			return err
		}
	}
	return nil
}

// named gives the compose files that a file of a directory names, and other
// files and directories that are looked at for them.
func (r reference) named(dir string) (files map[string]bool, others []string, err error) {
	files = map[string]bool{}
	take := func(text string) (string, error) {
		switch {
		case strings.ContainsAny(text, "$\\\x00"):
			return "", fmt.Errorf("%q: a file that is included or extended has a plain name", text)
		case path.IsAbs(text), strings.Contains(text, "://"), strings.HasPrefix(text, "oci:"), strings.HasPrefix(text, "git@"):
			return "", fmt.Errorf("%q: only files of the package can be included or extended", text)
		}
		return path.Join(dir, text), nil
	}
	addAll := func(texts []string, to func(string)) {
		for _, text := range texts {
			name, bad := take(text)
			err = errors.Join(err, bad)
			to(name)
		}
	}
	for i := range r.Include {
		in := readInclude(&r.Include[i])
		addAll(in.Path, func(name string) {
			files[name] = true
			others = append(others, path.Join(path.Dir(name), ".env"))
		})
		addAll(in.EnvFile, func(name string) { others = append(others, name) })
		addAll(in.Directory, func(name string) { others = append(others, name, path.Join(name, ".env")) })
	}
	for _, s := range r.Service {
		var extends struct {
			File string `yaml:"file"`
		}
		if s.Extends.Kind == yaml.MappingNode && s.Extends.Decode(&extends) == nil && extends.File != "" {
			addAll([]string{extends.File}, func(name string) { files[name] = true })
		}
	}
	return files, others, err
}

// include is an entry of a compose file's include.
type include struct {
	Path, EnvFile, Directory []string
}

// readInclude reads an entry: a path, or a mapping with paths.
func readInclude(node *yaml.Node) include {
	list := func(n *yaml.Node) []string {
		var one string
		var many []string
		if n.Decode(&one) == nil {
			return []string{one}
		}
		_ = n.Decode(&many) // anything else is an error of the library's
		return many
	}
	if node.Kind == yaml.ScalarNode {
		return include{Path: list(node)}
	}
	var in include
	var fields map[string]yaml.Node
	if node.Decode(&fields) == nil {
		for name, field := range fields {
			switch name {
			case "path":
				in.Path = list(&field)
			case "env_file":
				in.EnvFile = list(&field)
			case "project_directory":
				in.Directory = list(&field)
			}
		}
	}
	return in
}

func slashDir(file string) string {
	if dir := path.Dir(file); dir != "." {
		return dir
	}
	return ""
}

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

func joined[V any](m map[string]V) string { return strings.Join(sorted(m), ", ") }
