package build

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/lepto-dev/lepto/internal/fault"
)

// maxRange bounds how many ports one EXPOSE may name.
const maxRange = 1 << 12

// portsOf reads a word of EXPOSE: PORT[-PORT][/PROTOCOL].
func portsOf(word string) ([]string, error) {
	bad := fault.New("E0415", "%q is no port", word).WithHint("for example EXPOSE 8080, or EXPOSE 53/udp")
	numbers, proto, _ := strings.Cut(word, "/")
	if proto = strings.ToLower(proto); proto == "" {
		proto = "tcp"
	}
	if proto != "tcp" && proto != "udp" && proto != "sctp" {
		return nil, bad
	}
	from, to, isRange := strings.Cut(numbers, "-")
	first, err := strconv.ParseUint(from, 10, 16)
	if err != nil || first == 0 {
		return nil, bad
	}
	last := first
	if isRange {
		if last, err = strconv.ParseUint(to, 10, 16); err != nil || last < first || last-first > maxRange {
			return nil, bad
		}
	}
	var out []string
	for p := first; p <= last; p++ {
		out = append(out, fmt.Sprintf("%d/%s", p, proto))
	}
	return out, nil
}
