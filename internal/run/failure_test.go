package run

import (
	"strings"
	"testing"
)

// TestHintsOfTasksThatAreGone: nobody is sent to a container that was removed.
func TestHintsOfTasksThatAreGone(t *testing.T) {
	for policy, want := range map[OnFailure]bool{KeepFailed: true, RemoveFailed: false} {
		r := newRerunner(t)
		req := script(body(`plan.run_sh(name = "t", run = "exit 3", image = "pause")` + "\n"))
		req.OnFailure = policy
		errs := errorsOf(gather(t, r.r, r.e, req))
		if len(errs) != 1 || strings.Contains(errs[0].Hint, "lepto service shell home t") != want || (errs[0].Service == "t") != want || len(r.e.Services()) == 1 != want {
			t.Errorf("%s: %+v", policy, errs)
		}
	}
}
