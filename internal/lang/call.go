package lang

import (
	"fmt"
	"strconv"

	"go.starlark.net/starlark"

	"github.com/lepto-dev/lepto/internal/artifact"
	"github.com/lepto-dev/lepto/internal/fault"
	"github.com/lepto-dev/lepto/internal/plan"
	"github.com/lepto-dev/lepto/internal/source"
)

// A Call is one call of an instruction: what its build function may use.
type Call struct {
	in        *interpretation
	call      plan.Call
	described bool
	ids       int // made so far
}

// keptTexts is about how often a plan has what a call says.
const keptTexts = 4

// newCall records a call: its text is rendered now, before the script can change
// what it passed.
func newCall(thread *starlark.Thread, b Builtin, bound []starlark.Value) (*Call, error) {
	in := interpretationOf(thread)
	for _, arg := range bound {
		if text, ok := arg.(starlark.String); ok && len(text) >= smallBytes {
			if err := in.reserve(growing * (len(text) + escapes(string(text)))); err != nil {
				return nil, err
			}
		}
	}
	call, err := callText(b.name, b.schema.params, bound)
	if err != nil {
		return nil, err
	}
	if err := in.note(keptTexts * len(call.Text)); err != nil {
		return nil, err
	}
	call.Stack = userFrames(thread.CallStack())
	c := &Call{in: in, call: call}
	c.call.Description, c.described = b.schema.description(bound)
	c.call.ID = plan.StepID(in.stepID(c.call, c.described))
	return c, nil
}

// Plan gives the call as data for the step, with a description for when the
// script gave none.
func (c *Call) Plan(format string, args ...any) plan.Call {
	if !c.described {
		c.call.Description = fmt.Sprintf(format, args...)
	}
	return c.call
}

// NewID makes an id, such as that of a value slot: 32 lower-case hex digits. The
// n-th id of a call is the same in every run of the enclave in which the call
// says the same, so that texts in which it occurs stay equal too.
func (c *Call) NewID() string {
	c.ids++
	return stableID(string(c.call.ID), strconv.Itoa(c.ids))
}

// ArtifactName gives the name of a files artifact that the call makes: the one
// that the script gave, or, where it gave none, one that is made up now, so that
// the script can use it. A made-up name is that of no other artifact of the run;
// in a later run in which the call says the same it is the same.
func (c *Call) ArtifactName(given string) string {
	name := given
	if given == "" {
		name = c.in.newArtifactName(c.NewID())
	}
	c.in.artifacts[name] = true
	return name
}

// ServiceValueID gives the value slot of a service, the same for a name in every
// run of the enclave.
func (c *Call) ServiceValueID(service string) (string, error) {
	if id, ok := c.in.serviceIDs[service]; ok {
		return id, nil
	}
	id, err := c.in.enclave.ServiceValueID(service)
	if err != nil {
		return "", fault.New("E0215", "value slot of service %q: %w", service, err)
	}
	c.in.serviceIDs[service] = id
	return id, nil
}

// ClusterType gives the backend as scripts know it: "docker", "kubernetes" or
// "podman".
func (c *Call) ClusterType() string { return c.in.enclave.ClusterType() }

// Locate resolves a locator in the file of the call to a file or directory on
// this machine.
func (c *Call) Locate(locator string) (source.File, error) {
	return c.in.locate(c.call.At().File, locator, source.Anything)
}

// IgnoredIn gives what the package of a file keeps to itself.
func (c *Call) IgnoredIn(file source.File) (artifact.Ignore, error) {
	return c.in.req.Package.Ignored(file)
}

// LocateInPackage resolves a locator as Locate does; what it names must belong to
// a package.
func (c *Call) LocateInPackage(locator string) (source.File, error) {
	return c.in.locate(c.call.At().File, locator, source.OfPackage)
}

// InScript reports whether the run is of a standalone script.
func (c *Call) InScript() bool { return c.in.req.Package.IsScript() }

// LocateIn resolves a path below a directory that Locate gave.
func (c *Call) LocateIn(dir source.File, rel string) (source.File, error) {
	return c.in.req.Package.Within(dir, rel)
}

// Warn adds a warning to the plan, once.
func (c *Call) Warn(format string, args ...any) { c.in.warn(fmt.Sprintf(format, args...)) }

// AllowPrivileged is an E0214 unless the backend has privileged settings in the
// current dialect's sense and the run opted in.
func (c *Call) AllowPrivileged(what string) error {
	if kind := c.ClusterType(); kind != "docker" {
		return fault.New("E0214", "%s is not available on %s", what, kind)
	}
	if !c.in.req.AllowPrivileged {
		return fault.New("E0214", "%s is asked for, but this run does not allow it", what).
			WithHint("run with --privileged, or set allow-privileged-mode: true in the configuration, if you trust this package")
	}
	return nil
}

// Remember keeps a value for later calls of this interpretation, under a kind
// and a name; a nil value forgets it.
func (c *Call) Remember(kind, name string, v starlark.Value) {
	if c.in.memory[kind] == nil {
		c.in.memory[kind] = map[string]starlark.Value{}
	}
	c.in.memory[kind][name] = v
}

// Recall gives a value remembered in this interpretation. known tells that the
// name was remembered or forgotten here, so that nothing older counts.
func (c *Call) Recall(kind, name string) (v starlark.Value, known bool) {
	v, known = c.in.memory[kind][name]
	return v, known
}

// Recalled gives all that is remembered of a kind, by name; forgotten names have
// nil values.
func (c *Call) Recalled(kind string) map[string]starlark.Value { return c.in.memory[kind] }

// Existing gives the enclave's services from earlier runs, where it can tell.
func (c *Call) Existing() []ExistingService {
	if view, ok := c.in.enclave.(ServiceView); ok {
		return view.ExistingServices()
	}
	return nil
}
