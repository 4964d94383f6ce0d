package create

import (
	"fmt"

	profile "github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runc/libcontainer/specconv"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// filter gives Docker's default system call filter, for processes with the
// given bounding set: some calls are allowed to those with a capability only.
func filter(bounding []string) (*configs.Seccomp, error) {
	spec := &specs.Spec{Process: &specs.Process{
		Capabilities: &specs.LinuxCapabilities{Bounding: bounding},
	}}
	rules, err := profile.GetDefaultProfile(spec)
	if err != nil {
		return nil, fmt.Errorf("seccomp profile: %w", err)
	}
	return specconv.SetupSeccomp(rules)
}
