package lang

import (
	"fmt"

	"go.starlark.net/starlark"
	"go.starlark.net/starlarkstruct"
	"go.starlark.net/syntax"

	"github.com/lepto-dev/lepto/internal/fault"
	"github.com/lepto-dev/lepto/internal/source"
)

// This file executes files of code: the main file and the modules it imports.

// dialect is the language: every optional feature off (starlark spec §1.4).
var dialect = &syntax.FileOptions{}

// module is a file that is being, or was, executed.
type module struct {
	loading bool
	value   importedModule
	err     error // kept: a module is executed once, also when it fails
}

// importedModule is a module as scripts get it: one that tells its file's name where
// it does not have what is asked for.
type importedModule struct {
	*starlarkstruct.Module
	shown string
}

var _ starlark.HasAttrs = importedModule{}

// Attr gives a global of the file.
func (m importedModule) Attr(name string) (starlark.Value, error) {
	if v, ok := m.Members[name]; ok {
		return v, nil
	}
	return nil, starlark.NoSuchAttrError(fmt.Sprintf("module %s has no .%s", m.shown, name))
}

// execute runs a file's top level and freezes its globals.
func (in *interpretation) execute(file source.File) (starlark.StringDict, error) {
	text, err := in.req.Package.ReadCode(in.ctx, file)
	if err != nil {
		return nil, err
	}
	in.files[file.Name] = file
	if err := checkNesting(file.Name, text); err != nil {
		return nil, err
	}
	parsed, err := parse(file.Name, text)
	if err != nil {
		return nil, err
	}
	boundProducts(parsed)
	boundTexts(parsed)
	program, err := starlark.FileProgram(parsed, in.globals.Has)
	if err != nil {
		return nil, in.named(err)
	}
	globals, err := program.Init(in.thread, in.globals)
	if tooDeep := checkDepth(globals); tooDeep != nil {
		return nil, tooDeep // freezing recurses
	}
	globals.Freeze()
	return globals, err
}

// locate resolves a locator in the code of a file.
func (in *interpretation) locate(caller, locator string, use source.Use) (source.File, error) {
	from, ok := in.files[caller]
	if !ok {
		from = source.File{Name: caller}
	}
	in.fetching.Store(true)
	defer in.fetching.Store(false)
	return in.req.Package.Resolve(in.ctx, from, locator, use)
}

// importArgs are the parameters of import_module.
type importArgs struct {
	_      struct{} `doc:"Executes another file of code, once per run, and gives its globals as the attributes of a module."`
	Module string   `star:"module_file" check:"nonempty" doc:"locator of the file: relative, from the repository's root (/…), or github.com/<author>/<repo>/<path>"`
}

func importModule(in *interpretation, thread *starlark.Thread, a *importArgs) (starlark.Value, error) {
	file, err := in.locate(callerFrame(thread).File, a.Module, source.OfPackage)
	if err != nil {
		return nil, err
	}
	key := file.Name + "\x00" + file.HostPath() // versions of one module are two modules
	m, known := in.modules[key]
	if !known {
		m = &module{loading: true}
		in.modules[key] = m
		globals, err := in.execute(file)
		m.loading, m.err = false, err
		if err == nil {
			m.value = importedModule{&starlarkstruct.Module{Name: file.Name, Members: globals}, in.req.Package.Display(file.Name)}
		}
	}
	if m.loading {
		return nil, fault.New("E0115", "import cycle: %s is being imported already", in.req.Package.Display(file.Name)).
			WithHint("move what both files need into a third one")
	}
	if m.err != nil {
		return nil, m.err
	}
	return m.value, nil
}

// readArgs are the parameters of read_file.
type readArgs struct {
	_      struct{} `doc:"Reads a text file at interpretation."`
	Source string   `star:"src" check:"nonempty" doc:"locator of the file, as for import_module"`
}

func readFile(in *interpretation, thread *starlark.Thread, a *readArgs) (starlark.Value, error) {
	file, err := in.locate(callerFrame(thread).File, a.Source, source.OfPackage)
	if err != nil {
		return nil, err
	}
	text, err := in.req.Package.ReadText(file)
	return starlark.String(text), err
}

// functions are the predeclared functions with declared parameters.
func functions() []Builtin {
	return []Builtin{
		function("import_module", importModule),
		function("read_file", readFile),
	}
}
