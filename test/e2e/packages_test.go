package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// exec runs a command in a service of the enclave e, and gives what it says.
func (w *world) exec(service string, command ...string) string {
	w.t.Helper()
	return strings.TrimSpace(w.ok(append([]string{"service", "exec", "e", service, "--"}, command...)...))
}

// A directory with a compose file runs: an image built from it, names between
// services, files and directories of the package, variables, order.
func TestComposeRuns(t *testing.T) {
	w := newWorld(t)
	w.box()
	dir := w.folder("app", map[string]string{
		".env":           "GREETING=hello\n",
		"web/Dockerfile": "FROM box\nENV BUILT=yes\n",
		"conf/site.conf": "the site\n", "pages/index.html": "page\n", "db.env": "USER=db\n",
		"compose.yml": `
services:
  Web_1:
    build: ./web
    container_name: web
    depends_on: [db]
    command: sh -c "sleep 1000"
    environment: {GREETING: "${GREETING}"}
    volumes:
      - ./conf/site.conf:/etc/site.conf:ro
      - ./pages:/pages
      - data:/data
  db:
    image: box
    entrypoint: ["/lab", "serve", "6000"]
    ports: ["6000"]
    env_file: db.env
volumes: {data: {}}
`})
	w.ok("run", dir, "--enclave", "e")
	for want, command := range map[string][]string{
		"the site": {"cat", "/etc/site.conf"}, "page": {"cat", "/pages/index.html"},
		"hello yes": {"sh", "-c", "echo $GREETING $BUILT"},
		"kept":      {"sh", "-c", "echo kept > /data/x; cat /data/x"},
		"found":     {"sh", "-c", "nslookup db >/dev/null && echo found"},
	} {
		if got := w.exec("web", command...); got != want {
			t.Errorf("%v gives %q, want %q", command, got, want)
		}
	}
	if got := w.exec("db", "sh", "-c", "echo $USER"); got != "db" {
		t.Errorf("env_file: %q", got)
	}
}

// A package of a repository runs with what it imports and uploads, all fetched
// with git; a mirror stands for the network.
func TestRepositoryRuns(t *testing.T) {
	w := newWorld(t)
	w.box()
	remote := w.folder("remote", map[string]string{
		"me/app.git/kurtosis.yml": "name: github.com/me/app\n",
		"me/app.git/main.star": `
words = import_module("github.com/me/words/lib/words.star@v1")

def run(plan, name):
    files = plan.upload_files("github.com/me/words/data@v1", name = "words")
    plan.add_service("a", ServiceConfig(image = "box", entrypoint = ["sleep", "1000"], files = {"/words": files}))
    result = plan.exec("a", ExecRecipe(command = ["cat", "/words/word.txt"]))
    return words.greet(name) + result["output"]
`,
		"me/words.git/kurtosis.yml":      "name: github.com/me/words\n",
		"me/words.git/lib/words.star":    "greeting = read_file(\"../data/greeting.txt\")\n\ndef greet(name):\n    return greeting.strip() + \" \" + name + \", \"\n",
		"me/words.git/data/word.txt":     "word",
		"me/words.git/data/greeting.txt": "hello\n",
	})
	for _, name := range []string{"me/app.git", "me/words.git"} {
		out, err := exec.Command("sh", "-c", `cd "$0" && git init -q && git add . && git -c user.name=t -c user.email=t@example.org commit -qm one && git tag v1`,
			filepath.Join(remote, name)).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	w.ok("engine", "start") // before anyone tells it where repositories are
	w.extra = []string{"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=url.file://" + remote + "/.insteadOf", "GIT_CONFIG_VALUE_0=https://github.com/"}
	if out := w.ok("run", "github.com/me/app@v1", "name: you", "--enclave", "e"); !strings.Contains(out, "hello you, word") {
		t.Errorf("from git: %s", out)
	}
	w.extra = nil
	mirror := filepath.Join(w.dir, "mirror", "github.com")
	must(t, os.MkdirAll(mirror, 0o755))
	must(t, os.Rename(filepath.Join(remote, "me"), filepath.Join(mirror, "me")))
	if out := w.ok("run", "github.com/me/app", "name: others", "--package-mirror", filepath.Dir(mirror), "--enclave", "f"); !strings.Contains(out, "hello others, word") {
		t.Errorf("from a mirror: %s", out)
	}
}
