package build

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerfile/shell"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/fault"
)

// dockerfile is a parsed Dockerfile, with what the build's arguments make of it.
type dockerfile struct {
	name   string // relative to the context
	escape rune
	stages []instructions.Stage
	bases  []base            // of each stage
	global []string          // NAME=value of the arguments before the first FROM
	args   map[string]string // given to the build
	time   time.Time         // of all files that COPY makes

	mu   sync.Mutex
	used map[string]bool // given arguments that something asked for
}

// base is what a stage starts from.
type base struct {
	stage int    // an earlier stage, or -1
	image string // an image, or "scratch"
}

// defaultTime is the modification time of files that a build copies, unless
// SOURCE_DATE_EPOCH is given: a fixed one, so that the same input makes the same
// image, and one that zip archives can express.
var defaultTime = time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)

// alwaysThere are the arguments that need no ARG: proxies reach RUN by themselves.
var alwaysThere = []string{"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "FTP_PROXY", "ftp_proxy",
	"NO_PROXY", "no_proxy", "ALL_PROXY", "all_proxy"}

// platformArgs describe the one platform there is: this host's.
func platformArgs(target string) []string {
	var out []string
	for _, prefix := range []string{"TARGET", "BUILD"} {
		out = append(out, prefix+"PLATFORM=linux/"+runtime.GOARCH, prefix+"OS=linux", prefix+"ARCH="+runtime.GOARCH, prefix+"VARIANT=")
	}
	return append(out, "TARGETSTAGE="+target)
}

// readDockerfile reads and checks a Dockerfile: nothing is run or pulled.
func readDockerfile(files *buildContext, spec backend.BuildSpec) (*dockerfile, error) {
	name := spec.Dockerfile
	if name == "" {
		name = "Dockerfile"
	}
	if filepath.IsAbs(name) {
		if inside, err := filepath.Rel(files.dir, name); err == nil {
			name = inside
		}
	}
	raw, err := files.readText(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.New("E0415", "there is no %q in %q", name, files.dir).
			WithHint("name the Dockerfile, relative to the build context, or write one")
	}
	if err != nil {
		return nil, fault.New("E0415", "%s: %w", name, err)
	}
	d := &dockerfile{name: name, args: spec.Args, used: map[string]bool{}, time: defaultTime}
	if epoch, ok := d.given("SOURCE_DATE_EPOCH"); ok {
		seconds, err := strconv.ParseInt(epoch, 10, 64)
		if err != nil {
			return nil, fault.New("E0415", "build argument SOURCE_DATE_EPOCH is %q, which is no number of seconds", epoch)
		}
		d.time = time.Unix(seconds, 0)
	}
	return d, d.parse(raw, spec.Target)
}

// parse fills in stages and their bases.
func (d *dockerfile) parse(raw []byte, target string) error {
	metaArgs, err := d.parseText(raw)
	if err != nil {
		return err
	}
	if len(d.stages) == 0 {
		return fault.New("E0415", "%s has no FROM", d.name).WithHint("a Dockerfile starts with FROM image, or FROM scratch")
	}
	if target == "" {
		target = d.stages[len(d.stages)-1].Name
	}
	if err := d.globals(metaArgs, target); err != nil {
		return err
	}
	for i, stage := range d.stages {
		if err := d.base(i, stage); err != nil {
			return d.at(stage.Location[0].Start.Line, stage.SourceCode, "E0415", err)
		}
	}
	return nil
}

// parseText turns the text into stages. The parser was written for trusted
// input; should it panic, that is the Dockerfile's fault and not the engine's end.
func (d *dockerfile) parseText(raw []byte) (metaArgs []instructions.ArgCommand, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fault.New("E0415", "%s can't be parsed: %v", d.name, p)
		}
	}()
	ast, err := parser.Parse(bytes.NewReader(raw))
	if err != nil {
		return nil, d.syntax(err)
	}
	d.escape = ast.EscapeToken
	d.stages, metaArgs, err = instructions.Parse(ast.AST, nil)
	if err != nil {
		return nil, d.syntax(err)
	}
	return metaArgs, nil
}

// syntax gives the fault for an error of the parser.
func (d *dockerfile) syntax(err error) error {
	text, line := err.Error(), 0
	var located *parser.LocationError
	if errors.As(err, &located) && len(located.Locations) > 0 && len(located.Locations[0]) > 0 {
		line = located.Locations[0][0].Start.Line
		text = strings.TrimPrefix(text, fmt.Sprintf("dockerfile parse error on line %d: ", line))
	}
	f := &fault.Fault{Code: "E0415", Summary: fmt.Sprintf("%s: %s", d.name, text), Cause: err}
	if line > 0 {
		f.Summary = fmt.Sprintf("%s:%d: %s", d.name, line, text)
	}
	return f
}

