package recipe

import (
	"errors"
	"maps"
	"slices"

	"github.com/lepto-dev/lepto/internal/fault"
)

// This file finds what is wrong with recipes themselves, whatever they are run on.

// Check tells, before anything runs, which jq queries are none.
func Check(r Recipe) []error {
	var extract map[string]string
	switch r := r.(type) {
	case Exec:
		extract = r.Extract
	case HTTP:
		extract = r.Extract
	}
	var errs []error
	for _, key := range slices.Sorted(maps.Keys(extract)) {
		if _, err := compile(extract[key], &frugal{}); err != nil {
			errs = append(errs, fault.New("E0516", "extract %q: %q is no jq query: %w", key, extract[key], err))
		}
	}
	return errs
}

// hopeless reports whether a try failed for a reason that no other try will not
// meet: what was asked for is wrong by itself.
func hopeless(err error) bool {
	var f *fault.Fault
	return errors.As(err, &f) && slices.Contains([]string{"E0503", "E0508"}, f.Code)
}
