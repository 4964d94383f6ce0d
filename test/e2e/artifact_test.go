package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lepto-dev/lepto/internal/run"
)

// This file: files artifacts on the native backend.

// seedLine is what the example of the classic dialect's reference renders to.
const seedLine = "Hello Stranger. The sum of [1 2 3] is 6. My favorite moment in history 1257894000. My favorite number 1231231243.43. Am I Alive? true"

const artifactsScript = `
def run(plan):
    data = struct(Name = "Stranger", Answer = 6, Numbers = [1, 2, 3], UnixTimeStamp = 1257894000, LargeFloat = 1231231243.43, Alive = True)
    text = "Hello {{.Name}}. The sum of {{.Numbers}} is {{.Answer}}. My favorite moment in history {{.UnixTimeStamp}}. My favorite number {{.LargeFloat}}. Am I Alive? {{.Alive}}"
    rendered = plan.render_templates({"/foo/bar/output.txt": struct(template = text, data = data)}, name = "my-artifact")
    tree = plan.upload_files("./static")
    one = plan.upload_files("./static/one.txt", name = "one")
    mounts = {"/m": Directory([tree, rendered]), "/again": tree, "/m/below": one, "/etc": one, "/kept": Directory(persistent_key = "k")}
    a = plan.add_service("a", ServiceConfig("box", cmd = ["/lab", "sleep"], files = mounts))
    b = plan.add_service("b", ServiceConfig("box", cmd = ["/lab", "sleep"], files = mounts, user = User(uid = 1000)))

    def sh(service, line):
        return plan.exec(service, ExecRecipe(["sh", "-c", line]))["output"]

    # Merged, with links and permissions; over what the image has there.
    plan.verify(sh("b", "cat /m/one.txt /m/foo/bar/output.txt; cat /m/sub/link"), "==", "one\n" + "` + seedLine + `" + "one\n")
    plan.verify(sh("b", "/m/tool.sh"), "==", "tool\n")
    plan.verify(sh("a", "ls /etc; readlink /m/sub/link; cat /m/below/one.txt"), "==", "hostname\nhosts\none.txt\nresolv.conf\n../one.txt\none\n")

    # Written to by one service, at one place: seen nowhere else.
    sh("a", "echo mine > /m/one.txt; rm /m/tool.sh; echo new > /m/new; echo kept > /kept/x")
    plan.verify(sh("a", "cat /m/one.txt /m/new /again/one.txt"), "==", "mine\nnew\none\n")
    plan.verify(sh("b", "cat /m/one.txt /kept/x; ls /m"), "==", "one\nkept\nbelow\nfoo\none.txt\nsub\ntool.sh\n")

    # Stored: a file under its name, of a directory what is in it.
    sh("a", "ln -s /etc/passwd /m/sub/out; mkfifo /m/sub/pipe")
    for src in ["/m/one.txt", "/m/sub", "/m/sub/*"]:
        plan.store_service_files("a", src, name = "stored" + src.replace("/", "-").replace("*", "all"))
    unnamed = plan.store_service_files("a", "/m/new")
    c = plan.add_service("c", ServiceConfig("box", cmd = ["/lab", "sleep"], files = {"/x": unnamed, "/y": "stored-m-sub-all"}))
    plan.verify(sh("c", "cat /x/new; ls -a /y"), "==", "new\n.\n..\n")
    values = plan.render_templates({"v": struct(template = "{{.ip}} {{.said}}", data = {"ip": a.ip_address, "said": sh("a", "printf 'a \"b\"'")})})
    plan.verify(sh("c", "echo on " + c.name), "==", "on c\n")
    return [tree, unnamed, values, a.ip_address]
`

func TestFilesArtifacts(t *testing.T) {
	w := newWorld(t)
	w.box()
	dir := w.folder("package", map[string]string{"kurtosis.yml": "name: github.com/test/files\n", "main.star": artifactsScript,
		"static/one.txt": "one\n", "static/tool.sh": "#!/bin/sh\necho tool\n", "static/.kurtosisignore": "secret*\n", "static/secret.txt": "x"})
	must(t, os.Chmod(filepath.Join(dir, "static/tool.sh"), 0o755))
	must(t, os.Mkdir(filepath.Join(dir, "static/sub"), 0o755))
	must(t, os.Symlink("../one.txt", filepath.Join(dir, "static/sub/link")))

	events, r := w.events(dir, "--enclave", "e")
	for _, e := range events {
		if e.Error != nil {
			t.Fatalf("%s: %s %v", e.Error.Code, e.Error.Summary, e.Error.Stack)
		}
	}
	if r.code != 0 {
		t.Fatalf("exit %d\n%s", r.code, r.stderr)
	}
	var output []string
	w.decode(events[len(events)-1].Done.Output, &output)
	leftOut := false
	for _, e := range events {
		leftOut = leftOut || e.Kind == run.KindProgress && strings.Contains(e.Progress.Text, `left out of files artifact "stored-m-sub"`)
	}
	if !leftOut {
		t.Error("nothing tells of the link and the pipe that are left out")
	}

	read := func(artifact, file string) string { return w.ok("files", "inspect", "e", artifact, file) }
	for _, c := range []struct{ artifact, file, want string }{
		{"my-artifact", "foo/bar/output.txt", seedLine}, {output[0], "one.txt", "one\n"}, {"one", "one.txt", "one\n"},
		{"stored-m-one.txt", "one.txt", "mine\n"}, {output[1], "new", "new\n"}, {output[2], "v", output[3] + ` a "b"`},
	} {
		if got := read(c.artifact, c.file); got != c.want {
			t.Errorf("%s of %s: got %q", c.file, c.artifact, got)
		}
	}
	w.ok("files", "download", "e", output[0], filepath.Join(w.dir, "down"))
	if target, err := os.Readlink(filepath.Join(w.dir, "down/sub/link")); err != nil || target != "../one.txt" {
		t.Errorf("the link is %q, %v", target, err)
	}
	if info, err := os.Stat(filepath.Join(w.dir, "down/tool.sh")); err != nil || info.Mode() != 0o755 {
		t.Errorf("the tool is %v, %v", info, err)
	}
	if _, err := os.Lstat(filepath.Join(w.dir, "down/secret.txt")); err == nil {
		t.Error("what .kurtosisignore names was uploaded")
	}
	w.artifactsSurvive()
}

