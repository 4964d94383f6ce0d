package build

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerfile/shell"

	"github.com/lepto-dev/lepto/internal/fault"
	"github.com/lepto-dev/lepto/internal/image"
)

// stageBuild is a stage while it is built.
type stageBuild struct {
	*builder
	made
	index  int
	args   []string // NAME=value of the arguments declared so far
	cmdSet bool     // CMD came in this stage
}

// env gives what variables mean: ENV wins over ARG.
func (s *stageBuild) env() []string {
	out := slices.Clone(s.args)
	for _, e := range s.config.Config.Env {
		name, value, _ := strings.Cut(e, "=")
		out = setEnv(out, name, value)
	}
	return out
}

// triggers runs what the base's ONBUILD left for whoever builds on it.
func (s *stageBuild) triggers(ctx context.Context) error {
	left := s.config.Config.OnBuild
	s.config.Config.OnBuild = nil
	for _, text := range left {
		cmd, err := s.docker.trigger(text)
		if err != nil {
			return s.docker.at(s.docker.stages[s.index].Location[0].Start.Line, "ONBUILD "+text, "E0415", err)
		}
		if err := s.step(ctx, cmd); err != nil {
			return err
		}
	}
	return nil
}

// trigger parses the text of an ONBUILD.
func (d *dockerfile) trigger(text string) (cmd instructions.Command, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fault.New("E0415", "can't be parsed: %v", p)
		}
	}()
	ast, err := parser.Parse(strings.NewReader(text))
	if err != nil {
		return nil, err
	}
	if len(ast.AST.Children) != 1 {
		return nil, fault.New("E0415", "is not one instruction")
	}
	return instructions.ParseCommand(ast.AST.Children[0])
}

