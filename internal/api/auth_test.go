package api_test

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/lepto-dev/lepto/internal/backend/memory"
)

// nobody is a user that owns nothing here.
const nobody = 65534

// asUser runs the test binary as another user's process that asks an URL.
func asUser(t *testing.T, uid uint32, url string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this test needs root, to be somebody else")
	}
	cmd := command(asCaller + "=" + url)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	cmd.Dir = "/"
	out, err := cmd.CombinedOutput()
	if exit, ok := err.(*exec.ExitError); err != nil && !ok {
		t.Fatalf("%v %v", err, exit)
	}
	return string(out)
}

// TestCallersOfLoopback lets other users call the engine and an enclave.
func TestCallersOfLoopback(t *testing.T) {
	c, _ := startEngine(t, testConfig(memory.New(memory.Options{}), tempHome(t)))
	e, err := c.CreateEnclave(t.Context(), "", false)
	if err != nil {
		t.Fatal(err)
	}
	for _, url := range []string{
		"http://" + c.Engine().Loopback + "/engine_api.EngineService/GetEngineInfo",
		"http://" + c.Engine().Loopback + "/lepto.v1.Engine/Info",
		"http://" + e.API + "/api_container_api.ApiContainerService/GetServices",
	} {
		if out := asUser(t, nobody, url); !strings.HasPrefix(out, "403") || !strings.Contains(out, "permission_denied") || !strings.Contains(out, "65534") {
			t.Errorf("%s as nobody: %s", url, out)
		}
		if out := asUser(t, 0, url); !strings.HasPrefix(out, "200") {
			t.Errorf("%s as root: %s", url, out)
		}
	}
}

// TestOwnerBehindSudo lets the user who ran sudo call, and another one not.
func TestOwnerBehindSudo(t *testing.T) {
	t.Setenv("SUDO_UID", "4321")
	t.Setenv("SUDO_GID", "4321")
	home := tempHome(t)
	c, _ := startEngine(t, testConfig(memory.New(memory.Options{}), home))
	url := "http://" + c.Engine().Loopback + "/engine_api.EngineService/GetEngineInfo"
	if out := asUser(t, 4321, url); !strings.HasPrefix(out, "200") {
		t.Errorf("as the owner: %s", out)
	}
	if out := asUser(t, nobody, url); !strings.HasPrefix(out, "403") {
		t.Errorf("as nobody: %s", out)
	}
	for name, want := range map[string]struct {
		uid  uint32
		mode os.FileMode
	}{"": {0, 0o710}, "/engine.sock": {4321, 0o600}, "/images": {0, 0o700}, "/engine.db": {0, 0o600}} {
		info, err := os.Stat(home + name)
		if err != nil {
			t.Fatal(err)
		}
		if uid := info.Sys().(*syscall.Stat_t).Uid; uid != want.uid || info.Mode().Perm() != want.mode {
			t.Errorf("home%s: uid %d, mode %v", name, uid, info.Mode())
		}
	}
}
