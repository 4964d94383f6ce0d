package supervise

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/lepto-dev/lepto/internal/backend"
)

// RunStep runs a command to its end in a container of its own, as building an
// image does, hands on its output as it comes, and gives its exit code. What
// the command wrote is left in spec.Dir/upper, without the files and
// directories that only served to mount something on. When ctx ends the command
// is killed. In any case nothing is left but the folder.
func RunStep(ctx context.Context, l Launcher, spec Spec, stdout, stderr io.Writer) (int, error) {
	spec.RestartAlways = false
	spec.Transient = true
	h, err := l.Start(ctx, spec)
	if err != nil {
		return 0, err
	}
	done := make(chan struct{})
	var copying sync.WaitGroup
	var copyErr error
	copying.Go(func() {
		q := backend.LogQuery{Follow: true, Tail: -1}
		copyErr = readLogs(ctx, spec.Dir, q, done, func(line backend.LogLine) bool {
			to := stdout
			if line.Stream == backend.Stderr {
				to = stderr
			}
			if to != nil {
				fmt.Fprintln(to, line.Text)
			}
			return true
		})
	})
	exit, err := h.Wait(ctx)
	close(done)
	copying.Wait()
	end, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), time.Minute, errTooLong)
	defer cancel()
	if derr := h.Destroy(end); err == nil {
		err = derr
	}
	if err == nil && copyErr != nil && !errors.Is(copyErr, context.Cause(ctx)) {
		err = copyErr
	}
	return exit.Code, err
}