// step does one instruction.
func (s *stageBuild) step(ctx context.Context, cmd instructions.Command) error {
	text, line := textOf(cmd), 0
	if at := cmd.Location(); len(at) > 0 {
		line = at[0].Start.Line
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	before := len(s.layers)
	err := s.expand(cmd)
	if err == nil {
		err = s.dispatch(ctx, cmd)
	}
	if err != nil {
		return s.docker.at(line, firstLine(text), codeOf(cmd), err)
	}
	s.config.History = append(s.config.History, v1.History{Created: v1.Time{Time: s.docker.time.UTC()},
		CreatedBy: text, Comment: "lepto", EmptyLayer: len(s.layers) == before})
	s.stepDone(text)
	return nil
}

// codeOf gives the code for failures of an instruction that bring none.
func codeOf(cmd instructions.Command) string {
	switch cmd.(type) {
	case *instructions.RunCommand:
		return "E0416"
	case *instructions.CopyCommand, *instructions.AddCommand:
		return "E0417"
	}
	return "E0415"
}

func textOf(cmd instructions.Command) string {
	if c, ok := cmd.(fmt.Stringer); ok {
		return c.String()
	}
	return strings.ToUpper(cmd.Name())
}

// expand replaces variables where the instruction allows them.
func (s *stageBuild) expand(cmd instructions.Command) error {
	env := s.env()
	if c, ok := cmd.(instructions.SupportsSingleWordExpansion); ok {
		if err := c.Expand(func(word string) (string, error) { return s.docker.word(word, env) }); err != nil {
			return err
		}
	}
	c, ok := cmd.(instructions.SupportsSingleWordExpansionRaw)
	if !ok {
		return nil
	}
	return c.ExpandRaw(func(word string) (string, error) { // of here-documents, whose quotes are content
		lex := shell.NewLex('\\')
		lex.SkipProcessQuotes = true
		out, _, err := lex.ProcessWord(word, shell.EnvsFromSlice(env))
		return out, err
	})
}

// dispatch does an instruction whose variables are replaced.
func (s *stageBuild) dispatch(ctx context.Context, cmd instructions.Command) error {
	switch cmd := cmd.(type) {
	case *instructions.CopyCommand:
		return s.copy(ctx, cmd)
	case *instructions.AddCommand:
		return s.add(ctx, cmd)
	case *instructions.RunCommand:
		return s.runStep(ctx, cmd)
	case *instructions.WorkdirCommand:
		return s.workdir(ctx, cmd)
	case *instructions.ArgCommand:
		s.arg(cmd)
	case *instructions.OnbuildCommand:
		s.config.Config.OnBuild = append(s.config.Config.OnBuild, cmd.Expression)
	case *instructions.ExposeCommand:
		return s.expose(cmd)
	default:
		return s.describe(cmd)
	}
	return nil
}

// describe does the instructions that only say something about the image.
func (s *stageBuild) describe(cmd instructions.Command) error {
	config := &s.config.Config
	switch cmd := cmd.(type) {
	case *instructions.EnvCommand:
		for _, e := range cmd.Env {
			config.Env = setEnv(config.Env, e.Key, e.Value)
		}
	case *instructions.LabelCommand:
		config.Labels = withLabels(config.Labels, cmd.Labels)
	case *instructions.UserCommand:
		config.User = cmd.User
	case *instructions.CmdCommand:
		config.Cmd, s.cmdSet = s.shellForm(cmd.ShellDependantCmdLine), true
	case *instructions.EntrypointCommand:
		config.Entrypoint = s.shellForm(cmd.ShellDependantCmdLine)
		if !s.cmdSet { // a base's command is no argument of this entrypoint
			config.Cmd = nil
		}
	case *instructions.ShellCommand:
		config.Shell = cmd.Shell
	case *instructions.StopSignalCommand:
		config.StopSignal = cmd.Signal
	case *instructions.VolumeCommand:
		config.Volumes = withKeys(config.Volumes, cmd.Volumes)
	case *instructions.HealthCheckCommand:
		config.Healthcheck = &v1.HealthConfig{Test: cmd.Health.Test, Interval: cmd.Health.Interval,
			Timeout: cmd.Health.Timeout, StartPeriod: cmd.Health.StartPeriod, Retries: cmd.Health.Retries}
	case *instructions.MaintainerCommand:
		s.config.Author = cmd.Maintainer
	default:
		return fault.New("E0415", "instruction %s is not supported", strings.ToUpper(cmd.Name()))
	}
	return nil
}

// shellForm gives a command line, with the shell before it unless it is a list.
func (s *stageBuild) shellForm(line instructions.ShellDependantCmdLine) []string {
	if !line.PrependShell {
		return line.CmdLine
	}
	shell := s.config.Config.Shell
	if len(shell) == 0 {
		shell = []string{"/bin/sh", "-c"}
	}
	return append(slices.Clone(shell), strings.Join(line.CmdLine, " "))
}

func withLabels(labels map[string]string, more instructions.KeyValuePairs) map[string]string {
	labels = maps.Clone(labels)
	if labels == nil {
		labels = map[string]string{}
	}
	for _, l := range more {
		labels[l.Key] = l.Value
	}
	return labels
}

func withKeys(set map[string]struct{}, keys []string) map[string]struct{} {
	set = maps.Clone(set)
	if set == nil {
		set = map[string]struct{}{}
	}
	for _, k := range keys {
		set[k] = struct{}{}
	}
	return set
}

// expose records ports; variables in it may hold several words.
func (s *stageBuild) expose(cmd *instructions.ExposeCommand) error {
	lex, env := shell.NewLex(s.docker.escape), shell.EnvsFromSlice(s.env())
	var ports []string
	for _, p := range cmd.Ports {
		words, err := lex.ProcessWords(p, env)
		if err != nil {
			return err
		}
		for _, w := range words {
			some, err := portsOf(w)
			if err != nil {
				return err
			}
			ports = append(ports, some...)
		}
	}
	s.config.Config.ExposedPorts = withKeys(s.config.Config.ExposedPorts, ports)
	return nil
}

// arg declares arguments: the build's own value, the default, or what the
// argument was before the first FROM.
func (s *stageBuild) arg(cmd *instructions.ArgCommand) {
	for _, a := range cmd.Args {
		if value, ok := s.docker.given(a.Key); ok {
			s.args = setEnv(s.args, a.Key, value)
			continue
		}
		if a.Value != nil {
			s.args = setEnv(s.args, a.Key, *a.Value)
			continue
		}
		if value, ok := getEnv(s.docker.global, a.Key); ok {
			s.args = setEnv(s.args, a.Key, value)
		}
	}
}

// workdir sets the working directory, and makes it: it is the user's.
func (s *stageBuild) workdir(ctx context.Context, cmd *instructions.WorkdirCommand) error {
	dir := s.absolute(cmd.Path)
	s.config.Config.WorkingDir = dir
	place := s.placer()
	name, err := place.dir(cleanPath(dir))
	if err != nil {
		return err
	}
	if there, err := place.below.find(name, true); err != nil || there != nil {
		return err
	}
	who, err := ownerOf(place.below, s.config.Config.User)
	if _, unknown := errors.AsType[*fault.Fault](err); unknown {
		err = nil // whoever needs the user will say so
	}
	if err != nil {
		return err
	}
	if who == nil {
		who = &owner{}
	}
	if err := place.ancestors(name, *who); err != nil {
		return err
	}
	return s.layerOf(ctx, place.to)
}

// absolute gives a path of the stage, which may be relative to its working directory.
func (s *stageBuild) absolute(name string) string {
	if path.IsAbs(name) {
		return path.Clean(name)
	}
	return path.Join("/", s.config.Config.WorkingDir, name)
}

// layerOf makes a layer of entries, unless there are none, or takes the one that
// was made of the same before.
func (s *stageBuild) layerOf(ctx context.Context, entries *items) error {
	if len(entries.list) == 0 {
		return nil
	}
	digest, err := entries.digest(ctx)
	if err != nil {
		return err
	}
	return s.cached(ctx, "files\n"+digest, func() (image.Layer, error) { return entries.store(ctx, s.store) })
}

// cached adds the layer that is remembered under a key, or makes it. A layer
// without a DiffID is none.
func (s *stageBuild) cached(ctx context.Context, key string, build func() (image.Layer, error)) error {
	if !s.spec.NoCache {
		if entry, layer, ok := s.store.CacheGet(key); ok {
			if entry.DiffID != "" {
				s.layers = append(s.layers, layer)
			}
			return nil
		}
	}
	layer, err := build()
	if err != nil {
		return err
	}
	if layer.DiffID != "" {
		s.layers = append(s.layers, layer)
	}
	return s.store.CachePut(ctx, key, image.CacheEntry{DiffID: layer.DiffID})
}