// globals evaluates the arguments before the first FROM.
func (d *dockerfile) globals(metaArgs []instructions.ArgCommand, target string) error {
	d.global = platformArgs(target)
	for _, cmd := range metaArgs {
		err := cmd.Expand(func(word string) (string, error) { return d.word(word, d.global) })
		if err != nil {
			return d.at(cmd.Location()[0].Start.Line, cmd.String(), "E0415", err)
		}
		for _, arg := range cmd.Args {
			if value, ok := d.given(arg.Key); ok {
				d.global = setEnv(d.global, arg.Key, value)
			} else if arg.Value != nil {
				d.global = setEnv(d.global, arg.Key, *arg.Value)
			}
		}
	}
	return nil
}

// word expands variables in a word, and takes its quotes off.
func (d *dockerfile) word(word string, env []string) (string, error) {
	longest := 0
	for _, e := range env {
		longest = max(longest, len(e))
	}
	if longest*strings.Count(word, "$") > maxText { // ENV A=$A$A, forty times over, would fill the memory
		return "", fault.New("E0415", "the variables in it expand to more than %d bytes", maxText).WithHint("put long texts in a file")
	}
	out, _, err := shell.NewLex(d.escape).ProcessWord(word, shell.EnvsFromSlice(env))
	return out, err
}

// base finds out what a stage starts from.
func (d *dockerfile) base(i int, stage instructions.Stage) error {
	name, err := d.word(stage.BaseName, d.global)
	if err != nil {
		return err
	}
	if name == "" {
		return fault.New("E0415", "the base's name %q is empty when its variables are replaced", stage.BaseName).
			WithHint("give the ARG a default, or the build an argument")
	}
	platform, err := d.word(stage.Platform, d.global)
	if err != nil {
		return err
	}
	if !ownPlatform(platform) {
		return fault.New("E0411", "platform %q is not this host's, linux/%s", platform, runtime.GOARCH).
			WithHint("images are built for this host only: leave --platform out")
	}
	found := base{stage: -1, image: name}
	if at, ok := instructions.HasStage(d.stages[:i], name); ok {
		found.stage = at
	}
	d.bases = append(d.bases, found)
	return nil
}

func ownPlatform(platform string) bool {
	if platform == "" || platform == runtime.GOARCH || platform == "linux" {
		return true
	}
	parts := strings.Split(platform, "/")
	return parts[0] == "linux" && len(parts) > 1 && parts[1] == runtime.GOARCH
}

// target gives the stage to build: by name, by number, or the last.
func (d *dockerfile) target(name string) (int, error) {
	if name == "" {
		return len(d.stages) - 1, nil
	}
	if i, ok := d.stage(len(d.stages), name); ok {
		return i, nil
	}
	var names []string
	for _, s := range d.stages {
		names = append(names, nonEmpty(s.Name)...)
	}
	return 0, fault.New("E0415", "%s has no stage %q", d.name, name).WithHint("its stages are: %s", strings.Join(names, ", "))
}

// stage finds one of the first n stages by name or number.
func (d *dockerfile) stage(n int, name string) (int, bool) {
	if i, ok := instructions.HasStage(d.stages[:n], name); ok {
		return i, true
	}
	i, err := strconv.Atoi(name)
	return i, err == nil && i >= 0 && i < n
}

// given gives a build argument, and remembers that it was asked for.
func (d *dockerfile) given(name string) (string, bool) {
	value, ok := d.args[name]
	if ok {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.used[name] = true
	}
	return value, ok
}

// warnings tells of arguments that nothing asked for.
func (d *dockerfile) warnings() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []string
	for _, name := range slices.Sorted(maps.Keys(d.args)) {
		if !d.used[name] && !slices.Contains(alwaysThere, name) {
			out = append(out, fmt.Sprintf("build argument %q is not used: no ARG in the built stages names it", name))
		}
	}
	return out
}

// setEnv sets a variable in a list of NAME=value, in place where it is there.
func setEnv(env []string, name, value string) []string {
	env = slices.Clone(env)
	for i, e := range env {
		if n, _, _ := strings.Cut(e, "="); n == name {
			env[i] = name + "=" + value
			return env
		}
	}
	return append(env, name+"="+value)
}

// getEnv gives a variable of a list of NAME=value.
func getEnv(env []string, name string) (string, bool) {
	for _, e := range env {
		if n, value, _ := strings.Cut(e, "="); n == name {
			return value, true
		}
	}
	return "", false
}
