package build

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"golang.org/x/sys/unix"

	"github.com/lepto-dev/lepto/internal/fault"
	"github.com/lepto-dev/lepto/internal/image"
)

// runStep does RUN.
func (s *stageBuild) runStep(ctx context.Context, cmd *instructions.RunCommand) error {
	if s.run == nil {
		return fault.New("E0416", "this build can't run commands").WithHint("build with a backend that can, or leave RUN out")
	}
	script, line, err := commandLine(cmd)
	if err != nil {
		return err
	}
	step := Step{Args: s.shellForm(line), Env: s.env(), User: s.config.Config.User, WorkDir: s.absolute("."), NoNetwork: s.noNetwork(cmd)}
	if len(step.Args) == 0 {
		return fault.New("E0415", "RUN has no command")
	}
	if _, ok := getEnv(step.Env, "PATH"); !ok {
		step.Env = setEnv(step.Env, "PATH", defaultPath)
	}
	for _, l := range s.layers {
		step.Layers = append(step.Layers, l.Dir)
	}
	m := &mounter{stage: s, script: script}
	defer m.release()
	if err := m.all(ctx, cmd); err != nil {
		return err
	}
	step.Mounts = m.mounts
	return s.cached(ctx, s.runKey(step, m.key), func() (image.Layer, error) {
		step.Env = append(step.Env, s.proxies()...) // no part of the key: they change how, not what
		return s.execute(ctx, step, firstLine(cmd.String()))
	})
}

// runKey names everything that decides about a step's outcome.
func (s *stageBuild) runKey(step Step, mounts string) string {
	var key strings.Builder
	fmt.Fprintf(&key, "run\n%q\n%q\n%q\n%q\n%t\n%s", step.Args, step.Env, step.WorkDir, step.User, step.NoNetwork, mounts)
	for _, l := range s.layers {
		key.WriteString("\n" + l.DiffID)
	}
	return key.String()
}

// proxies gives the proxy variables that were given to the build.
func (s *stageBuild) proxies() []string {
	var out []string
	for _, name := range alwaysThere {
		if _, declared := getEnv(s.args, name); declared {
			continue
		}
		if value, ok := s.docker.given(name); ok {
			out = append(out, name+"="+value)
		}
	}
	return out
}

func (s *stageBuild) noNetwork(cmd *instructions.RunCommand) bool {
	return instructions.GetNetwork(cmd) == instructions.NetworkNone
}

// commandLine gives what to run. A here-document is the script itself; one that
// starts with #! becomes a file, whose content is given too.
func commandLine(cmd *instructions.RunCommand) (script *instructions.ShellInlineFile, line instructions.ShellDependantCmdLine, err error) {
	line = cmd.ShellDependantCmdLine
	if len(cmd.Files) == 0 {
		return nil, line, nil
	}
	if len(cmd.CmdLine) != 1 || !cmd.PrependShell {
		return nil, line, fault.New("E0415", "a here-document needs the shell form of RUN")
	}
	first := cmd.Files[0]
	if first.Chomp {
		first.Data = parser.ChompHeredocContent(first.Data)
	}
	only, err := parser.ParseHeredoc(cmd.CmdLine[0])
	switch {
	case err != nil:
		return nil, line, err
	case only == nil: // part of a longer command: put it back together for the shell
		full := cmd.CmdLine[0]
		for _, f := range cmd.Files {
			full += "\n" + f.Data + f.Name
		}
		line.CmdLine = []string{full}
	case strings.HasPrefix(first.Data, "#!"):
		line.CmdLine, line.PrependShell = []string{path.Join(scriptDir, first.Name)}, false
		return &first, line, nil
	default:
		line.CmdLine = []string{first.Data}
	}
	return nil, line, nil
}

// scriptDir is where a step finds the script of its here-document.
const scriptDir = "/dev/pipes"

// execute runs a step, and makes a layer of what it wrote.
func (s *stageBuild) execute(ctx context.Context, step Step, text string) (image.Layer, error) {
	dir, release, err := s.store.WorkDir(ctx)
	if err != nil {
		return image.Layer{}, err
	}
	defer release()
	upper := filepath.Join(dir, "upper")
	for _, d := range []string{upper, filepath.Join(dir, "work")} {
		if err := os.Mkdir(d, 0o755); err != nil {
			return image.Layer{}, err
		}
	}
	out := newTail(func(line string) { s.tell(text+": "+line, s.done.Load(), s.steps) })
	step.Dir, step.Stdout, step.Stderr = dir, out, out
	if err := s.run.RunStep(ctx, step); err != nil {
		return image.Layer{}, stepFault(ctx, err, out)
	}
	s.removeStubs(upper, step.Mounts)
	if entries, err := os.ReadDir(upper); err != nil || len(entries) == 0 {
		return image.Layer{}, err
	}
	return s.store.AddUpper(ctx, upper)
}

// stepFault says how a step failed: the cause first, then what it said last.
func stepFault(ctx context.Context, err error, out *tail) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var exit *ExitError
	if !errors.As(err, &exit) {
		f := *fault.From(err, "E0416")
		return f.WithEvidence("last output", out.lines()...)
	}
	f := &fault.Fault{Code: "E0416", Summary: exit.Error(), Cause: err}
	switch exit.Code {
	case 127:
		f.Hint = "the command, or the shell that runs it, is not in the image: see PATH, SHELL and FROM"
	case 126:
		f.Hint = "the command can't be executed: see its mode and its architecture"
	}
	return f.WithEvidence("last output", out.lines()...)
}

// stubs are what a runtime makes where it mounts something of its own.
var stubs = []string{"/proc", "/sys", "/dev", "/etc/resolv.conf", "/etc/hosts", "/etc/hostname"}

// removeStubs takes away the empty files and directories that are but mount
// points, unless the image had them before.
func (s *stageBuild) removeStubs(upper string, mounts []Mount) {
	below := viewOf(s.layers)
	places := stubs
	for _, m := range mounts {
		places = append(places[:len(places):len(places)], m.Target)
	}
	for _, place := range places {
		for name := cleanPath(place); name != "."; name = path.Dir(name) {
			if there, err := below.find(name, false); err != nil || there != nil {
				break
			}
			if !removeEmpty(filepath.Join(upper, name)) {
				break
			}
		}
	}
}

// removeEmpty removes an empty file or directory.
func removeEmpty(name string) bool {
	var st unix.Stat_t
	if err := unix.Lstat(name, &st); err != nil {
		return false
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return unix.Rmdir(name) == nil
	case unix.S_IFREG:
		return st.Size == 0 && unix.Unlink(name) == nil
	}
	return false
}
