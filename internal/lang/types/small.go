package types

import (
	"errors"
	"fmt"

	"go.starlark.net/starlark"

	"github.com/lepto-dev/lepto/internal/enclave"
	"github.com/lepto-dev/lepto/internal/lang"
)

// This file defines the small types that only other types hold.

// User is who a service's processes run as.
type User struct {
	_   struct{} `doc:"Who a service's processes run as."`
	UID *int64   `star:"uid" check:"range=0..9223372036854775807" doc:"user id"`
	GID *int64   `star:"gid,?" check:"range=0..9223372036854775807" doc:"group id"`
}

// Toleration lets a pod run on tainted nodes.
type Toleration struct {
	_        struct{} `doc:"Lets a service run on tainted nodes of a Kubernetes cluster; other backends ignore it."`
	Key      string   `star:"key,?" check:"nonempty" doc:"the taint's key; every key if not given"`
	Operator string   `star:"operator,?" check:"enum=Exists|Equal" doc:"how the value compares"`
	Value    string   `star:"value,?" doc:"the taint's value"`
	Effect   string   `star:"effect,?" check:"enum=NoSchedule|NoExecute|PreferNoSchedule" doc:"which effect is tolerated; all if not given"`
	Seconds  *int64   `star:"toleration_seconds,?" doc:"how long NoExecute is tolerated"`
}

// Validate checks the combination.
func (t *Toleration) Validate() error {
	switch {
	case t.Key == "" && t.Operator != "Exists":
		return errors.New(`without a key needs the operator "Exists"`)
	case t.Operator == "Exists" && t.Value != "":
		return errors.New(`with the operator "Exists" can't have a value`)
	}
	return nil
}

func (t *Toleration) enclave() enclave.Toleration {
	return enclave.Toleration{Key: t.Key, Operator: t.Operator, Value: t.Value, Effect: t.Effect, Seconds: t.Seconds}
}

// StoreSpec is a path of a task to keep as a files artifact.
type StoreSpec struct {
	_    struct{} `doc:"A path of a task to keep as a files artifact."`
	Src  string   `star:"src" check:"nonempty" doc:"the path in the task's container"`
	Name string   `star:"name,?" check:"nonempty" doc:"the artifact's name; made up if not given"`
}

// GpuConfig asks for GPUs, and for what programs on them need.
type GpuConfig struct {
	_         struct{}         `doc:"GPUs of a service, and the limits that programs on them need raised."`
	Count     int64            `star:"count,?" doc:"how many; -1: all"`
	DeviceIDs []string         `star:"device_ids,?" doc:"which ones"`
	ShmSize   *uint64          `star:"shm_size,?" check:"min=0" doc:"size of /dev/shm in megabytes"`
	Ulimits   map[string]int64 `star:"ulimits,?" doc:"limits by name, soft and hard; -1: none"`
	Driver    GpuDriver        `star:"driver,?,deep" doc:"nvidia if not given"`
}

// gpus gives how many GPUs are asked for; -1 is all.
func (g *GpuConfig) gpus() int {
	if g.Count == 0 {
		return len(g.DeviceIDs)
	}
	return int(g.Count)
}

// GpuDriver is a driver's name, or one per backend.
type GpuDriver struct{ Docker, Kubernetes string }

// Wants names what is taken.
func (*GpuDriver) Wants() string { return "string, or dict with docker and kubernetes" }

// UnpackStar reads it.
func (g *GpuDriver) UnpackStar(v starlark.Value) error {
	if name, ok := starlark.AsString(v); ok {
		if name == "" {
			return errors.New("must not be empty")
		}
		*g = GpuDriver{Docker: name, Kubernetes: name + ".com/gpu"}
		return nil
	}
	dict, ok := v.(*starlark.Dict)
	if !ok {
		return fmt.Errorf("must be a name or a dict of names, not %s", lang.Describe(v))
	}
	*g = GpuDriver{Docker: "nvidia", Kubernetes: "nvidia.com/gpu"}
	for _, item := range dict.Items() {
		key, _ := starlark.AsString(item[0])
		name, ok := starlark.AsString(item[1])
		if !ok || name == "" {
			return fmt.Errorf("must have a name for %s", item[0])
		}
		switch key {
		case "docker":
			g.Docker = name
		case "kubernetes":
			g.Kubernetes = name
		default:
			return fmt.Errorf("has the key %s; the keys are docker and kubernetes", item[0])
		}
	}
	return nil
}
