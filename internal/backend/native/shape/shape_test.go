package shape

import (
	"testing"
)

func TestProbe(t *testing.T) {
	m := Probe()
	t.Logf("this kernel: %q", m)
	if m == Unable {
		t.Error(WhyUnable)
	}
}
