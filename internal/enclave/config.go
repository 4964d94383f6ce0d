package enclave

import (
	"time"

	"github.com/lepto-dev/lepto/internal/backend"
)

// This file defines what a service is asked to be, in the words of the domain:
// more than a backend needs (readiness, artifact names, protocols), less than a
// script says (references are filled in). It is durable as JSON.

// ServiceConfig is a service as a plan asks for it, all references resolved.
type ServiceConfig struct {
	Image Image `json:"image"`
	// Task: it is the container of a task. What it is started with only waits;
	// Entrypoint tells what is run in it, for those who look at it.
	Task       bool              `json:"task,omitempty"`
	Ports      map[string]Port   `json:"ports,omitempty"`
	Files      []FileMount       `json:"files,omitempty"` // sorted by path
	Entrypoint []string          `json:"entrypoint,omitempty"`
	Cmd        []string          `json:"cmd,omitempty"`
	Env        map[string]string `json:"env,omitempty"`
	// IPPlaceholder is replaced by the service's private address in Entrypoint,
	// Cmd and the values of Env.
	IPPlaceholder string            `json:"ip_placeholder,omitempty"`
	MaxCPU        uint64            `json:"max_cpu,omitempty"` // millicores; 0: no limit
	MinCPU        uint64            `json:"min_cpu,omitempty"`
	MaxMemory     uint64            `json:"max_memory,omitempty"` // megabytes; 0: no limit
	MinMemory     uint64            `json:"min_memory,omitempty"`
	Labels        map[string]string `json:"labels,omitempty"`
	User          *User             `json:"user,omitempty"`
	Subnetwork    string            `json:"subnetwork,omitempty"`
	NoInit        bool              `json:"no_init,omitempty"`
	TTY           bool              `json:"tty,omitempty"`
	Devices       []string          `json:"devices,omitempty"`
	PublishUDP    bool              `json:"publish_udp,omitempty"`
	Capabilities  []string          `json:"capabilities,omitempty"`
	ShmMB         uint64            `json:"shm_mb,omitempty"`
	Ulimits       map[string]int64  `json:"ulimits,omitempty"`
	GPUs          int               `json:"gpus,omitempty"`
	Privileged    bool              `json:"privileged,omitempty"`
	HostPID       bool              `json:"host_pid,omitempty"`
	BindMounts    map[string]string `json:"bind_mounts,omitempty"`   // host path to path inside
	FilesToMove   map[string]string `json:"files_to_move,omitempty"` // from paths to paths, before it starts
	// Extra holds what only some backends read (tolerations, node selectors).
	Tolerations   []Toleration      `json:"tolerations,omitempty"`
	NodeSelectors map[string]string `json:"node_selectors,omitempty"`
}

// Image says what to run: a reference, perhaps with credentials, or a build.
type Image struct {
	Ref      string         `json:"ref"` // for a build, the tag
	Build    *Build         `json:"build,omitempty"`
	Nix      bool           `json:"nix,omitempty"` // to be built with Nix, which no backend does
	Registry string         `json:"registry,omitempty"`
	Username string         `json:"username,omitempty"`
	Password backend.Secret `json:"-"`
}

// Build is an image built from a Dockerfile. Directories are on the engine's host.
type Build struct {
	Locator    string            `json:"locator,omitempty"` // of the context, as the plan names it
	ContextDir string            `json:"context_dir"`
	Dockerfile string            `json:"dockerfile"`
	Target     string            `json:"target,omitempty"`
	Args       map[string]string `json:"args,omitempty"`
}

// Port is a port that a service listens on.
type Port struct {
	Number      uint16            `json:"number"`
	Transport   backend.Transport `json:"transport"`
	Application string            `json:"application,omitempty"` // "http", "postgresql", …
	Wait        time.Duration     `json:"wait_ns,omitempty"`     // 0: do not wait for it to open
	URL         string            `json:"url,omitempty"`
	HostPort    uint16            `json:"host_port,omitempty"` // fixed public port; 0: any
}

// FileMount puts files artifacts, or a persistent directory, at a path.
type FileMount struct {
	Path          string   `json:"path"`
	Artifacts     []string `json:"artifacts,omitempty"` // names, merged, later ones winning
	PersistentKey string   `json:"persistent_key,omitempty"`
	SizeMB        uint64   `json:"size_mb,omitempty"`
}

// User is who a service's processes run as.
type User struct {
	UID int64  `json:"uid"`
	GID *int64 `json:"gid,omitempty"`
}

// Toleration is a Kubernetes toleration.
type Toleration struct {
	Key      string `json:"key,omitempty"`
	Operator string `json:"operator,omitempty"`
	Value    string `json:"value,omitempty"`
	Effect   string `json:"effect,omitempty"`
	Seconds  *int64 `json:"seconds,omitempty"`
}
