package cli

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// This file is about commands that take several names.

// forAll does something for each distinct name, whatever fails, and gives all
// errors.
func forAll(names []string, do func(name string) error) error {
	var errs []error
	for _, name := range distinct(names) {
		errs = append(errs, do(name))
	}
	return errors.Join(errs...)
}

// distinct drops repeats and keeps the order.
func distinct(names []string) []string {
	seen := make(map[string]bool, len(names))
	var out []string
	for _, name := range names {
		if !seen[name] {
			seen[name] = true
			out = append(out, name)
		}
	}
	return out
}

// named says which of several things an error is about, where it does not say:
// errors quote the names that users gave.
func named(what string, err error) error {
	if strings.Contains(err.Error(), strconv.Quote(what)) {
		return err
	}
	return fmt.Errorf("%s: %w", what, err)
}
