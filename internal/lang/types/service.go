package types

import (
	"maps"
	"slices"

	"go.starlark.net/starlark"

	"github.com/lepto-dev/lepto/internal/enclave"
	"github.com/lepto-dev/lepto/internal/lang"
	"github.com/lepto-dev/lepto/internal/plan"
)

// Service is a service as a script sees it. Its addresses are future references.
type Service struct {
	_         struct{}             `doc:"A service. Instructions give it; there is seldom a need to make one."`
	Name      string               `star:"name" check:"nonempty" doc:"its name"`
	Hostname  string               `star:"hostname" check:"nonempty" doc:"its host name; known at execution"`
	IPAddress string               `star:"ip_address" check:"nonempty" doc:"its private address; known at execution"`
	Ports     map[string]*PortSpec `star:"ports" doc:"its private ports by id"`
}

// The fields of a service's value slot.
const (
	FieldIP       = "ip_address"
	FieldHostname = "hostname"
)

// NewService makes the Service of a config. valueID is the service's value slot.
func NewService(name, valueID string, ports map[string]*PortSpec) *lang.Object {
	dict := starlark.NewDict(len(ports))
	for _, id := range slices.Sorted(maps.Keys(ports)) { // sorted: a plan must come out the same each time
		setKey(dict, id, ports[id].shown(name))
	}
	return newService(name, valueID, dict)
}

// ExistingService makes the Service of one that an earlier run added.
func ExistingService(name, valueID string, ports map[string]enclave.Port) *lang.Object {
	specs := make(map[string]*PortSpec, len(ports))
	for id, port := range ports {
		specs[id] = portSpecOf(port)
	}
	return NewService(name, valueID, specs)
}

func newService(name, valueID string, ports *starlark.Dict) *lang.Object {
	return lang.Make[Service](
		lang.Field{Name: "name", Value: starlark.String(name)},
		lang.Field{Name: "hostname", Value: starlark.String(plan.Reference(valueID, FieldHostname))},
		lang.Field{Name: "ip_address", Value: starlark.String(plan.Reference(valueID, FieldIP))},
		lang.Field{Name: "ports", Value: ports},
	)
}

// setKey sets an entry of a dict that is new and not frozen: that can't fail.
func setKey(dict *starlark.Dict, key string, value starlark.Value) {
	if err := dict.SetKey(starlark.String(key), value); err != nil {
		panic(err)
	}
}
