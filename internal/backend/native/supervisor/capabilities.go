package supervisor

import (
	"slices"
	"strings"

	"github.com/moby/sys/capability"

	"github.com/lepto-dev/lepto/internal/backend/native/supervise"
	"github.com/lepto-dev/lepto/internal/fault"
)

// defaultCapabilities are what Docker gives a container.
var defaultCapabilities = []string{
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD",
	"CAP_NET_RAW", "CAP_SETGID", "CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP",
	"CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE",
}

// available gives the capabilities there are to give, by name: all that the
// kernel knows and this process has. In a machine that is itself confined some
// are missing.
func available() (map[string]capability.Cap, error) {
	known, err := capability.ListSupported()
	if err != nil {
		return nil, err
	}
	own, err := capability.NewPid2(0)
	if err == nil {
		err = own.Load()
	}
	if err != nil {
		return nil, err
	}
	all := map[string]capability.Cap{}
	for _, c := range known {
		if own.Get(capability.BOUNDING, c) && own.Get(capability.PERMITTED, c) {
			all["CAP_"+strings.ToUpper(c.String())] = c
		}
	}
	return all, nil
}

// bounding gives the capabilities that a container's processes can ever have,
// as names and as a set of bits, out of all there are.
func bounding(spec supervise.Spec) (names []string, bits uint64, err error) {
	all, err := available()
	if err != nil {
		return nil, 0, err
	}
	wanted := slices.Clone(defaultCapabilities)
	everything := spec.Privileged
	for _, name := range spec.AddCapabilities {
		full := strings.ToUpper(name)
		if !strings.HasPrefix(full, "CAP_") {
			full = "CAP_" + full
		}
		if full == "CAP_ALL" {
			everything = true
		} else if _, ok := all[full]; !ok {
			return nil, 0, fault.New(supervise.CodeRuntime, "capability %q is not one this host can give", name)
		}
		wanted = append(wanted, full)
	}
	for name, c := range all {
		if everything || slices.Contains(wanted, name) {
			names = append(names, name)
			bits |= 1 << uint(c)
		}
	}
	slices.Sort(names)
	return names, bits, nil
}
