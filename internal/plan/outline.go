package plan

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/lepto-dev/lepto/internal/enclave"
)

// This file gives a plan as the YAML document of the wire API (starlark spec
// §8.1): services, files artifacts and tasks, not steps.

// An Outliner is a step that has a part in the plan's YAML document. It takes
// its numbers in the order of its calls: first its own, then those of artifacts
// that it makes.
type Outliner interface {
	Outline(*Outline)
}

// YAML gives the plan's document.
func (p *Plan) YAML() (string, error) {
	o := &Outline{values: map[string]string{}, artifacts: map[string]string{}}
	o.doc.PackageID = p.PackageID
	for _, step := range p.Steps {
		if s, ok := step.(Outliner); ok {
			s.Outline(o)
		}
	}
	slices.Sort(o.doc.Images)
	o.doc.Images = slices.Compact(o.doc.Images)
	o.doc.Packages = p.Packages
	return o.doc.text()
}

// Outline gathers the document, step by step.
type Outline struct {
	doc       outlineDocument
	count     int
	values    map[string]string // value slot to the number of what fills it
	artifacts map[string]string // number by name: of the last one of that name
}

// OutlineService is a service as a document shows it.
type OutlineService struct {
	Name    string
	Config  enclave.ServiceConfig
	ValueID string // its value slot: ip_address, hostname
	// ImageNameOnly leaves out where the image comes from.
	ImageNameOnly bool
}

// AddService adds a service.
func (o *Outline) AddService(s OutlineService) {
	number := o.next()
	o.values[s.ValueID] = number
	o.doc.Services = append(o.doc.Services, serviceOutline{
		UUID: number, Name: o.Text(s.Name), Image: imageOf(s.Config.Image, s.ImageNameOnly),
		Command: o.texts(s.Config.Cmd), Entrypoint: o.texts(s.Config.Entrypoint),
		Env: o.pairs(s.Config.Env), Ports: portsOf(s.Config.Ports), Files: o.mounts(s.Config.Files),
	})
	o.doc.Images = append(o.doc.Images, s.Config.Image.Ref)
}

// RemoveService takes a service of the plan out again.
func (o *Outline) RemoveService(name string) {
	o.doc.Services = slices.DeleteFunc(o.doc.Services, func(s serviceOutline) bool { return s.Name == name })
}

// AddArtifact adds a files artifact that a step makes, and gives its number.
func (o *Outline) AddArtifact(name string, files ...string) string {
	number := o.next()
	o.artifacts[name] = number
	o.doc.Artifacts = append(o.doc.Artifacts, artifactOutline{UUID: number, Name: name, Files: files})
	return number
}

// OutlineTask is a command as a document shows it: one of run_sh, run_python or
// exec.
type OutlineTask struct {
	Name     string // its description
	Type     string // sh, python or exec
	ValueID  string // its value slot: code, output
	Command  []string
	Image    string // of a task with a container of its own
	Files    []enclave.FileMount
	Store    []OutlineStored
	Env      map[string]string
	Packages []string // of a Python task
	Args     []string
	Service  string // of exec
	Codes    []int64
}

// OutlineStored is an artifact that a task makes of a path.
type OutlineStored struct{ Name, Path string }

// AddTask adds a task and the artifacts that it makes.
func (o *Outline) AddTask(t OutlineTask) {
	task := taskOutline{
		UUID: o.next(), Name: t.Name, Type: t.Type, Command: o.texts(t.Command), Image: t.Image,
		Packages: t.Packages, Args: t.Args, Service: o.Text(t.Service), Codes: t.Codes,
	}
	o.values[t.ValueID] = task.UUID
	task.Files = o.mounts(t.Files)
	for _, stored := range t.Store {
		task.Store = append(task.Store, artifactRef{UUID: o.AddArtifact(stored.Name, stored.Path), Name: stored.Name})
	}
	task.Env = o.pairs(t.Env)
	if t.Image != "" {
		o.doc.Images = append(o.doc.Images, t.Image)
	}
	o.doc.Tasks = append(o.doc.Tasks, task)
}

func (o *Outline) next() string {
	o.count++
	return strconv.Itoa(o.count)
}

// outlineFields are the fields whose references a document has a form for.
var outlineFields = []string{"ip_address", "hostname", "code", "output"}

// Text gives a text with its references in the document's form; one that names
// no value of this document stays as it is.
func (o *Outline) Text(text string) string {
	for _, r := range References(text) {
		if number, known := o.values[r.ID]; known && slices.Contains(outlineFields, r.Field) {
			text = strings.ReplaceAll(text, Reference(r.ID, r.Field), "{{ kurtosis."+number+"."+r.Field+" }}")
		}
	}
	return text
}

