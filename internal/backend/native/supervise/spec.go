package supervise

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/fault"
)

// Spec is all a supervisor needs to run a container. Paths are absolute, on the
// host, unless said otherwise.
type Spec struct {
	ID  string `json:"id"`  // unique on the host; letters, digits, "-", "_", "."
	Dir string `json:"dir"` // the container's folder

	Layers []string `json:"layers,omitempty"` // overlay lowerdirs, lowest first; none: an empty root
	Mounts []Mount  `json:"mounts,omitempty"`

	Args     []string `json:"args"`
	Env      []string `json:"env,omitempty"`
	Cwd      string   `json:"cwd,omitempty"`  // in the container; "/" if empty; made if missing
	User     string   `json:"user,omitempty"` // "", uid[:gid] or name[:group], looked up in the container's files
	Hostname string   `json:"hostname,omitempty"`

	ResolvConf string `json:"resolv_conf,omitempty"` // text of /etc/resolv.conf; "" leaves the image's
	Hosts      string `json:"hosts,omitempty"`       // text of /etc/hosts; "" leaves the image's
	NetNS      string `json:"net_ns,omitempty"`      // network namespace to join; "": the host's

	CgroupName string            `json:"cgroup_name"` // below each hierarchy's root, such as "lepto/0123456789ab/db"
	Resources  backend.Resources `json:"resources"`

	Privileged      bool     `json:"privileged,omitempty"`
	HostPID         bool     `json:"host_pid,omitempty"`
	NoInit          bool     `json:"no_init,omitempty"`
	Hold            bool     `json:"hold,omitempty"` // run no command, only the init
	TTY             bool     `json:"tty,omitempty"`
	AddCapabilities []string `json:"add_capabilities,omitempty"` // with or without "CAP_"
	Devices         []string `json:"devices,omitempty"`          // host paths, the same inside

	StopSignal    string `json:"stop_signal,omitempty"` // "SIGTERM", "TERM" or "15"; SIGTERM if empty
	LogBudget     int64  `json:"log_budget,omitempty"`  // bytes of stored output; 16 MiB if 0
	RestartAlways bool   `json:"restart_always,omitempty"`
	// Transient asks that files and directories which were made in the root only
	// to mount something on are removed at the end, where they are still empty.
	Transient bool `json:"transient,omitempty"`
}

// Mount puts a host tree into the container. One of Lower and Bind is set.
type Mount struct {
	Path string `json:"path"` // absolute, in the container
	// Lower are read-only directories, merged, later ones winning. The container
	// sees them writable; what it writes lands in the container's folder.
	Lower []string `json:"lower,omitempty"`
	// Bind is a host directory or file shown as it is.
	Bind     string `json:"bind,omitempty"`
	ReadOnly bool   `json:"read_only,omitempty"`
}

// Phase is the life of a container.
type Phase string

// The phases.
const (
	PhaseStarting Phase = "starting"
	PhaseRunning  Phase = "running"
	PhasePaused   Phase = "paused"
	PhaseExited   Phase = "exited"
	PhaseFailed   Phase = "failed" // it never ran its command
)

// State is what a supervisor has written of its container.
type State struct {
	Phase         Phase        `json:"phase"`
	SupervisorPID int          `json:"supervisor_pid,omitempty"`
	PID           int          `json:"pid,omitempty"`       // of the container's first process, on the host
	PIDStart      uint64       `json:"pid_start,omitempty"` // its start, in clock ticks since boot (proc_pid_stat(5), field 22)
	BootID        string       `json:"boot_id,omitempty"`   // PID means nothing after a reboot
	StartedAt     time.Time    `json:"started_at,omitzero"`
	Exit          backend.Exit `json:"exit"`
	Error         *Failure     `json:"error,omitempty"` // why Phase is failed
	Restarts      int          `json:"restarts,omitempty"`
	Left          bool         `json:"left,omitempty"` // the supervisor was asked to end, and recorded no end of the container
}

// Running reports whether the container's process is there, as far as the
// state tells.
func (s State) Running() bool { return s.Phase == PhaseRunning || s.Phase == PhasePaused }

// Failure is a fault as it travels between processes.
type Failure struct {
	Code    string `json:"code"`
	Summary string `json:"summary"`
	Hint    string `json:"hint,omitempty"`
	Kind    string `json:"kind,omitempty"` // the sentinel it wraps, see kinds
}

// Codes of the faults that starting a container can give.
const (
	CodeRuntime     = "E0400" // anything else
	CodeNotFound    = "E0401" // the command is not there
	CodeNotRunnable = "E0402" // the command can't be executed
	CodeWrongArch   = "E0403" // the command is for another architecture
	CodeUser        = "E0404" // the user or group is unknown
	CodeWorkDir     = "E0405" // the working directory is no directory
	CodeMount       = "E0406" // something can't be mounted
)

// kinds are the sentinels that keep their identity across the socket.
var kinds = map[string]error{
	"not found":   fault.ErrNotFound,
	"exists":      fault.ErrExists,
	"unavailable": fault.ErrUnavailable,
	"unsupported": fault.ErrUnsupported,
	"invalid":     fault.ErrInvalid,
	"not running": fault.ErrNotRunning,
	"timeout":     fault.ErrTimeout,
}

// names of the files in a container's folder.
const (
	fileSpec  = "spec.json"
	fileState = "state.json"
	fileSock  = "sup.sock"
	dirLog    = "log"
	fileLog   = "supervisor.log"
	fileLock  = "lock"
)

// ReadSpec reads a container's spec.json.
func ReadSpec(dir string) (Spec, error) {
	var s Spec
	err := readJSON(filepath.Join(dir, fileSpec), &s)
	return s, err
}

// ReadState reads a container's state.json. fault.ErrNotFound if there is none.
func ReadState(dir string) (State, error) {
	var s State
	err := readJSON(filepath.Join(dir, fileState), &s)
	return s, err
}

// WriteState replaces a container's state.json.
func WriteState(dir string, s State) error {
	return WriteJSON(filepath.Join(dir, fileState), s)
}

func readJSON(path string, v any) error {
	data, err := os.ReadFile(path)
	if os.IsNotExist(err) {
		return fmt.Errorf("%s: %w", path, fault.ErrNotFound)
	}
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// WriteJSON replaces a file in one step, so that a reader, also one after a crash,
// sees the old text or the new one.
func WriteJSON(path string, v any) error {
	data, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		return err
	}
	tmp := path + ".tmp"
	if err := os.WriteFile(tmp, data, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}
