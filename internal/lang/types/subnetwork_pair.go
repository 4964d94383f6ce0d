package types

import (
	"errors"
	"fmt"

	"go.starlark.net/starlark"

	"github.com/lepto-dev/lepto/internal/lang"
	"github.com/lepto-dev/lepto/internal/link"
)

// SubnetworkPair is a tuple of two subnetworks.
type SubnetworkPair link.Pair

// Wants names what is taken.
func (*SubnetworkPair) Wants() string { return "tuple of two subnetwork names" }

// UnpackStar reads it.
func (p *SubnetworkPair) UnpackStar(v starlark.Value) error {
	tuple, ok := v.(starlark.Tuple)
	if !ok {
		return fmt.Errorf("must be a tuple, such as (\"a\", \"b\"), not %s", lang.Describe(v))
	}
	if len(tuple) != 2 {
		return fmt.Errorf("should contain exactly 2 subnetwork names, not %d", len(tuple))
	}
	for i, item := range tuple {
		name, ok := starlark.AsString(item)
		if !ok {
			return fmt.Errorf("must have names of subnetworks, not %s", lang.Describe(item))
		}
		if name == "" {
			return errors.New("must not have an empty name")
		}
		p[i] = name
	}
	return nil
}
