package lang

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.starlark.net/starlark"
	"go.starlark.net/starlarkstruct"

	"github.com/lepto-dev/lepto/internal/fault"
)

// This file calls the entry function (starlark spec §1.7, §1.8).

const (
	defaultMain = "run"
	planParam   = "plan"
	argsParam   = "args"
	// parserKey, in the params, chooses how nested objects arrive.
	parserKey = "_kurtosis_parser"
)

// run executes the main file and its entry function, and gives the output.
func (in *interpretation) run() (string, error) {
	params, err := in.params()
	if err != nil {
		return "", err
	}
	main := in.req.Package.Main()
	globals, err := in.execute(main)
	if err != nil {
		return "", in.wrap(err)
	}
	fn, err := in.entry(globals)
	if err != nil {
		return "", err
	}
	args, kwargs, misfit, err := in.arguments(fn, params)
	if err != nil {
		return "", err
	}
	result, err := starlark.Call(in.thread, fn, args, kwargs)
	if misfit != nil {
		return "", misfit.after(err)
	}
	if err != nil {
		return "", in.wrap(err)
	}
	if result == starlark.None {
		return "", nil
	}
	text, err := outputText(result)
	if err != nil {
		return "", fault.New("E0205", "what %q returns can't be shown: %w", fn.Name(), err).WithFrames(functionFrame(fn)).
			WithHint("return less, or plainer values")
	}
	return text, nil
}

// params decodes the run's parameters.
func (in *interpretation) params() (*starlark.Dict, error) {
	text := in.req.Args
	if strings.TrimSpace(text) == "" {
		text = "{}"
	}
	value, err := decodeJSON(text)
	if err != nil {
		return nil, fault.New("E0207", "the parameters are no valid JSON: %s", jsonReason(err)).
			WithHint(`parameters are an object, such as {"count": 3}`)
	}
	dict, ok := value.(*starlark.Dict)
	if !ok {
		return nil, fault.New("E0207", "the parameters must be an object, not %s", Describe(value)).
			WithHint(`parameters are an object, such as {"count": 3}`)
	}
	return dict, nil
}

// entry finds the entry function among the globals.
func (in *interpretation) entry(globals starlark.StringDict) (*starlark.Function, error) {
	name := in.req.MainFunction
	what := "package " + in.req.Package.ID()
	if in.req.Package.IsScript() {
		what = "the script"
	}
	value, ok := globals[name]
	if fn, isFunction := value.(*starlark.Function); isFunction {
		return fn, nil
	}
	file := in.req.Package.Display(in.req.Package.Main().Name)
	if ok {
		return nil, fault.New("E0206", "%q in %s is %s, not a function", name, file, Describe(value)).
			WithHint("def %s(plan, args): …", name)
	}
	f := fault.New("E0206", "%s has no function %q in %s", what, name, file)
	if near := fault.Nearest(name, functionNames(globals)); near != "" && name != defaultMain {
		return nil, f.WithHint("did you mean %q?", near)
	}
	return nil, f.WithHint("def %s(plan, args): …  or  def %s(): …", name, name)
}

func functionNames(globals starlark.StringDict) []string {
	var names []string
	for _, name := range globals.Keys() {
		if _, ok := globals[name].(*starlark.Function); ok {
			names = append(names, name)
		}
	}
	return names
}

// arguments fits the parameters to the entry function. A misfit tells all that
// is wrong with them, where the call itself would stop at the first.
func (in *interpretation) arguments(fn *starlark.Function, params *starlark.Dict) (starlark.Tuple, []starlark.Tuple, *misfit, error) {
	t, err := in.taken(fn)
	if err != nil {
		return nil, nil, nil, err
	}
	var args starlark.Tuple
	if t.first > 0 {
		args = starlark.Tuple{in.host.plan}
	}
	values, err := parseParams(params, t.legacy)
	if err != nil {
		return nil, nil, nil, err
	}
	if t.legacy {
		return append(args, values), nil, keywordArgs(fn), nil
	}
	_, plan, _ := params.Get(starlark.String(planParam)) // which nobody can give
	if in.req.MainFunction == defaultMain && len(t.names) == t.first && !fn.HasKwargs() && params.Len() > 0 && !plan {
		// The classic dialect ignores what the function does not take.
		in.warn(fmt.Sprintf("%q takes no parameters; the ones given are ignored", fn.Name()))
		return args, nil, nil, nil
	}
	return args, params.Items(), newMisfit(fn, t.names[t.first:], params), nil
}

// taken is what an entry function takes.
type taken struct {
	names  []string // of its parameters, but for *args and **kwargs
	first  int      // the first that a run's parameters are for: 1 after plan
	legacy bool     // all parameters come as one dict, its second parameter
}

