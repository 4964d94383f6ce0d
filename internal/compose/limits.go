package compose

import (
	"fmt"
	"math"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
)

// This file converts what a service may use, and when it counts as ready.

const (
	mebibyte  = 1 << 20
	minMemory = 6 // the least limit that ServiceConfig takes, in MiB
)

// resources adds reservations and limits.
func (c *converter) resources(s types.ServiceConfig, config *call) {
	var reserved, limits types.Resource
	if s.Deploy != nil && s.Deploy.Resources.Reservations != nil {
		reserved = *s.Deploy.Resources.Reservations
	}
	if s.Deploy != nil && s.Deploy.Resources.Limits != nil {
		limits = *s.Deploy.Resources.Limits
	}
	if reserved.MemoryBytes == 0 {
		reserved.MemoryBytes = s.MemReservation
	}
	if limits.NanoCPUs == 0 {
		limits.NanoCPUs = types.NanoCPUs(s.CPUS)
	}
	if limits.MemoryBytes == 0 {
		limits.MemoryBytes = s.MemLimit
	}
	config.add("max_cpu", number(math.Round(float64(limits.NanoCPUs)*1000)))
	explicit := s.Deploy != nil && s.Deploy.Resources.Reservations != nil
	config.addNumber("min_cpu", int64(float64(reserved.NanoCPUs)*1024), explicit)
	if limits.MemoryBytes > 0 {
		config.add("max_memory", number(max(minMemory, (int64(limits.MemoryBytes)+mebibyte-1)/mebibyte)))
	}
	config.addNumber("min_memory", int64(reserved.MemoryBytes)/mebibyte, explicit)
	if limits.Pids > 0 {
		c.remarks.add(s.Name, "deploy.resources.limits.pids", "has no effect: "+unlike["pids_limit"])
	}
	if len(reserved.GenericResources) > 0 {
		c.remarks.add(s.Name, "deploy.resources.reservations.generic_resources", "has no effect")
	}
}

// gpu adds GPUs, and what ServiceConfig has beside them: limits of processes and
// the size of /dev/shm.
func (c *converter) gpu(s types.ServiceConfig, config *call) {
	requests := slices.Clone(s.Gpus)
	if s.Deploy != nil && s.Deploy.Resources.Reservations != nil {
		for _, device := range s.Deploy.Resources.Reservations.Devices {
			if slices.Contains(device.Capabilities, "gpu") {
				requests = append(requests, device)
			} else {
				c.remarks.add(s.Name, "deploy.resources.reservations.devices", "has no effect but for GPUs")
			}
		}
	}
	gpu := call{name: "GpuConfig"}
	if len(requests) > 0 {
		count, driver := 0, ""
		var ids []string
		for _, r := range requests {
			ids, driver = append(ids, r.IDs...), r.Driver
			if r.Count < 0 || len(r.IDs) == 0 && r.Count == 0 {
				count = -1
			} else if count >= 0 {
				count += int(r.Count)
			}
		}
		gpu.add("count", number(count))
		gpu.add("device_ids", list(ids))
		if driver != "" {
			gpu.add("driver", text(driver))
		}
	}
	gpu.add("shm_size", number((int64(s.ShmSize)+mebibyte-1)/mebibyte))
	gpu.add("ulimits", c.ulimits(s))
	if len(gpu.args) > 0 {
		config.add("gpu", gpu)
	}
}

func (c *converter) ulimits(s types.ServiceConfig) dict {
	var out dict
	for _, name := range sorted(s.Ulimits) {
		limit := s.Ulimits[name]
		value := limit.Single
		if value == 0 {
			value = limit.Soft
			if limit.Hard != limit.Soft {
				c.remarks.add(s.Name, "ulimits."+name, "is its soft limit, for the hard one, too", "ulimits", name)
			}
		}
		out = append(out, pair{name, number(value)})
	}
	return out
}

