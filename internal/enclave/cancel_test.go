package enclave

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lepto-dev/lepto/internal/backend/memory"
)

// This file tests what is cancelled.

// stubborn runs until it is killed.
func stubborn(ctx context.Context, p *memory.Proc) int {
	p.Notify(15) // SIGTERM
	<-ctx.Done()
	return 1
}

// TestStopThatIsCancelled: the service is as before, and a start of the engine
// does not stop it after all.
func TestStopThatIsCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newTestEnclave(t, program("job", stubborn))
		mustAdd(t, e, "s", ServiceConfig{Image: Image{Ref: "job"}})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := e.StopService(ctx, "s"); err == nil {
			t.Fatal("it was stopped")
		}
		if row := e.serviceRow("s"); row.Stopped || row.Unsettled {
			t.Errorf("its row is %+v", row)
		}
		ctx, cancel = context.WithCancel(t.Context())
		cancel()
		if err := e.RemoveService(ctx, "s"); err == nil || e.serviceRow("s").Phase != phaseDone {
			t.Errorf("a removal that was cancelled before it began: %v, %+v", err, e.serviceRow("s"))
		}
	})
}
