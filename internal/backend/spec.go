package backend

import (
	"io"
	"net/netip"
	"time"
)

// This file defines the values that cross the contract.

// Capabilities say, as data, what a backend can do on this host.
type Capabilities struct {
	Backend      string             `json:"backend"`
	Abilities    map[Ability]bool   `json:"abilities"`
	Limits       Limits             `json:"limits"`
	Missing      map[Ability]string `json:"missing,omitempty"` // why an ability is absent
	Architecture string             `json:"architecture"`      // GOARCH of images that run
}

// Has reports an ability.
func (c Capabilities) Has(a Ability) bool { return c.Abilities[a] }

// An Ability is one optional thing a backend may do.
type Ability string

// The abilities. A backend lists each of them, true or false.
const (
	AbilityPullImages     Ability = "pull-images"
	AbilityBuildImages    Ability = "build-images"
	AbilityImageStore     Ability = "image-store"
	AbilityPause          Ability = "pause"
	AbilityPublishTCP     Ability = "publish-tcp"
	AbilityPublishUDP     Ability = "publish-udp"
	AbilityTTY            Ability = "tty"
	AbilityMemoryLimit    Ability = "memory-limit"
	AbilityCPULimit       Ability = "cpu-limit"
	AbilityDevices        Ability = "devices"
	AbilityGPU            Ability = "gpu"
	AbilityPrivileged     Ability = "privileged"
	AbilityPersistent     Ability = "persistent-directories"
	AbilityShapeLinks     Ability = "shape-links"
	AbilitySnapshot       Ability = "snapshot"
	AbilityHostPublicPort Ability = "fixed-public-ports"
)

// Limits are the capacity of the host. Zero means unknown.
type Limits struct {
	CPUMillis   uint64 `json:"cpu_millis"`
	MemoryBytes uint64 `json:"memory_bytes"`
}

// EnclaveSpec says how to make an enclave.
type EnclaveSpec struct {
	ID   EnclaveID `json:"id"`
	Name string    `json:"name"`
	// LogBudget bounds the bytes of stored log of the whole enclave; the oldest
	// go first. 0 means the backend's default.
	LogBudget int64 `json:"log_budget,omitempty"`
}

// Address is where a service is in its enclave's network.
type Address struct {
	IP      netip.Addr   `json:"ip"`
	Subnet  netip.Prefix `json:"subnet"`
	Gateway netip.Addr   `json:"gateway"`
}

// ServiceSpec is all a backend needs to run a service. Placeholders are
// substituted and references resolved. The zero value of a field means the
// image's own setting, or none. Durable: it is written as JSON.
type ServiceSpec struct {
	Name  ServiceName `json:"name"`
	UUID  string      `json:"uuid"`
	Image string      `json:"image"` // a reference known to the backend
	// Wrapper, if any, is put before the command that entrypoint and cmd, of spec
	// and image, make: a program that does something first and becomes it then.
	Wrapper    []string          `json:"wrapper,omitempty"`
	Entrypoint []string          `json:"entrypoint,omitempty"`
	Cmd        []string          `json:"cmd,omitempty"`
	Env        map[string]string `json:"env,omitempty"`
	WorkDir    string            `json:"work_dir,omitempty"`
	User       string            `json:"user,omitempty"`     // "uid[:gid]" or "name[:group]"
	Hostname   string            `json:"hostname,omitempty"` // the service's name if empty
	Labels     map[string]string `json:"labels,omitempty"`

	Publish []Publish `json:"publish,omitempty"`
	Mounts  []Mount   `json:"mounts,omitempty"`

	NoInit bool `json:"no_init,omitempty"` // run the command as PID 1, with no init before it
	// Hold runs no command: what runs is an init that waits until it is stopped
	// and ends with code 0. What is to be done in the service comes by Exec.
	// Entrypoint and Cmd only say, to who looks at it, what that will be.
	Hold            bool      `json:"hold,omitempty"`
	TTY             bool      `json:"tty,omitempty"`
	Privileged      bool      `json:"privileged,omitempty"`
	HostPID         bool      `json:"host_pid,omitempty"`
	AddCapabilities []string  `json:"add_capabilities,omitempty"` // "NET_ADMIN" or "CAP_NET_ADMIN"
	Devices         []string  `json:"devices,omitempty"`          // host paths, the same inside
	Resources       Resources `json:"resources"`
	// RestartAlways restarts the process when it ends, with back-off (production mode).
	RestartAlways bool `json:"restart_always,omitempty"`
}

// Resources bound a service. Zero means no bound, except where said.
type Resources struct {
	CPUMillis   uint64           `json:"cpu_millis,omitempty"`   // thousandths of a core
	MemoryBytes uint64           `json:"memory_bytes,omitempty"` // with swap: no more than this
	PidsLimit   int64            `json:"pids_limit,omitempty"`
	ShmBytes    uint64           `json:"shm_bytes,omitempty"` // size of /dev/shm; 64 MiB if 0
	Ulimits     map[string]int64 `json:"ulimits,omitempty"`   // "nofile": 1024, soft = hard; -1 unlimited
}

// Publish asks for a port of the service to be reachable from the host.
type Publish struct {
	ID       string     `json:"id"` // the port's id, unique in the service
	Port     uint16     `json:"port"`
	Proto    Transport  `json:"proto"`
	HostIP   netip.Addr `json:"host_ip"`             // 127.0.0.1 if unset
	HostPort uint16     `json:"host_port,omitempty"` // 0: any free one
}

// Transport is a transport protocol.
type Transport string

