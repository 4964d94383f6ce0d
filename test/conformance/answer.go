package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/lepto-dev/lepto/internal/enclave"
	"github.com/lepto-dev/lepto/internal/fault"
	"github.com/lepto-dev/lepto/internal/instruction"
	"github.com/lepto-dev/lepto/internal/lang"
	"github.com/lepto-dev/lepto/internal/lang/types"
	"github.com/lepto-dev/lepto/internal/plan"
	"github.com/lepto-dev/lepto/internal/source"
)

// This file runs a case through the language host and the validation.

// The statuses of an answer.
const (
	statusOK             = "ok"
	statusSetup          = "setup_error"
	statusInterpretation = "interpretation_error"
	statusValidation     = "validation_error"
)

// Answer is what lepto makes of a case.
type Answer struct {
	Status   string
	Plan     *plan.Plan // nil after an error of interpretation
	PlanYAML string
	Error    string   // in the wire's text form
	Errors   []string // of validation, each in that form
}

// asker runs cases. packages holds packages of others, tried in order.
type asker struct {
	host     *lang.Host
	packages []source.Fetcher
}

func newAsker(packages ...source.Fetcher) *asker {
	return &asker{host: lang.NewHost(instruction.All(), types.All()), packages: packages}
}

// first is the fetchers as one: the first that has a package gives it.
type first []source.Fetcher

// Fetch asks one after the other.
func (f first) Fetch(ctx context.Context, l source.Locator) (source.Tree, error) {
	err := fmt.Errorf("%s: %w", l.Repository(), fault.ErrNotFound)
	for _, fetcher := range f {
		var tree source.Tree
		if tree, err = fetcher.Fetch(ctx, l); err == nil {
			return tree, nil
		}
	}
	return source.Tree{}, err
}

// ask gives the answers to a case: of its run, then of each further one.
func (a *asker) ask(ctx context.Context, in Input) ([]Answer, error) {
	dir, err := os.MkdirTemp("", "conformance")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if err := writeFiles(dir, in); err != nil {
		return nil, err
	}
	world, err := newWorld(in)
	if err != nil {
		return nil, err
	}
	fetcher := append(first{source.Mirror{Dir: dir}}, a.packages...)
	answers := []Answer{a.run(ctx, in, world, dir, fetcher)}
	for _, rerun := range in.Reruns {
		again := in
		again.Script, again.Args = rerun.Script, rerun.Args
		answers = append(answers, a.run(ctx, again, world, dir, fetcher))
	}
	return answers, nil
}

// run interprets and validates once.
func (a *asker) run(ctx context.Context, in Input, w *world, dir string, fetcher source.Fetcher) Answer {
	pkg, err := open(in, dir, fetcher)
	return a.answer(ctx, in, w, pkg, err)
}

// answer interprets and validates a package, or tells why it could not be opened.
func (a *asker) answer(ctx context.Context, in Input, w *world, pkg *source.Package, err error) Answer {
	if err != nil {
		return Answer{Status: statusSetup, Error: lang.LegacyText(err)}
	}
	args, err := source.ParamsJSON(in.Args)
	if err != nil {
		return Answer{Status: statusInterpretation, Error: lang.LegacyText(err)}
	}
	made, err := a.host.Interpret(ctx, lang.Request{
		Package: pkg, MainFunction: in.MainFunction, Args: args, Enclave: w, AllowPrivileged: in.AllowPrivileged,
		NewArtifactName: w.newArtifactName,
	})
	if err != nil {
		return Answer{Status: statusInterpretation, Error: lang.LegacyText(err)}
	}
	answer := Answer{Status: statusOK, Plan: made}
	if answer.PlanYAML, err = made.YAML(); err != nil {
		return Answer{Status: statusInterpretation, Error: err.Error()}
	}
	forecast := plan.NewForecast(w.before)
	for _, err := range plan.Validate(made.Steps, forecast) {
		answer.Status = statusValidation
		answer.Errors = append(answer.Errors, lang.LegacyText(err))
	}
	if answer.Status == statusOK {
		w.executed(forecast.Next())
	}
	return answer
}

// open opens the code of a case.
func open(in Input, dir string, fetcher source.Fetcher) (*source.Package, error) {
	options := []source.Option{source.WithFetcher(fetcher)}
	if in.AsPackageID == "" {
		return source.OpenScript("script.star", in.Script, options...), nil
	}
	for id, value := range in.Replace {
		if strings.HasPrefix(value, ".") || strings.HasPrefix(value, "/") {
			// A client sends a local replacement along, under the id it replaces.
			options = append(options, source.WithSent(id, filepath.Join(dir, filepath.FromSlash(id))))
		}
	}
	return source.OpenDir(filepath.Join(dir, filepath.FromSlash(in.AsPackageID)), in.MainFile, options...)
}