// artifactsSurvive kills the engine, and checks that services and artifacts are
// as they were, and that their trees go with the enclave.
func (w *world) artifactsSurvive() {
	w.t.Helper()
	must(w.t, syscall.Kill(w.enginePID(), syscall.SIGKILL))
	sees := func(service, want string) {
		w.t.Helper()
		if got := w.ok("service", "exec", "e", service, "cat /m/one.txt"); got != want {
			w.t.Errorf("%s sees %q", service, got)
		}
	}
	sees("a", "mine\n")
	w.ok("service", "stop", "e", "a", "b")
	w.ok("service", "start", "e", "a", "b")
	sees("a", "mine\n")
	sees("b", "one\n")
	must(w.t, os.WriteFile(filepath.Join(w.dir, "new.txt"), []byte("new"), 0o644))
	w.ok("files", "rm", "e", "one", "my-artifact")
	w.ok("files", "upload", "e", filepath.Join(w.dir, "new.txt"), "--name", "one")
	if got := w.ok("service", "exec", "e", "b", "cat /m/below/one.txt"); got != "one\n" {
		w.t.Errorf("another content of its artifact changed what a service has: %q", got)
	}
	w.ok("enclave", "rm", "-f", "e")
	for _, folder := range []string{"trees", "tmp"} {
		left, err := os.ReadDir(filepath.Join(w.home, "artifacts", folder))
		if err != nil || len(left) > 0 {
			w.t.Errorf("of the artifacts, %s has %v, %v", folder, left, err)
		}
	}
}

// Bad inputs, each with its code and the phase in which it is found.
func TestFilesArtifactsRefused(t *testing.T) {
	w := newWorld(t)
	w.box()
	w.ok("enclave", "add", "--name", "e")
	const interpretation, validation, execution = run.Interpretation, run.Validation, run.Execution
	const service = "    plan.add_service(\"s\", ServiceConfig(\"box\", cmd = [\"/lab\", \"sleep\"]))\n    "
	for i, c := range []struct {
		name, call, code string
		phase            run.PhaseName
	}{
		{"config is no dict", `plan.render_templates([])`, "E0202", interpretation},
		{"file is a dict", `plan.render_templates({"f": {"template": "", "data": {}}})`, "E0202", interpretation},
		{"no data", `plan.render_templates({"f": struct(template = "")})`, "E0202", interpretation},
		{"data is a type", `plan.render_templates({"f": struct(template = "", data = PortSpec(1))})`, "E0202", interpretation},
		{"path outside", `plan.render_templates({"../f": struct(template = "", data = {})})`, "E0202", interpretation},
		{"template", `plan.render_templates({"f": struct(template = "{{", data = {})})`, "E0217", interpretation},
		{"number as number", `plan.render_templates({"f": struct(template = "{{if gt .n 1}}{{end}}", data = {"n": 2})})`, "E0544", execution},
		{"no such value", `plan.render_templates({"f": struct(template = "", data = {"x": "{{kurtosis:` + strings.Repeat("0", 32) + `:code.runtime_value}}"})})`, "E0502", execution},
		{"empty source", `plan.upload_files("")`, "E0202", interpretation},
		{"relative in a script", `plan.upload_files("./x")`, "E0113", interpretation},
		{"scheme", `plan.upload_files("ftp://example.org/x")`, "E0113", interpretation},
		{"no server", `plan.upload_files("http://127.0.0.1:1/x")`, "E0540", validation},
		{"name twice", `plan.render_templates({}, "x"); plan.upload_files("http://127.0.0.1:1/x", "x")`, "E0307", validation},
		{"no such artifact", `plan.get_files_artifact("none")`, "E0304", validation},
		{"mounts what is not there", `plan.add_service("t", ServiceConfig("box", files = {"/x": "none"}))`, "E0304", validation},
		{"mounts what is made later", `plan.add_service("t", ServiceConfig("box", files = {"/x": "late"})); plan.render_templates({}, "late")`, "E0304", validation},
		{"no such service", `plan.store_service_files("none", "/x")`, "E0303", validation},
		{"source is no text", `plan.store_service_files("s", 1)`, "E0202", interpretation},
		{"no such path", `plan.store_service_files("s", "/no/such/path")`, "E0545", execution},
		{"path outside of the root", `plan.store_service_files("s", "/../../../../root/.none")`, "E0545", execution},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := *w
			w.t = t
			problem := w.problem(fmt.Sprintf("def run(plan):\n%s%s\n", service, c.call), "--enclave", "e", "--parallelism", strconv.Itoa(i%3+1))
			if problem.Code != c.code || problem.Phase != c.phase {
				t.Errorf("%s in %s: %s", problem.Code, problem.Phase, problem.Summary)
			}
			if len(problem.Stack) == 0 || problem.Stack[0].Line != 3 {
				t.Errorf("position: %+v", problem.Stack)
			}
		})
	}
}

