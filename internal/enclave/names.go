package enclave

import (
	"fmt"
	"regexp"
	"sync"

	"github.com/lepto-dev/lepto/internal/fault"
)

// This file checks and makes the names of enclaves, and finds things by identifier.

// namePattern leaves room for a prefix within the 63 bytes of a host name.
var namePattern = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[-A-Za-z0-9]{1,60}$`) })

// CheckName refuses what is no name of an enclave: an E0340.
func CheckName(name string) error {
	if namePattern().MatchString(name) {
		return nil
	}
	return fault.New("E0340", "enclave name %q is not allowed", name).
		WithHint("a name has 1 to 60 letters, digits and '-'")
}

// nameTries is how many random names are tried before one gets a number.
const nameTries = 5

// RandomName makes a name such as "quiet-river" that is not taken. random gives
// a number below n.
func RandomName(random func(n int) int, taken func(string) bool) string {
	var name string
	for range nameTries {
		name = adjectives[random(len(adjectives))] + "-" + nouns[random(len(nouns))]
		if !taken(name) {
			return name
		}
	}
	for i := 1; ; i++ {
		if numbered := fmt.Sprintf("%s-%d", name, i); !taken(numbered) {
			return numbered
		}
	}
}

// find resolves an identifier among things: full UUID, short UUID, then name.
// Two that fit at one level are an E0343; none is fault.ErrNotFound.
func find(kind, identifier string, things []Identifier) (Identifier, error) {
	levels := []func(Identifier) string{
		func(i Identifier) string { return i.UUID },
		Identifier.Short,
		func(i Identifier) string { return i.Name },
	}
	for _, level := range levels {
		var found []Identifier
		for _, thing := range things {
			if level(thing) == identifier {
				found = append(found, thing)
			}
		}
		switch len(found) {
		case 0:
		case 1:
			return found[0], nil
		default:
			var lines []string
			for _, f := range found {
				lines = append(lines, f.UUID+"  "+f.Name)
			}
			return Identifier{}, fault.New("E0343", "%s %q is ambiguous: %d of them fit", kind, identifier, len(found)).
				WithEvidence("they are", lines...).WithHint("use the full UUID")
		}
	}
	return Identifier{}, fault.ErrNotFound
}

// missing makes the fault of a thing that is not there.
func missing(code, kind, identifier string, names []string) *fault.Fault {
	err := fault.New(code, "%s %q does not exist", kind, identifier)
	err.Cause = fault.ErrNotFound
	if near := fault.Nearest(identifier, names); near != "" {
		return err.WithHint("did you mean %q?", near)
	}
	return err
}