// The transport protocols.
const (
	TCP  Transport = "tcp"
	UDP  Transport = "udp"
	SCTP Transport = "sctp"
)

// Mount puts files into a service. Exactly one source is set.
type Mount struct {
	Path string `json:"path"` // absolute, in the service
	// Trees are read-only directories on the engine's host, merged, later ones
	// winning. The service sees them writable; its writes stay its own.
	Trees []string `json:"trees,omitempty"`
	// PersistentKey names a directory of the enclave that outlives the service.
	PersistentKey string `json:"persistent_key,omitempty"`
	// HostPath is bound as it is (privileged mode's allow-list only).
	HostPath string `json:"host_path,omitempty"`
}

// State is the life of a service's process.
type State string

// The states. A reserved name without a process is no service yet.
const (
	StateRunning State = "running"
	StatePaused  State = "paused"
	StateExited  State = "exited" // ended, by itself or by Stop
)

// Status is what a backend knows of a service now.
type Status struct {
	Name      ServiceName `json:"name"`
	UUID      string      `json:"uuid"`
	Image     string      `json:"image"`
	State     State       `json:"state"`
	StartedAt time.Time   `json:"started_at"`
	Exit      Exit        `json:"exit"` // of the last end; meaningful unless it runs for the first time
	Address   Address     `json:"address"`
	Published []Published `json:"published,omitempty"`
	// Listening are the ports its processes really listen on, where the backend
	// can tell; nil where it can't.
	Listening []Listening `json:"listening,omitempty"`
	// Entrypoint, Cmd and Env are what runs, the image's own included.
	Entrypoint []string          `json:"entrypoint,omitempty"`
	Cmd        []string          `json:"cmd,omitempty"`
	Env        map[string]string `json:"env,omitempty"`
	PID        int               `json:"pid,omitempty"` // on the host; 0 where there is none
	Restarts   int               `json:"restarts,omitempty"`
}

// Running reports whether a process is there, paused or not.
func (s Status) Running() bool { return s.State == StateRunning || s.State == StatePaused }

// Published is a port as the host reaches it.
type Published struct {
	ID    string         `json:"id"`
	Port  uint16         `json:"port"`
	Proto Transport      `json:"proto"`
	Host  netip.AddrPort `json:"host"`
}

// Listening is a socket that a process of the service listens on.
type Listening struct {
	Proto Transport      `json:"proto"`
	Addr  netip.AddrPort `json:"addr"`
}

// Exit tells how a process ended.
type Exit struct {
	Code   int       `json:"code"` // 128+n where signal n killed it
	Signal int       `json:"signal,omitempty"`
	OOM    bool      `json:"oom,omitempty"` // the kernel killed it, or a child of it, for memory
	At     time.Time `json:"at"`            // zero: has not ended
}

// ExecSpec is a command to run in a service.
type ExecSpec struct {
	Args    []string
	Env     map[string]string // on top of the service's
	WorkDir string            // the service's if empty
	User    string            // the service's if empty; else as in ServiceSpec
	TTY     bool
	Cols    uint16 // with TTY
	Rows    uint16
	Stdin   io.Reader // nil: empty
	Stdout  io.Writer // nil: discarded
	Stderr  io.Writer // nil: discarded; the same value as Stdout: one ordered stream
	// OutOfMemory, if set, is called before the command's end is told, if that is
	// a failure and the kernel killed a process of the service for memory meanwhile.
	OutOfMemory func()
}

// LogQuery selects stored output.
type LogQuery struct {
	Follow bool
	Tail   int       // the last n lines; negative: all; 0: none (of use with Follow)
	Since  time.Time // zero: from the start
}

// Stream says where a line came from.
type Stream string

// The streams.
const (
	Stdout Stream = "stdout"
	Stderr Stream = "stderr"
)

// LogLine is one line of output, without its line end.
type LogLine struct {
	At     time.Time `json:"at"`
	Stream Stream    `json:"stream"`
	Text   string    `json:"text"`
}

// PullPolicy says when to ask the registry.
type PullPolicy string

// The policies.
const (
	PullMissing PullPolicy = "missing"
	PullAlways  PullPolicy = "always"
)

// ImageRequest asks for an image.
type ImageRequest struct {
	Ref      string
	Policy   PullPolicy
	Registry string // with Username and Password: credentials of this request alone
	Username string
	Password Secret
}

// Secret is a string that never appears in logs or output.
type Secret string

// String hides the secret.
func (Secret) String() string { return "[hidden]" }

// GoString hides the secret.
func (Secret) GoString() string { return "[hidden]" }

// BuildSpec asks for an image to be built.
type BuildSpec struct {
	Tag        string
	ContextDir string // on the engine's host
	Dockerfile string // relative to ContextDir; "Dockerfile" if empty
	Target     string
	Args       map[string]string
	NoCache    bool
}

// Source says how EnsureImage or BuildImage came by an image.
type Source string

// The sources.
const (
	SourceCached     Source = "cached"
	SourceDownloaded Source = "downloaded"
	SourceBuilt      Source = "built"
)

// ImageInfo describes an image of the backend.
type ImageInfo struct {
	Ref          string    `json:"ref"`
	Digest       string    `json:"digest"` // sha256:… of the image's config: its id
	Architecture string    `json:"architecture"`
	SizeBytes    int64     `json:"size_bytes"` // unpacked
	Created      time.Time `json:"created"`
	Source       Source    `json:"source,omitempty"`
	Warning      string    `json:"warning,omitempty"`
}
