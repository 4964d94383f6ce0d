package api_test

import (
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/lepto-dev/lepto/internal/backend/memory"
)

// nobody is a user that owns nothing here.
const nobody = 65534

// asUser runs the test binary as another user's process that asks URLs, and
// gives its lines, one for each.
func asUser(t *testing.T, uid uint32, urls ...string) []string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this test needs root, to be somebody else")
	}
	cmd := command(asCaller + "=" + strings.Join(urls, " "))
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	cmd.Dir = "/"
	out, err := cmd.CombinedOutput()
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if err != nil || len(lines) != len(urls) {
		t.Fatalf("as user %d: %v: %s", uid, err, out)
	}
	return lines
}

// TestCallersOfLoopback lets other users call the engine and an enclave.
func TestCallersOfLoopback(t *testing.T) {
	c, _ := startEngine(t, testConfig(memory.New(memory.Options{}), tempHome(t)))
	e, err := c.CreateEnclave(t.Context(), "", false)
	if err != nil {
		t.Fatal(err)
	}
	urls := []string{
		"http://" + c.Engine().Loopback + "/engine_api.EngineService/GetEngineInfo",
		"http://" + c.Engine().Loopback + "/lepto.v1.Engine/Info",
		"http://" + e.API + "/api_container_api.ApiContainerService/GetServices",
	}
	for i, line := range asUser(t, nobody, urls...) {
		if !strings.HasPrefix(line, "403") || !strings.Contains(line, "permission_denied") || !strings.Contains(line, "65534") {
			t.Errorf("%s as nobody: %s", urls[i], line)
		}
	}
	for i, line := range asUser(t, 0, urls...) {
		if !strings.HasPrefix(line, "200") {
			t.Errorf("%s as root: %s", urls[i], line)
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
	if line := asUser(t, 4321, url)[0]; !strings.HasPrefix(line, "200") {
		t.Errorf("as the owner: %s", line)
	}
	if line := asUser(t, nobody, url)[0]; !strings.HasPrefix(line, "403") {
		t.Errorf("as nobody: %s", line)
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
