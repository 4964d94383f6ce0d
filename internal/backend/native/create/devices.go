package create

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	devices "github.com/opencontainers/cgroups/devices/config"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runc/libcontainer/specconv"
	"golang.org/x/sys/unix"

	"github.com/lepto-dev/lepto/internal/backend/native/supervise"
	"github.com/lepto-dev/lepto/internal/fault"
)

// addDevices sets the device nodes and the cgroup's rules about them.
func addDevices(config *configs.Config, spec supervise.Spec) error {
	for _, d := range specconv.AllowedDevices {
		if d.Path != "" {
			config.Devices = append(config.Devices, d)
		}
		config.Cgroups.Devices = append(config.Cgroups.Devices, &d.Rule)
	}
	if spec.Privileged {
		host, err := hostDevices("/dev")
		if err != nil {
			return fmt.Errorf("list the host's devices: %w", err)
		}
		config.Devices = addMissing(config.Devices, host)
		config.Cgroups.Devices = []*devices.Rule{{
			Type: devices.WildcardDevice, Major: devices.Wildcard, Minor: devices.Wildcard,
			Permissions: "rwm", Allow: true,
		}}
		return nil
	}
	for _, name := range spec.Devices {
		d, err := deviceAt(name)
		if err != nil {
			return fault.New(supervise.CodeRuntime, "device %s: %w", name, errors.Unwrap(err))
		}
		d.Allow = true
		config.Devices = addMissing(config.Devices, []*devices.Device{d})
		config.Cgroups.Devices = append(config.Cgroups.Devices, &d.Rule)
	}
	return nil
}

func addMissing(have, more []*devices.Device) []*devices.Device {
	for _, d := range more {
		if !slices.ContainsFunc(have, func(h *devices.Device) bool { return h.Path == d.Path }) {
			have = append(have, d)
		}
	}
	return have
}

// deviceAt describes a device of the host. Its error wraps the reason alone.
func deviceAt(path string) (*devices.Device, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return nil, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	d := &devices.Device{
		Path:     path,
		FileMode: os.FileMode(st.Mode & 0o777),
		Uid:      st.Uid,
		Gid:      st.Gid,
		Rule: devices.Rule{
			Major:       int64(unix.Major(st.Rdev)),
			Minor:       int64(unix.Minor(st.Rdev)),
			Permissions: "rwm",
		},
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFCHR:
		d.Type = devices.CharDevice
	case unix.S_IFBLK:
		d.Type = devices.BlockDevice
	default:
		return nil, &os.PathError{Op: "stat", Path: path, Err: errors.New("not a device")}
	}
	return d, nil
}

// ownDev are the parts of /dev that a container has of its own.
var ownDev = []string{"/dev/pts", "/dev/shm", "/dev/mqueue", "/dev/fd", "/dev/console"}

// hostDevices lists the devices of the host.
func hostDevices(dir string) ([]*devices.Device, error) {
	var out []*devices.Device
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil && path == dir:
			return err
		case err != nil:
			return nil //nolint:nilerr // gone meanwhile
		case slices.Contains(ownDev, path) && e.IsDir():
			return fs.SkipDir
		case e.Type()&fs.ModeDevice == 0 || slices.Contains(ownDev, path):
			return nil
		}
		if d, err := deviceAt(path); err == nil {
			out = append(out, d)
		}
		return nil
	})
	return out, err
}
