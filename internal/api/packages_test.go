package api_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	corewire "github.com/kurtosis-tech/kurtosis/api/golang/core/kurtosis_core_rpc_api_bindings"

	"github.com/lepto-dev/lepto/internal/api/client"
	"github.com/lepto-dev/lepto/internal/backend/memory"
	"github.com/lepto-dev/lepto/internal/source"
)

// folder writes files into a new directory.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// runPackage runs a package as SDKs do, and gives what its instructions said and
// its errors.
func runPackage(t *testing.T, core corewire.ApiContainerServiceClient, args *corewire.RunStarlarkPackageArgs) string {
	t.Helper()
	stream, err := core.RunStarlarkPackage(t.Context(), args)
	if err != nil {
		t.Fatal(err)
	}
	var said []string
	for {
		line, err := stream.Recv()
		if err != nil {
			return strings.Join(said, "\n")
		}
		if result := line.GetInstructionResult(); result != nil {
			said = append(said, result.GetSerializedInstructionResult())
		}
		if failed := line.GetError(); failed != nil {
			said = append(said, failed.String())
		}
	}
}

// SDKs send a package and what it replaces by paths, or name one that the engine
// fetches: from the mirror of its environment, since they can't name one.
func TestPackagesOfSDKs(t *testing.T) {
	say := func(text string) string { return "def run(plan):\n    plan.print(\"" + text + "\")\n" }
	mirror := folder(t, map[string]string{
		"github.com/x/remote/kurtosis.yml":     "name: github.com/x/remote\n",
		"github.com/x/remote/main.star":        say("remote"),
		"github.com/x/remote@v1/kurtosis.yml":  "name: github.com/x/remote\n",
		"github.com/x/remote@v1/main.star":     say("version 1"),
		"github.com/x/remote/sub/kurtosis.yml": "name: github.com/x/remote/sub\n",
		"github.com/x/remote/sub/other.star":   say("other main"),
		"github.com/x/replaced/kurtosis.yml":   "name: github.com/x/replaced\n",
		"github.com/x/replaced/lib.star":       "text = \"of the mirror\"\n",
	})
	t.Setenv(source.MirrorVariable, mirror)
	c, _ := startEngine(t, testConfig(memory.New(memory.Options{}), tempHome(t)))
	e, err := c.CreateEnclave(t.Context(), "sdk", false)
	if err != nil {
		t.Fatal(err)
	}
	core := corewire.NewApiContainerServiceClient(dialGRPC(t, e.API))
	yes, no := true, false
	mainFile := "other.star"
	uses := "lib = import_module(\"github.com/x/replaced/lib.star\")\n\ndef run(plan):\n    plan.print(lib.text)\n"

	for _, step := range []struct {
		name string
		send map[string]map[string]string // files by package id
		args *corewire.RunStarlarkPackageArgs
		want string
	}{
		{"clone", nil, &corewire.RunStarlarkPackageArgs{PackageId: "github.com/x/remote", ClonePackage: &yes}, "remote"},
		{"clone a version", nil, &corewire.RunStarlarkPackageArgs{PackageId: "github.com/x/remote@v1", ClonePackage: &yes}, "version 1"},
		{"clone with a main file", nil, &corewire.RunStarlarkPackageArgs{PackageId: "github.com/x/remote/sub", ClonePackage: &yes, RelativePathToMainFile: &mainFile}, "other main"},
		{"nothing to clone", nil, &corewire.RunStarlarkPackageArgs{PackageId: "github.com/x/none", ClonePackage: &yes}, "not in the package mirror"},
		{"replaced by a path", map[string]map[string]string{
			"github.com/me/app":     {"kurtosis.yml": "name: github.com/me/app\nreplace:\n  github.com/x/replaced: ../local\n", "main.star": uses},
			"github.com/x/replaced": {"lib.star": "text = \"sent along\"\n"},
		}, &corewire.RunStarlarkPackageArgs{PackageId: "github.com/me/app", ClonePackage: &no}, "sent along"},
		{"replaced no more", map[string]map[string]string{
			"github.com/me/app": {"kurtosis.yml": "name: github.com/me/app\n", "main.star": uses},
		}, &corewire.RunStarlarkPackageArgs{PackageId: "github.com/me/app", ClonePackage: &no}, "of the mirror"},
		{"a path that was not sent", map[string]map[string]string{
			"github.com/me/two": {"kurtosis.yml": "name: github.com/me/two\nreplace:\n  github.com/x/remote: /etc\n", "main.star": say("two")},
		}, &corewire.RunStarlarkPackageArgs{PackageId: "github.com/me/two", ClonePackage: &no}, "two"},
		{"without a manifest", map[string]map[string]string{
			"github.com/me/none": {"main.star": say("none")},
		}, &corewire.RunStarlarkPackageArgs{PackageId: "github.com/me/none", ClonePackage: &no}, "has no kurtosis.yml"},
	} {
		for id, files := range step.send {
			upload(t, core, id, archive(t, folder(t, files)))
		}
		if said := runPackage(t, core, step.args); !strings.Contains(said, step.want) {
			t.Errorf("%s: got %q, want %q", step.name, said, step.want)
		}
	}

	// The command line's own mirror wins over the engine's.
	other := folder(t, map[string]string{"github.com/x/remote/kurtosis.yml": "name: github.com/x/remote\n", "github.com/x/remote/main.star": say("another mirror")})
	var said string
	for event, err := range c.Run(t.Context(), client.RunRequest{Enclave: e.Name, Locator: "github.com/x/remote", PackageMirror: other}) {
		if err != nil {
			t.Fatal(err)
		}
		if event.Result != nil {
			said = event.Result.Text
		}
	}
	if said != "another mirror" {
		t.Errorf("with a mirror of its own: %q", said)
	}
	for _, err := range c.Run(t.Context(), client.RunRequest{Enclave: e.Name, Locator: "github.com/x/remote", PackageMirror: "relative"}) {
		if err == nil || !strings.Contains(err.Error(), "not absolute") {
			t.Errorf("a relative mirror: %v", err)
		}
	}
}