// largeMegabytes is the size of the large artifact: enough to show if it were
// held in memory. LEPTO_LARGE has another one (make large: 2048).
func largeMegabytes(t *testing.T) int {
	text := os.Getenv("LEPTO_LARGE")
	if text == "" {
		return 256
	}
	n, err := strconv.Atoi(text)
	must(t, err)
	return n
}

// maxMemory is what the engine and the command line may take at most, in bytes.
const maxMemory = 128 << 20

// A large artifact goes up, into a service and down again in constant memory.
func TestLargeArtifactInConstantMemory(t *testing.T) {
	w := newWorld(t)
	w.box()
	w.ok("enclave", "add", "--name", "e")
	size := largeMegabytes(t)
	source := filepath.Join(w.dir, "large")
	sum := noise(t, source, size)
	engine := fmt.Sprintf("/proc/%d/", w.enginePID())
	must(t, os.WriteFile(engine+"clear_refs", []byte("5"), 0)) // resets the peak (proc(5))

	measure := func(args ...string) {
		t.Helper()
		command := w.command(args...)
		began := time.Now()
		if output, err := command.CombinedOutput(); err != nil {
			t.Fatalf("lepto %s: %v\n%s", strings.Join(args, " "), err, output)
		}
		peak := command.ProcessState.SysUsage().(*syscall.Rusage).Maxrss << 10
		t.Logf("%-60s %6.1f s, peak %d MiB", "lepto "+strings.Join(args, " "), time.Since(began).Seconds(), peak>>20)
		if peak > maxMemory {
			t.Errorf("lepto %s took %d MiB", args[1], peak>>20)
		}
	}
	measure("files", "upload", "e", source, "--name", "large")
	must(t, os.Remove(source))
	measure("run", w.script(`
def run(plan):
    plan.add_service("s", ServiceConfig("box", cmd = ["/lab", "sleep"], files = {"/one": "large", "/two": "large"}))
    plan.store_service_files("s", "/two", "copy")
`), "--enclave", "e")
	if has := w.ok("service", "exec", "e", "s", "wc -c < /one/large"); strings.TrimSpace(has) != strconv.Itoa(size<<20) {
		t.Errorf("the service has %s bytes", has)
	}
	measure("files", "download", "e", "large", filepath.Join(w.dir, "down"))
	if got := sumOf(t, filepath.Join(w.dir, "down/large")); got != sum {
		t.Errorf("%s went up, %s came down", sum, got)
	}
	if peak := peakOf(t, engine); peak > maxMemory {
		t.Errorf("the engine took %d MiB", peak>>20)
	} else {
		t.Logf("engine: peak %d MiB, for an artifact of %d MiB", peak>>20, size)
	}
	if trees, err := os.ReadDir(filepath.Join(w.home, "artifacts/trees")); err != nil || len(trees) != 1 {
		t.Errorf("an artifact and a copy of it have %d trees, %v", len(trees), err)
	}
}

// noise writes a file that no compression makes smaller, and gives its sum.
func noise(t *testing.T, path string, megabytes int) string {
	t.Helper()
	file, err := os.Create(path)
	must(t, err)
	sum := sha256.New()
	_, err = io.CopyN(io.MultiWriter(file, sum), rand.NewChaCha8([32]byte{}), int64(megabytes)<<20)
	must(t, err)
	must(t, file.Close())
	return hex.EncodeToString(sum.Sum(nil))
}

func sumOf(t *testing.T, path string) string {
	t.Helper()
	output, err := exec.Command("sha256sum", path).Output()
	must(t, err)
	return strings.Fields(string(output))[0]
}

// peakOf gives the most memory that a process has had, in bytes.
func peakOf(t *testing.T, proc string) int64 {
	t.Helper()
	status, err := os.ReadFile(proc + "status")
	must(t, err)
	for line := range strings.Lines(string(status)) {
		if text, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, err := strconv.ParseInt(strings.Fields(text)[0], 10, 64)
			must(t, err)
			return kib << 10
		}
	}
	t.Fatal("no peak in " + proc)
	return 0
}
