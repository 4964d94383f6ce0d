package cli

import (
	"testing"
	"time"

	"github.com/lepto-dev/lepto/internal/enclave"
	"github.com/lepto-dev/lepto/internal/link"
)

func TestFaultState(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	planned := func(applied time.Duration, problem string) enclave.ScheduledFault {
		return enclave.ScheduledFault{Fault: link.Fault{Action: link.Heal}, At: at, Applied: at.Add(applied), Error: problem}
	}
	off := enclave.ScheduledFault{At: at, Cancelled: true}
	for want, f := range map[string]enclave.ScheduledFault{
		"pending, in 1m30s":     {At: at},
		"called off":            off,
		"applied":               planned(20*time.Millisecond, ""),
		"applied, 12.3s late":   planned(12340*time.Millisecond, ""),
		"failed: gone":          planned(time.Millisecond, "gone"),
		"failed, 2s late: gone": planned(2*time.Second, "gone"),
	} {
		if got := faultState(f, at.Add(-90*time.Second)); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