// writeFiles lays out the files of a case as a package mirror, with the
// kurtosis.yml that a recorded run did without.
func writeFiles(dir string, in Input) error {
	files := maps.Clone(in.Files)
	if files == nil {
		files = map[string]string{}
	}
	if id := in.AsPackageID; id != "" {
		manifest := id + "/" + source.ManifestName
		if files[manifest] == "" || len(in.Replace) > 0 {
			text, err := yaml.Marshal(struct {
				Name    string            `yaml:"name"`
				Replace map[string]string `yaml:"replace,omitempty"`
			}{id, in.Replace})
			if err != nil {
				return err
			}
			files[manifest] = string(text)
		}
		if in.Script != "" {
			main := id + "/" + source.DefaultMain
			if in.MainFile != "" {
				main = id + "/" + in.MainFile
			}
			files[main] = in.Script
		}
	}
	addManifests(files)
	for name, text := range files {
		target := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(target, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// addManifests gives a kurtosis.yml to each repository that has none at its root:
// recorded runs found their files in place, where none is asked for.
func addManifests(files map[string]string) {
	for _, name := range slices.Collect(maps.Keys(files)) {
		l, err := source.ParseLocator(name)
		if manifest := l.Repository() + "/" + source.ManifestName; err == nil && files[manifest] == "" {
			files[manifest] = "name: " + l.Repository() + "\n"
		}
	}
}

// world is the enclave of a case.
type world struct {
	cluster   string
	uuid      string
	env       string
	before    plan.ForecastInput     // as the next run finds it
	added     []lang.ExistingService // by runs of the case
	ids       map[string]string
	artifacts int // made-up names so far
}

func newWorld(in Input) (*world, error) {
	w := &world{cluster: in.Backend, uuid: enclave.NewID(), ids: map[string]string{}, before: plan.ForecastInput{
		Services: map[string]map[string]enclave.Port{}, StrictNames: true,
	}}
	if w.cluster == "" {
		w.cluster = "docker"
	}
	names, err := namesOf(in.ExistingServices)
	if err != nil {
		return nil, fmt.Errorf("existing_services: %w", err)
	}
	for _, name := range names {
		w.before.Services[name] = map[string]enclave.Port{}
	}
	w.env, err = textOf(in.EnclaveEnvVars)
	return w, err
}

// executed makes a plan's outcome what the next run finds.
func (w *world) executed(after plan.ForecastInput) {
	for name, ports := range after.Services {
		if _, foreign := w.before.Services[name]; !foreign || slices.ContainsFunc(w.added, func(s lang.ExistingService) bool { return s.Name == name }) {
			w.added = slices.DeleteFunc(w.added, func(s lang.ExistingService) bool { return s.Name == name })
			w.added = append(w.added, lang.ExistingService{Name: name, Ports: ports})
		}
	}
	w.added = slices.DeleteFunc(w.added, func(s lang.ExistingService) bool {
		_, there := after.Services[s.Name]
		return !there
	})
	w.before = after
}

// ExistingServices gives what earlier runs of the case added.
func (w *world) ExistingServices() []lang.ExistingService { return w.added }

// ServiceValueID gives the same id for a name in all runs.
func (w *world) ServiceValueID(name string) (string, error) {
	if w.ids[name] == "" {
		w.ids[name] = enclave.NewID()
	}
	return w.ids[name], nil
}

// newArtifactName makes up names as the recordings have them.
func (w *world) newArtifactName() string {
	w.artifacts++
	return fmt.Sprintf("mock-artifact-%d", w.artifacts)
}

// EnclaveUUID gives an id that is made up.
func (w *world) EnclaveUUID() string { return w.uuid }

// EnvVars gives the enclave's variables.
func (w *world) EnvVars() string { return w.env }

// ClusterType gives where services would run.
func (w *world) ClusterType() string { return w.cluster }

// textOf gives a JSON string's text, or any other JSON as it is.
func textOf(raw json.RawMessage) (string, error) {
	if raw = bytes.TrimSpace(raw); len(raw) == 0 || string(raw) == "null" {
		return "", nil
	}
	if raw[0] != '"' {
		return string(raw), nil
	}
	var text string
	err := json.Unmarshal(raw, &text)
	return text, err
}

// namesOf reads names: a list of strings or of objects with a name, or an object
// whose keys they are.
func namesOf(raw json.RawMessage) ([]string, error) {
	if len(raw) == 0 {
		return nil, nil
	}
	var list []string
	if json.Unmarshal(raw, &list) == nil {
		return list, nil
	}
	var named []struct {
		Name string `json:"name"`
	}
	if json.Unmarshal(raw, &named) == nil {
		for _, n := range named {
			list = append(list, n.Name)
		}
		return list, nil
	}
	var keyed map[string]json.RawMessage
	if err := json.Unmarshal(raw, &keyed); err != nil {
		return nil, err
	}
	return slices.Sorted(maps.Keys(keyed)), nil
}
