package supervise

import (
	"maps"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/lepto-dev/lepto/internal/fault"
)

// Ulimit is a resource limit, soft and hard alike.
type Ulimit struct {
	Type  int // RLIMIT_…
	Value uint64
}

// ulimitTypes are the names that Docker's ulimits have.
var ulimitTypes = map[string]int{
	"as": unix.RLIMIT_AS, "core": unix.RLIMIT_CORE, "cpu": unix.RLIMIT_CPU,
	"data": unix.RLIMIT_DATA, "fsize": unix.RLIMIT_FSIZE, "locks": unix.RLIMIT_LOCKS,
	"memlock": unix.RLIMIT_MEMLOCK, "msgqueue": unix.RLIMIT_MSGQUEUE, "nice": unix.RLIMIT_NICE,
	"nofile": unix.RLIMIT_NOFILE, "nproc": unix.RLIMIT_NPROC, "rss": unix.RLIMIT_RSS,
	"rtprio": unix.RLIMIT_RTPRIO, "rttime": unix.RLIMIT_RTTIME,
	"sigpending": unix.RLIMIT_SIGPENDING, "stack": unix.RLIMIT_STACK,
}

// ParseUlimits reads backend.Resources.Ulimits, in the order of their names.
func ParseUlimits(ulimits map[string]int64) ([]Ulimit, error) {
	var out []Ulimit
	for _, name := range slices.Sorted(maps.Keys(ulimits)) {
		kind, ok := ulimitTypes[strings.ToLower(name)]
		if !ok {
			return nil, fault.New(CodeRuntime, "ulimit %q is not known", name)
		}
		value := uint64(ulimits[name])
		if ulimits[name] < 0 {
			value = unix.RLIM_INFINITY
		}
		out = append(out, Ulimit{kind, value})
	}
	return out, nil
}
