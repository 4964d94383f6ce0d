package plan

import (
	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/fault"
	"github.com/lepto-dev/lepto/internal/link"
)

// This file holds the checks of what needs subnetworks.

// ShapeLinks is an E0322 where the enclave's backend can't shape the links
// between services, which an instruction is about.
func (f *Forecast) ShapeLinks(instruction string) error {
	if f.canShape() {
		return nil
	}
	return f.noSubnetworks("%s can't be used: subnetwork capabilities are disabled in this enclave", instruction)
}

// CheckSubnetwork is an E0322 where a service is to be in a subnetwork other than
// the default one, and links can't be shaped.
func (f *Forecast) CheckSubnetwork(service, subnetwork string) []error {
	if subnetwork == "" || subnetwork == link.DefaultSubnetwork || f.canShape() {
		return nil
	}
	return []error{f.noSubnetworks("service %q can't be in subnetwork %q: subnetwork capabilities are disabled in this enclave", service, subnetwork)}
}

func (f *Forecast) canShape() bool {
	caps := f.in.Capabilities
	return caps.Abilities == nil || caps.Has(backend.AbilityShapeLinks)
}

func (f *Forecast) noSubnetworks(format string, args ...any) error {
	err := fault.New("E0322", format, args...)
	if why := f.in.Capabilities.Missing[backend.AbilityShapeLinks]; why != "" {
		return err.WithHint("to enable them, run on a host or backend that has them; here: %s", why)
	}
	return err.WithHint("to enable them, use a backend that shapes links, such as native")
}
