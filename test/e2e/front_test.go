package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestFront: the program that users start hands some commands over to all of
// lepto, which it carries. Nobody should notice, with or without a home.
func TestFront(t *testing.T) {
	dir := t.TempDir()
	script := filepath.Join(dir, "a.star")
	must(t, os.WriteFile(script, []byte("def run(plan, args = {}):\n    plan.print(\"hello\")\n"), 0o644))
	home := filepath.Join(dir, "home")
	call := func(stdin string, args ...string) string {
		t.Helper()
		command := exec.Command(lepto, args...)
		command.Env = append(os.Environ(), "LEPTO_HOME="+home, "XDG_CACHE_HOME="+filepath.Join(dir, "cache"))
		command.Stdin = strings.NewReader(stdin)
		output, err := command.CombinedOutput()
		if err != nil {
			t.Fatalf("lepto %v: %v\n%s", args, err, output)
		}
		return string(output)
	}
	contains := func(text, want string) {
		t.Helper()
		if !strings.Contains(text, want) {
			t.Errorf("no %q in:\n%s", want, text)
		}
	}
	for range 2 {
		contains(call("", "plan", script), "The plan is valid")
		contains(call("", "--home", home, "plan", script, "-o", "json"), `"status":`)
		contains(call("def run(plan):\n    plan.print(\"from stdin\")\n", "run", "--dry-run", "-"), "Printing a message")
		contains(call("", "plan", "--help"), "lepto plan TARGET")
		contains(call("", "help", "doctor"), "Check whether services can run")
		contains(call("", "--help"), "doctor")
		contains(call("", "__complete", "plan", script, "--ver"), "--verbosity")
		if names, _ := filepath.Glob(filepath.Join(home, "*")); len(names) > 0 {
			t.Errorf("a plan has made %v", names)
		}
	}
	must(t, os.Mkdir(home, 0o700))
	contains(call("", "plan", script), "The plan is valid")
	if names, _ := filepath.Glob(filepath.Join(home, "bin", "lepto-*", "lepto")); len(names) != 1 {
		t.Errorf("unpacked: %v", names)
	}
	bad := exec.Command(lepto, "plan", filepath.Join(dir, "none.star"))
	if err := bad.Run(); bad.ProcessState == nil || bad.ProcessState.ExitCode() != 1 {
		t.Errorf("the exit code is lost: %v", err)
	}
}