// user adds who runs the service: numbers, since names are known to the image
// alone. Where files are moved to their places by the service itself, that must
// be whom the image says: others may not write there.
func (c *converter) user(s types.ServiceConfig, moves bool, config *call) {
	if s.User == "" {
		return
	}
	name, group, grouped := strings.Cut(s.User, ":")
	uid, uidErr := userNumber(name)
	gid, gidErr := userNumber(group)
	if uidErr != nil || grouped && gidErr != nil {
		c.remarks.add(s.Name, "user", fmt.Sprintf("has no effect: %q is no number, and only numbers can be given; it runs as the image's user", s.User))
		return
	}
	if moves && uid != 0 {
		c.remarks.add(s.Name, "user", "has no effect: the service moves files to their places before its command starts, which needs the image's user")
		return
	}
	if uid != 0 && slices.ContainsFunc(s.Volumes, c.isWritable) {
		c.remarks.add(s.Name, "user", "can't write to files of the package, which belong to root here")
	}
	user := call{name: "User", args: dict{{"uid", uid}}}
	if grouped {
		user.args = append(user.args, pair{"gid", gid})
	}
	config.add("user", user)
}

// isWritable reports whether a volume is a directory of the package that a service
// means to write to.
func (c *converter) isWritable(v types.ServiceVolumeConfig) bool {
	if v.Type != types.VolumeTypeBind || v.ReadOnly || path.IsAbs(v.Source) {
		return false
	}
	info, err := c.root.Stat(filepath.FromSlash(path.Join(c.dir, filepath.ToSlash(v.Source))))
	return err == nil && info.IsDir()
}

func userNumber(name string) (number, error) {
	if name == "root" {
		return 0, nil
	}
	n, err := strconv.ParseUint(name, 10, 31)
	return number(n), err
}

// rights adds what a service may do beyond its container.
func (c *converter) rights(s types.ServiceConfig, config *call) {
	if s.Init != nil {
		config.add("tini_enabled", boolean(*s.Init))
	}
	if s.Tty {
		config.add("tty_enabled", boolean(true))
	}
	var devices list
	for _, d := range s.Devices {
		if d.Source != d.Target && d.Target != "" {
			c.remarks.add(s.Name, "devices", fmt.Sprintf("has %s under its own name, not as %s", d.Source, d.Target))
		}
		devices = append(devices, d.Source)
	}
	config.add("devices", devices)
	config.add("capabilities", list(s.CapAdd))
	if s.Privileged {
		config.add("privileged", boolean(true))
	}
	if s.Pid == "host" {
		config.add("host_pid_namespace", boolean(true))
	} else if s.Pid != "" {
		c.remarks.add(s.Name, "pid", "has no effect: it sees its own processes alone")
	}
}

// ready adds what a service must answer before those start that depend on its
// being healthy. Where none does, its health check changes nothing.
func (c *converter) ready(s types.ServiceConfig, config *call, errs *[]error) {
	check := s.HealthCheck
	if !c.awaited[s.Name] {
		return
	}
	if check == nil || check.Disable || len(check.Test) == 0 || check.Test[0] == "NONE" {
		c.remarks.add(s.Name, "healthcheck", "is not there, and services wait for its being healthy: they wait for its ports instead")
		return
	}
	var command list
	switch check.Test[0] {
	case "CMD":
		command = list(check.Test[1:])
	case "CMD-SHELL":
		command = list{"/bin/sh", "-c", strings.Join(check.Test[1:], " ")}
	}
	if len(command) == 0 {
		*errs = append(*errs, c.bad(s, "healthcheck.test", "begins with none of CMD, CMD-SHELL and NONE, or has no command"))
		return
	}
	duration := func(d *types.Duration, otherwise time.Duration) time.Duration {
		if d == nil || *d <= 0 {
			return otherwise
		}
		return time.Duration(*d)
	}
	const some = 30 * time.Second // Docker's own default of interval and timeout
	interval, tries := duration(check.Interval, some), uint64(3)
	if check.Retries != nil && *check.Retries > 0 {
		tries = min(*check.Retries, 10_000)
	}
	patience := duration(check.StartPeriod, 0) + time.Duration(tries)*(interval+duration(check.Timeout, some))
	recipe := call{name: "ExecRecipe"}
	recipe.add("command", command)
	condition := call{name: "ReadyCondition", args: dict{
		{"recipe", recipe}, {"field", text("code")}, {"assertion", text("==")}, {"target_value", number(0)},
		// Docker asks first after an interval; asking more often finds out sooner.
		{"interval", text(duration(check.StartInterval, min(interval, 2*time.Second)).String())},
		{"timeout", text(patience.String())},
	}}
	config.add("ready_conditions", condition)
}
