package create

import (
	"encoding/json"
	"fmt"
	"os"

	profile "github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runc/libcontainer/seccomp"
	"github.com/opencontainers/runc/libcontainer/specconv"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// Filter reads the names of capabilities from stdin, puts this thread under the
// system call filter that goes with them, says so with a byte on stdout, and
// stays until descriptor 3 closes, for the supervisor to read the filter off it:
// libcontainer gives none out. It gives the exit code.
func Filter() int {
	var bounding []string
	err := json.NewDecoder(os.Stdin).Decode(&bounding)
	var config *configs.Seccomp
	if err == nil {
		config, err = filter(bounding)
	}
	if err == nil {
		_, err = seccomp.InitSeccomp(config)
	}
	if err == nil {
		_, err = os.Stdout.Write([]byte{1})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "lepto-create: filter:", err)
		return 1
	}
	_, _ = os.NewFile(3, "done").Read(make([]byte, 1)) // ends with the reader, whatever it says
	return 0
}

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
