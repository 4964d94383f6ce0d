// Package bounds says how long tests wait: on a machine that is many times
// slower than most, such as one that is emulated (test/vm), longer.
//
// It changes nothing of what tests demand. It is for tests alone.
package bounds

import (
	"os"
	"strconv"
	"time"
)

// Patience is how many times longer than on a plain machine things may take:
// LEPTO_TEST_PATIENCE, 1 where that is not set.
func Patience() int {
	if n, err := strconv.Atoi(os.Getenv("LEPTO_TEST_PATIENCE")); err == nil && n > 1 {
		return n
	}
	return 1
}

// Wide gives d times Patience. It is for bounds of what must come, or must not
// take longer than d on a plain machine; not for times that the test itself makes
// pass.
func Wide(d time.Duration) time.Duration { return time.Duration(Patience()) * d }
