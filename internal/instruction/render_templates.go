package instruction

import (
	"context"
	"fmt"
	"io"
	"slices"

	"go.starlark.net/starlark"
	"go.starlark.net/starlarkstruct"

	"github.com/lepto-dev/lepto/internal/artifact"
	"github.com/lepto-dev/lepto/internal/enclave"
	"github.com/lepto-dev/lepto/internal/fault"
	"github.com/lepto-dev/lepto/internal/lang"
	"github.com/lepto-dev/lepto/internal/plan"
)

// renderTemplatesArgs are the parameters of plan.render_templates.
type renderTemplatesArgs struct {
	_      struct{}       `doc:"Makes a files artifact of files that are rendered from templates, in Go's text/template language. Gives the artifact's name."`
	Config templateConfig `star:"config" doc:"path in the artifact to struct(template = the text, data = what it shows); values of instructions are filled into the data's texts"`
	Name   string         `star:"name,?,repr" doc:"the artifact's name; made up if not given"`
}

// templateConfig are the files to render, in the script's order.
type templateConfig []templateFile

// templateFile is one file to render.
type templateFile struct {
	key  string // as the script has it
	path string // in the artifact, clean
	text string
	data any // what encoding/json would decode, numbers as json.Number
}

// Wants names what is taken.
func (*templateConfig) Wants() string { return "dict of path to struct(template, data)" }

// UnpackStar reads the files, and gathers what is wrong with any.
func (t *templateConfig) UnpackStar(v starlark.Value) error {
	dict, ok := v.(*starlark.Dict)
	if !ok {
		return fmt.Errorf("must be a dict, not %s", lang.Describe(v))
	}
	wrong := &lang.ArgsError{}
	tree := artifact.Paths{}
	for _, item := range dict.Items() {
		key, ok := starlark.AsString(item[0])
		if !ok {
			wrong.Add("", fmt.Errorf("must have paths as keys, not %s", item[0]))
			continue
		}
		file, err := unpackTemplate(item[1])
		file.key = key
		if err == nil {
			file.path, err = tree.Add(key)
		}
		if err != nil {
			wrong.Add(fmt.Sprintf("[%q]", key), err)
			continue
		}
		*t = append(*t, file)
	}
	return wrong.OrNil()
}

// unpackTemplate reads struct(template, data).
func unpackTemplate(v starlark.Value) (templateFile, error) {
	config, ok := v.(*starlarkstruct.Struct)
	if !ok {
		return templateFile{}, fmt.Errorf("must be a struct with template and data, not %s", lang.Describe(v))
	}
	wrong := &lang.ArgsError{}
	var file templateFile
	text, err := config.Attr("template")
	if err != nil {
		wrong.Add("template", fmt.Errorf("is missing"))
	} else if file.text, ok = starlark.AsString(text); !ok {
		wrong.Add("template", fmt.Errorf("must be a string, not %s", lang.Describe(text)))
	}
	data, err := config.Attr("data")
	if err != nil {
		wrong.Add("data", fmt.Errorf("is missing"))
	} else if file.data, err = templateData(data); err != nil {
		wrong.Add("data", err)
	}
	return file, wrong.OrNil()
}

func buildRenderTemplates(c *lang.Call, a *renderTemplatesArgs) (plan.Step, starlark.Value, error) {
	step := &renderTemplates{}
	var wrong []string
	for _, file := range a.Config {
		template, err := parseTemplate(file.path, file.text)
		if err != nil {
			wrong = append(wrong, err.Error())
			continue
		}
		step.files = append(step.files, rendering{file.path, template, file.data})
		step.keys = append(step.keys, file.key)
	}
	slices.Sort(step.keys)
	if len(wrong) > 0 {
		return nil, nil, fault.New("E0217", "%s", wrong[0]).WithEvidence("other templates", wrong[1:]...).
			WithHint("templates are in the language of Go's text/template: https://pkg.go.dev/text/template")
	}
	step.name = c.ArtifactName(a.Name)
	step.call = c.Plan("Rendering a template to a files artifact with name '%s'", step.name)
	return step, starlark.String(step.name), nil
}

// renderTemplates makes an artifact of rendered templates.
type renderTemplates struct {
	called
	files []rendering
	keys  []string // as the script wrote the files' paths, sorted
	name  string
}

// Outline shows the artifact, with its files as the script names them.
func (s *renderTemplates) Outline(o *plan.Outline) { o.AddArtifact(s.name, s.keys...) }

// Effects: it reads the values in the data, and makes the artifact.
func (s *renderTemplates) Effects() plan.Effects {
	var texts []string
	for _, file := range s.files {
		texts = appendTexts(texts, file.data)
	}
	return plan.Effects{
		Reads:  plan.ReferenceKeys(texts...),
		Writes: []plan.Key{plan.ArtifactKey(s.name)},
		Texts:  []string{s.call.Text},
	}
}

// Validate checks that no other step makes the artifact.
func (s *renderTemplates) Validate(f *plan.Forecast) []error { return one(f.AddArtifact(s.name)) }

// Execute renders the templates.
func (s *renderTemplates) Execute(ctx context.Context, x *plan.Execution) (plan.Outcome, error) {
	made, _, err := x.Enclave.StoreArtifact(ctx, s.name, enclave.StoreOptions{Progress: x.Progress}, func(b *artifact.Builder) error {
		for _, file := range s.files {
			data, err := fillData(file.data, x.Values)
			if err != nil {
				return fmt.Errorf("data of template %q: %w", file.path, err)
			}
			if err := b.File(file.path, func(w io.Writer) error { return file.render(ctx, data, w) }); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return plan.Outcome{}, err
	}
	return plan.Outcome{Text: fmt.Sprintf("Templates artifact name '%s' rendered with artifact UUID '%s'", made.Name, made.UUID)}, nil
}
