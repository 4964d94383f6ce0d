package cli

import (
	"context"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/lepto-dev/lepto/internal/api/client"
)

var update = flag.Bool("update", false, "write the golden parts of the scripts anew")

// TestMain lets scripts call lepto: this test binary, under that name. The
// engine that it starts is this binary too.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"lepto": func() {
			completeTimeout = time.Minute
			os.Exit(Main("1.2.3-test", os.Args[1:]))
		},
	})
}

// TestScripts runs testdata/script: the command line as a user sees it, with an
// engine of its own for each script, on the memory backend.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			home := filepath.Join(env.WorkDir, "home")
			env.Setenv("LEPTO_HOME", home)
			env.Setenv("LEPTO_BACKEND", "memory")
			env.Setenv("LEPTO_LOOPBACK", "off")
			env.Setenv("TZ", "UTC")
			// With the race detector a program waits at its end, a second if not told
			// otherwise: every command of every script would.
			env.Setenv("GORACE", "atexit_sleep_ms=0")
			env.Defer(func() {
				ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
				defer cancel()
				if _, err := client.StopEngine(ctx, home); err != nil {
					t.Errorf("stop the script's engine: %v", err)
				}
			})
			return nil
		},
	})
}
