package source

import (
	"fmt"
	"strings"
	"testing"
)

// TestParamsThatMultiply: a small document can stand for any amount of text or of
// work.
func TestParamsThatMultiply(t *testing.T) {
	merged := "a0: &a0 {x: 1}\n"
	for i := 1; i < 60; i++ {
		merged += fmt.Sprintf("a%d: &a%d {<<: [*a%d, *a%d]}\n", i, i, i-1, i-1)
	}
	for name, text := range map[string]string{
		"merged": merged,
		"texts":  "a: &a " + strings.Repeat("x", 100_000) + "\nb: [" + strings.Repeat("*a,", 10_000) + "]\n",
		"lists":  "a: &a [" + strings.Repeat("x,", 2000) + "]\nb: [" + strings.Repeat("*a,", 2000) + "]\n",
	} {
		if _, err := ParamsJSON(text); err == nil || !strings.Contains(err.Error(), "more than") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
