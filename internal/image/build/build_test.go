package build

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/fault"
	"github.com/lepto-dev/lepto/internal/image"
)

var update = flag.Bool("update", false, "write the golden files anew")

type nobody struct{}

func (nobody) Resolve(authn.Resource) (authn.Authenticator, error) { return authn.Anonymous, nil }

func testStore(t testing.TB) *image.Store {
	t.Helper()
	s, err := image.Open(filepath.Join(t.TempDir(), "images"), image.Options{Keychain: nobody{}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func testContext(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// write writes files below dir.
func write(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		at := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// busybox puts a shell into a build context.
func busybox(t testing.TB, dir string) {
	t.Helper()
	raw, err := os.ReadFile("/usr/bin/busybox")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "busybox"), raw, 0o755); err != nil {
		t.Fatal(err)
	}
}

// TestDockerfiles builds the Dockerfiles in testdata. Each is a txtar: lines
// "target: NAME" and "arg: NAME=VALUE" in the comment, the files of the context
// (a name ending in " +x" or " -> TARGET" makes a program or a symlink), and the
// expected want.files, want.config, want.error and want.warning. Every context
// has a busybox.
func TestDockerfiles(t *testing.T) {
	scripts, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(scripts) == 0 {
		t.Fatal("no scripts", err)
	}
	for _, script := range scripts {
		t.Run(strings.TrimSuffix(filepath.Base(script), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(script)
			if err != nil {
				t.Fatal(err)
			}
			got := buildScript(t, archive)
			for name, content := range got {
				got[name] = strings.ReplaceAll(content, runtime.GOARCH, "HOSTARCH")
			}
			compare(t, script, archive, got)
		})
	}
}

// compare holds what came against the script's want files, or writes those.
func compare(t *testing.T, script string, archive *txtar.Archive, got map[string]string) {
	t.Helper()
	want := map[string]string{}
	rest := slices.DeleteFunc(slices.Clone(archive.Files), func(f txtar.File) bool {
		if strings.HasPrefix(f.Name, "want.") {
			want[f.Name] = string(f.Data)
			return true
		}
		return false
	})
	if *update {
		for _, name := range []string{"want.error", "want.warning", "want.files", "want.config"} {
			if got[name] != "" {
				rest = append(rest, txtar.File{Name: name, Data: []byte(got[name])})
			}
		}
		if err := os.WriteFile(script, txtar.Format(&txtar.Archive{Comment: archive.Comment, Files: rest}), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	for _, name := range []string{"want.error", "want.warning", "want.files", "want.config"} {
		if got[name] != want[name] {
			t.Errorf("%s is:\n%s\nwant:\n%s", name, got[name], want[name])
		}
	}
}

// buildScript builds, and gives what came of it, as want files.
func buildScript(t *testing.T, archive *txtar.Archive) map[string]string {
	t.Helper()
	dir := t.TempDir()
	busybox(t, dir)
	for _, f := range archive.Files {
		if !strings.HasPrefix(f.Name, "want.") {
			writeEntry(t, dir, f)
		}
	}
	spec := backend.BuildSpec{Tag: "test", ContextDir: dir, Args: map[string]string{}}
	for line := range strings.Lines(string(archive.Comment)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		switch key {
		case "target":
			spec.Target = value
		case "arg":
			name, v, _ := strings.Cut(value, "=")
			spec.Args[name] = v
		}
	}
	store := testStore(t)
	info, err := Build(testContext(t), store, &chrootRunner{}, spec, nil)
	if err != nil {
		return map[string]string{"want.error": strings.ReplaceAll(errorText(t, err), dir, "DIR")}
	}
	img, err := store.Resolve("test")
	if err != nil {
		t.Fatal(err)
	}
	var dirs []string
	for _, l := range img.Layers {
		dirs = append(dirs, l.Dir)
	}
	files := mergedListing(t, dirs)
	if ours := listing(t, viewOf(img.Layers)); !slices.Equal(files, ours) {
		t.Errorf("view shows:\n%s\noverlayfs shows:\n%s", strings.Join(ours, "\n"), strings.Join(files, "\n"))
	}
	out := map[string]string{"want.files": strings.Join(files, "\n") + "\n", "want.config": configText(t, img)}
	if info.Warning != "" {
		out["want.warning"] = info.Warning + "\n"
	}
	return out
}

func writeEntry(t *testing.T, dir string, f txtar.File) {
	t.Helper()
	if name, target, ok := strings.Cut(f.Name, " -> "); ok {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		return
	}
	name, program := strings.CutSuffix(f.Name, " +x")
	write(t, dir, map[string]string{name: string(f.Data)})
	if program {
		if err := os.Chmod(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

// errorText shows a fault as a user sees it.
func errorText(t *testing.T, err error) string {
	t.Helper()
	var f *fault.Fault
	if !errors.As(err, &f) {
		t.Fatalf("error is no fault: %v", err)
	}
	var out strings.Builder
	out.WriteString(f.Code + ": " + f.Summary + "\n")
	for _, e := range f.Evidence {
		out.WriteString(e.Title + ":\n")
		for _, l := range e.Lines {
			out.WriteString("  " + l + "\n")
		}
	}
	if f.Hint != "" {
		out.WriteString("hint: " + f.Hint + "\n")
	}
	return out.String()
}

// configText shows the part of a config that a Dockerfile decides.
func configText(t *testing.T, img *image.Image) string {
	t.Helper()
	raw, err := json.MarshalIndent(img.Config.Config, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return string(raw) + "\n"
}

// quickstart is a context as small services have it.
func quickstart(t testing.TB) backend.BuildSpec {
	t.Helper()
	dir := t.TempDir()
	busybox(t, dir)
	write(t, dir, map[string]string{
		"Dockerfile": "FROM scratch AS base\nCOPY busybox /bin/busybox\nRUN [\"/bin/busybox\", \"sh\", \"-c\", \"/bin/busybox date +%N > /now\"]\n" +
			"FROM base\nCOPY src /src\nENV A=b\nENTRYPOINT [\"/bin/busybox\"]\n",
		"src/a": "1", "src/sub/b": "2",
	})
	return backend.BuildSpec{Tag: "quick:1", ContextDir: dir}
}

func mustBuild(t testing.TB, s *image.Store, r Runner, spec backend.BuildSpec) backend.ImageInfo {
	t.Helper()
	info, err := Build(testContext(t), s, r, spec, nil)
	if err != nil {
		t.Fatal(err)
	}
	if info.Source != backend.SourceBuilt {
		t.Errorf("source is %q", info.Source)
	}
	return info
}

func TestUnchangedInputIsNotBuiltAgain(t *testing.T) {
	s, spec, runner := testStore(t), quickstart(t), &chrootRunner{}
	first := mustBuild(t, s, runner, spec)
	later := time.Now().Add(time.Hour)
	if err := os.Chtimes(filepath.Join(spec.ContextDir, "src/a"), later, later); err != nil {
		t.Fatal(err)
	}
	if again := mustBuild(t, s, runner, spec); again.Digest != first.Digest || len(runner.steps) != 1 {
		t.Errorf("touched: digest %s, was %s, after %d steps", again.Digest, first.Digest, len(runner.steps))
	}
	write(t, spec.ContextDir, map[string]string{"src/a": "changed"})
	changed := mustBuild(t, s, runner, spec)
	if changed.Digest == first.Digest || len(runner.steps) != 1 {
		t.Errorf("changed: digest is the same: %t, after %d steps", changed.Digest == first.Digest, len(runner.steps))
	}
	write(t, spec.ContextDir, map[string]string{"src/a": "1"})
	if err := os.Chmod(filepath.Join(spec.ContextDir, "src/a"), 0o755); err != nil {
		t.Fatal(err)
	}
	if mode := mustBuild(t, s, runner, spec); mode.Digest == first.Digest {
		t.Error("another mode makes the same image")
	}
	spec.NoCache = true
	if fresh := mustBuild(t, s, runner, spec); len(runner.steps) != 2 || fresh.Digest == first.Digest {
		t.Errorf("without the cache: %d steps", len(runner.steps))
	}
}

func TestSameInputMakesTheSameImage(t *testing.T) {
	files := map[string]string{"Dockerfile": "FROM scratch\nWORKDIR /srv\nCOPY . .\nCOPY a /b\nLABEL x=y\n", "a": "1", "d/e": "2"}
	var digests []string
	for range 2 {
		dir := t.TempDir()
		write(t, dir, files)
		digests = append(digests, mustBuild(t, testStore(t), nil, backend.BuildSpec{Tag: "x", ContextDir: dir}).Digest)
	}
	if digests[0] != digests[1] {
		t.Errorf("digests differ: %v", digests)
	}
}

func TestProgressCountsTheStepsThatAreNeeded(t *testing.T) {
	spec := quickstart(t)
	var last, total int64
	var texts []string
	_, err := Build(testContext(t), testStore(t), &chrootRunner{}, spec, func(what string, done, all int64) {
		last, total, texts = done, all, append(texts, what)
	})
	if err != nil {
		t.Fatal(err)
	}
	if last != 7 || total != 7 || texts[len(texts)-1] != `ENTRYPOINT ["/bin/busybox"]` {
		t.Errorf("%d of %d, %q", last, total, texts)
	}
}

func TestBuildEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	gone := errors.New("the user left")
	spec := quickstart(t)
	_, err := Build(ctx, testStore(t), runnerFunc(func(ctx context.Context, _ Step) error {
		cancel(gone)
		<-ctx.Done()
		return ctx.Err()
	}), spec, nil)
	if !errors.Is(err, gone) {
		t.Errorf("error is %v, want the cause", err)
	}
}

type runnerFunc func(context.Context, Step) error

func (f runnerFunc) RunStep(ctx context.Context, s Step) error { return f(ctx, s) }

// TestStagesRunSideBySide needs both stages to run at once to end.
func TestStagesRunSideBySide(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{"Dockerfile": "FROM scratch AS a\nRUN [\"a\"]\nFROM scratch AS b\nRUN [\"b\"]\n" +
		"FROM scratch\nCOPY --from=a /f /a\nCOPY --from=b /f /b\n"})
	met := make(chan struct{})
	runner := runnerFunc(func(ctx context.Context, s Step) error {
		select {
		case met <- struct{}{}:
		case <-met:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		return os.WriteFile(filepath.Join(s.Dir, "upper", "f"), []byte(s.Args[0]), 0o644)
	})
	mustBuild(t, testStore(t), runner, backend.BuildSpec{Tag: "x", ContextDir: dir})
}

func TestFirstFailureIsTheOneReported(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{"Dockerfile": "FROM scratch AS a\nRUN [\"wait\"]\nFROM scratch AS b\nRUN [\"fail\"]\n" +
		"FROM scratch\nCOPY --from=a /f /a\nCOPY --from=b /f /b\n"})
	runner := runnerFunc(func(ctx context.Context, s Step) error {
		if s.Args[0] == "fail" {
			return &ExitError{Code: 3}
		}
		<-ctx.Done()
		return ctx.Err()
	})
	_, err := Build(testContext(t), testStore(t), runner, backend.BuildSpec{Tag: "x", ContextDir: dir}, nil)
	if got := errorText(t, err); got != "E0416: Dockerfile:4: RUN [\"fail\"]: exit code 3\n" {
		t.Errorf("reported %q", got)
	}
}

func TestImagesOfOneStoreAreBases(t *testing.T) {
	s, dir := testStore(t), t.TempDir()
	write(t, dir, map[string]string{"Dockerfile": "FROM scratch\nCOPY f /f\nUSER 7\nENV A=1\nONBUILD ENV B=2\nCMD [\"x\"]\n", "f": "1",
		"child.Dockerfile": "FROM my/base:1\nENTRYPOINT [\"e\"]\nCOPY --from=my/base:1 /f /g\n"})
	mustBuild(t, s, nil, backend.BuildSpec{Tag: "my/base:1", ContextDir: dir})
	mustBuild(t, s, nil, backend.BuildSpec{Tag: "child", ContextDir: dir, Dockerfile: "child.Dockerfile"})
	img, err := s.Resolve("child")
	if err != nil {
		t.Fatal(err)
	}
	c := img.Config.Config
	if c.User != "7" || c.Cmd != nil || !slices.Contains(c.Env, "A=1") || !slices.Contains(c.Env, "B=2") || len(c.OnBuild) != 0 {
		t.Errorf("config is %+v", c)
	}
	if files := listing(t, viewOf(img.Layers)); len(files) != 2 {
		t.Errorf("files are %q", files)
	}
}

func TestChangedWhileRead(t *testing.T) {
	s, dir := testStore(t), t.TempDir()
	write(t, dir, map[string]string{"f": "one"})
	files, err := openContext(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer files.root.Close()
	c := &copier{placer: &placer{below: &view{}, to: newItems(defaultTime)}, from: files.view, open: files.open, plain: true}
	n, err := c.from.find("f", true)
	if err == nil {
		err = c.file(n, "f")
	}
	if err == nil {
		_, err = c.to.digest(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, map[string]string{"f": "two"})
	if _, err := c.to.store(t.Context(), s); err == nil || !strings.Contains(err.Error(), "changed while it was read") {
		t.Errorf("error is %v", err)
	}
}

// TestSwappedSymlink replaces a file by a symlink after it was looked at.
func TestSwappedSymlink(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{"d/f": "1"})
	files, err := openContext(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer files.root.Close()
	n, err := files.find("d/f", true)
	if err != nil {
		t.Fatal(err)
	}
	for _, swap := range [][2]string{{"d/f", "/etc/hostname"}, {"d", "/etc"}} {
		at := filepath.Join(dir, swap[0])
		if err := errors.Join(os.RemoveAll(at), os.Symlink(swap[1], at)); err != nil {
			t.Fatal(err)
		}
		if f, err := files.open(n); err == nil {
			f.Close()
			t.Errorf("%s -> %s led out of the context", swap[0], swap[1])
		}
	}
}

func FuzzDockerfile(f *testing.F) {
	scripts, _ := filepath.Glob("testdata/*.txtar")
	for _, s := range scripts {
		archive, err := txtar.ParseFile(s)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range archive.Files {
			if file.Name == "Dockerfile" {
				f.Add(file.Data)
			}
		}
	}
	store := testStore(f)
	dir := f.TempDir()
	write(f, dir, map[string]string{"a": "1", "d/e": "2"})
	network := regexp.MustCompile(`(?i)https?:|git@|ssh:|git:`)
	f.Fuzz(func(t *testing.T, text []byte) {
		if network.Match(text) {
			return
		}
		ours := filepath.Join(dir, "Dockerfile")
		if err := os.WriteFile(ours, text, 0o644); err != nil {
			t.Fatal(err)
		}
		files, err := openContext(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer files.root.Close()
		d, err := readDockerfile(files, backend.BuildSpec{})
		if err != nil {
			if got := errorText(t, err); !strings.HasPrefix(got, "E04") {
				t.Error(got)
			}
			return
		}
		for _, b := range d.bases {
			if b.image != "scratch" && b.stage < 0 {
				return // no network in tests
			}
		}
		if bytes.Contains(bytes.ToLower(text), []byte("from=")) {
			return
		}
		nothing := runnerFunc(func(context.Context, Step) error { return nil })
		if _, err := Build(testContext(t), store, nothing, backend.BuildSpec{Tag: "fuzz", ContextDir: dir}, nil); err != nil {
			errorText(t, err)
		}
	})
}

func BenchmarkUnchangedBuild(b *testing.B) {
	s, spec, runner := testStore(b), quickstart(b), &chrootRunner{}
	mustBuild(b, s, runner, spec)
	for b.Loop() {
		mustBuild(b, s, runner, spec)
	}
}