// taken tells what an entry function takes, or why it can't be one.
func (in *interpretation) taken(fn *starlark.Function) (taken, error) {
	isDefault := in.req.MainFunction == defaultMain
	t := taken{names: namedParams(fn)}
	if len(t.names) > 0 && t.names[0] == planParam {
		t.first = 1
	}
	if isDefault && fn.NumParams() > 0 && t.first == 0 {
		return t, fault.New("E0208", "the first parameter of %q must be named %q, not %q", fn.Name(), planParam, nameOf(fn, 0)).
			WithFrames(functionFrame(fn)).WithHint("def %s(plan, …): …", fn.Name())
	}
	t.legacy = isDefault && fn.NumParams() == 2 && nameOf(fn, 1) == argsParam
	return t, nil
}

// misfit is parameters that do not fit the entry function.
type misfit struct{ fault *fault.Fault }

// newMisfit checks the names of the parameters; nil if they fit.
func newMisfit(fn *starlark.Function, named []string, params *starlark.Dict) *misfit {
	var d decoder
	if !fn.HasKwargs() {
		for _, key := range params.Keys() {
			name, _ := starlark.AsString(key)
			if slices.Contains(named, name) {
				continue
			}
			p := Problem{Arg: fmt.Sprintf("%q", name), Text: "is no parameter of it"}
			if near := fault.Nearest(name, named); near != "" {
				p.Hint = fmt.Sprintf("did you mean %q?", near)
			}
			d.problems = append(d.problems, p)
		}
	}
	offset := len(namedParams(fn)) - len(named)
	for i, name := range named {
		_, given, _ := params.Get(starlark.String(name))
		if !given && fn.ParamDefault(offset+i) == nil {
			d.add(fmt.Sprintf("%q", name), "is missing")
		}
	}
	if len(d.problems) == 0 {
		return nil
	}
	problems := &ArgsError{Builtin: fn.Name(), Problems: d.problems}
	f := fault.New("E0209", "the parameters do not fit: %s", problems).WithFrames(functionFrame(fn))
	f.Hint = problems.hint()
	if f.Hint == "" {
		f.Hint = "it takes " + strings.Join(named, ", ")
	}
	return &misfit{f}
}

// keywordArgs is the misfit of run(plan, **args): all parameters come as one value
// there. nil of run(plan, args).
func keywordArgs(fn *starlark.Function) *misfit {
	if !fn.HasKwargs() {
		return nil
	}
	f := fault.New("E0208", "the second parameter of %q is **%s, but the parameters come as one value of that name", fn.Name(), argsParam)
	return &misfit{f.WithFrames(functionFrame(fn)).
		WithHint("def %s(plan, %s): …  or  def %s(plan, **kwargs): …", fn.Name(), argsParam, fn.Name())}
}

// after gives the error, with the text of what the call itself said.
func (m *misfit) after(err error) error {
	e := &Error{Fault: m.fault}
	if evalErr := (*starlark.EvalError)(nil); errors.As(err, &evalErr) {
		e.fromEval(evalErr)
	}
	return e
}

// namedParams lists the parameters of a function but *args and **kwargs.
func namedParams(fn *starlark.Function) []string {
	n := fn.NumParams()
	if fn.HasVarargs() {
		n--
	}
	if fn.HasKwargs() {
		n--
	}
	names := make([]string, n)
	for i := range names {
		names[i], _ = fn.Param(i)
	}
	return names
}

func nameOf(fn *starlark.Function, i int) string {
	name, _ := fn.Param(i)
	return name
}

func functionFrame(fn *starlark.Function) fault.Frame {
	pos := fn.Position()
	return fault.Frame{File: pos.Filename(), Line: int(pos.Line), Col: int(pos.Col), Func: fn.Name()}
}

// parseParams applies the parser that the params themselves may choose.
func parseParams(params *starlark.Dict, legacy bool) (starlark.Value, error) {
	value, found, _ := params.Get(starlark.String(parserKey))
	if !found {
		return params, nil
	}
	switch parser, _ := starlark.AsString(value); parser {
	case "dict":
		return params, nil
	case "struct":
		if !legacy {
			return nil, fault.New("E0207", "the parameter %s: \"struct\" needs an entry function run(plan, args)", parserKey)
		}
		return toStruct(params), nil
	}
	return nil, fault.New("E0207", "the parameter %s must be \"dict\" or \"struct\", not %s", parserKey, value)
}

// toStruct makes structs of a dict and of the dicts that are its values.
func toStruct(dict *starlark.Dict) starlark.Value {
	fields := starlark.StringDict{}
	for _, item := range dict.Items() {
		key, _ := starlark.AsString(item[0])
		fields[key] = item[1]
		if nested, ok := item[1].(*starlark.Dict); ok {
			fields[key] = toStruct(nested)
		}
	}
	return starlarkstruct.FromStringDict(starlarkstruct.Default, fields)
}

// jsonReason takes the library's own prefix off a decoding error.
func jsonReason(err error) string {
	_, reason, found := strings.Cut(err.Error(), "json.decode: ")
	if !found {
		return err.Error()
	}
	return reason
}