func (o *Outline) texts(texts []string) []string {
	out := make([]string, len(texts))
	for i, text := range texts {
		out[i] = o.Text(text)
	}
	return out
}

func (o *Outline) pairs(values map[string]string) []pairOutline {
	var pairs []pairOutline
	for _, key := range slices.Sorted(maps.Keys(values)) {
		pairs = append(pairs, pairOutline{Key: key, Value: o.Text(values[key])})
	}
	return pairs
}

// mounts gives the artifacts that are mounted. One that no step of the plan
// makes becomes an artifact without files.
func (o *Outline) mounts(mounts []enclave.FileMount) []mountOutline {
	var out []mountOutline
	for _, mount := range mounts {
		if len(mount.Artifacts) == 0 {
			continue // a persistent directory is not shown
		}
		shown := mountOutline{Path: mount.Path}
		for _, name := range mount.Artifacts {
			number, known := o.artifacts[name]
			if !known {
				number = o.AddArtifact(name)
			}
			shown.Artifacts = append(shown.Artifacts, artifactRef{UUID: number, Name: name})
		}
		out = append(out, shown)
	}
	return out
}

func imageOf(image enclave.Image, nameOnly bool) imageOutline {
	out := imageOutline{Name: image.Ref}
	if nameOnly {
		return out
	}
	out.Registry = image.Registry
	if image.Build != nil {
		out.Context, out.Stage = image.Build.Locator, image.Build.Target
	}
	return out
}

func portsOf(ports map[string]enclave.Port) []portOutline {
	var out []portOutline
	for _, id := range slices.Sorted(maps.Keys(ports)) {
		port := ports[id]
		out = append(out, portOutline{
			Name: id, Number: port.Number,
			Transport: strings.ToUpper(string(port.Transport)), Application: port.Application,
		})
	}
	return out
}

// The document's form.
type (
	outlineDocument struct {
		PackageID string            `yaml:"packageId,omitempty"`
		Services  []serviceOutline  `yaml:"services,omitempty"`
		Artifacts []artifactOutline `yaml:"filesArtifacts,omitempty"`
		Tasks     []taskOutline     `yaml:"tasks,omitempty"`
		Images    []string          `yaml:"images,omitempty"`
		Packages  []string          `yaml:"packageDependencies,omitempty"`
	}
	serviceOutline struct {
		UUID       string         `yaml:"uuid,omitempty"`
		Name       string         `yaml:"name,omitempty"`
		Image      imageOutline   `yaml:"image,omitempty"`
		Command    []string       `yaml:"command,omitempty"`
		Entrypoint []string       `yaml:"entrypoint,omitempty"`
		Env        []pairOutline  `yaml:"envVars,omitempty"`
		Ports      []portOutline  `yaml:"ports,omitempty"`
		Files      []mountOutline `yaml:"files,omitempty"`
	}
	imageOutline struct {
		Name     string `yaml:"name,omitempty"`
		Context  string `yaml:"buildContextLocator,omitempty"`
		Stage    string `yaml:"targetStage,omitempty"`
		Registry string `yaml:"registry,omitempty"`
	}
	pairOutline struct {
		Key   string `yaml:"key,omitempty"`
		Value string `yaml:"value,omitempty"`
	}
	portOutline struct {
		Name        string `yaml:"name,omitempty"`
		Number      uint16 `yaml:"number,omitempty"`
		Transport   string `yaml:"transportProtocol,omitempty"`
		Application string `yaml:"applicationProtocol,omitempty"`
	}
	mountOutline struct {
		Path      string        `yaml:"mountPath,omitempty"`
		Artifacts []artifactRef `yaml:"filesArtifacts,omitempty"`
	}
	artifactRef struct {
		UUID string `yaml:"uuid,omitempty"`
		Name string `yaml:"name,omitempty"`
	}
	artifactOutline struct {
		UUID  string   `yaml:"uuid,omitempty"`
		Name  string   `yaml:"name,omitempty"`
		Files []string `yaml:"files,omitempty"`
	}
	taskOutline struct {
		UUID     string         `yaml:"uuid,omitempty"`
		Name     string         `yaml:"name,omitempty"`
		Type     string         `yaml:"taskType,omitempty"`
		Command  []string       `yaml:"command,omitempty"`
		Image    string         `yaml:"image,omitempty"`
		Files    []mountOutline `yaml:"files,omitempty"`
		Store    []artifactRef  `yaml:"store,omitempty"`
		Env      []pairOutline  `yaml:"envVar,omitempty"`
		Packages []string       `yaml:"pythonPackages,omitempty"`
		Args     []string       `yaml:"pythonArgs,omitempty"`
		Service  string         `yaml:"serviceName,omitempty"`
		Codes    []int64        `yaml:"acceptableCodes,omitempty"`
	}
)
