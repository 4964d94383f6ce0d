// Package view holds what the engine tells its clients about enclaves,
// services and itself, as plain data.
//
// Its main types are [Enclave], [EnclaveDetail], [Service] and [Info]. They
// cross the wire as JSON and are what -o json prints, so fields are added but
// never renamed. The package must not know how the data is come by.
package view

import (
	"time"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/enclave"
)

// The states of an enclave and of a service, as users see them.
const (
	Running = string(enclave.Running) // of a service: enclave.ServiceRunning, the same word
	Stopped = string(enclave.Stopped) // of a service: enclave.ServiceStopped
	Empty   = string(enclave.Empty)
	Unknown = string(enclave.ServiceUnknown)
)

// Enclave is one enclave, as a list shows it.
type Enclave struct {
	UUID       string    `json:"uuid"`
	ShortUUID  string    `json:"short_uuid"`
	Name       string    `json:"name"`
	Status     string    `json:"status"` // Running, Stopped or Empty
	Created    time.Time `json:"created"`
	Production bool      `json:"production"`
	// API is the loopback address (host:port) of its enclave API; empty while
	// the enclave is stopped or the engine has no loopback listener.
	API string `json:"api,omitempty"`
}

// EnclaveDetail is an enclave with its services and files artifacts, sorted by
// name.
type EnclaveDetail struct {
	Enclave
	Artifacts []Artifact `json:"files_artifacts"`
	Services  []Service  `json:"services"`
	// Links are the connections between subnetworks, where any are set.
	Links *enclave.Links `json:"links,omitempty"`
}

// Artifact is a files artifact.
type Artifact struct {
	UUID      string    `json:"uuid"`
	ShortUUID string    `json:"short_uuid"`
	Name      string    `json:"name"`
	Hash      string    `json:"hash"`  // of its content
	Files     int       `json:"files"` // files and links
	Bytes     int64     `json:"bytes"` // of all files
	Created   time.Time `json:"created"`
	Updated   time.Time `json:"updated"` // when it got this content
}

// Service is one service.
type Service struct {
	UUID      string `json:"uuid"`
	ShortUUID string `json:"short_uuid"`
	Name      string `json:"name"`
	Status    string `json:"status"` // Running, Stopped or Unknown
	Paused    bool   `json:"paused,omitempty"`
	IP        string `json:"ip"` // private address
	Image     string `json:"image"`
	Ports     []Port `json:"ports"` // sorted by id
	// Entrypoint, Cmd and Env are what runs, the image's own included.
	Entrypoint []string          `json:"entrypoint,omitempty"`
	Cmd        []string          `json:"cmd,omitempty"`
	Env        map[string]string `json:"env,omitempty"`

	StartedAt time.Time           `json:"started_at,omitzero"`
	Exit      *backend.Exit       `json:"exit,omitempty"` // of its last end, unless it runs for the first time
	Restarts  int                 `json:"restarts,omitempty"`
	PID       int                 `json:"pid,omitempty"`
	Listening []backend.Listening `json:"listening,omitempty"`
	Starting  bool                `json:"starting,omitempty"` // being made, not ready yet
	Failure   *enclave.Failure    `json:"failure,omitempty"`  // why it is not what was asked for
	// Config is what the plan asked for.
	Config enclave.ServiceConfig `json:"config"`
}

// Port is a declared port of a service. HostIP and HostPort are where the host
// reaches it; empty and 0 while it is not published.
type Port struct {
	ID          string            `json:"id"`
	Number      uint16            `json:"number"`
	Transport   backend.Transport `json:"transport"`
	Application string            `json:"application,omitempty"`
	Wait        time.Duration     `json:"wait_ns,omitempty"`
	URL         string            `json:"url,omitempty"`
	HostIP      string            `json:"host_ip,omitempty"`
	HostPort    uint16            `json:"host_port,omitempty"`
}

// Info tells what engine this is and how it is doing.
type Info struct {
	Version    string    `json:"version"`     // lepto's own
	APIVersion string    `json:"api_version"` // of the wire API, told to SDKs
	PID        int       `json:"pid"`
	Home       string    `json:"home"`
	Socket     string    `json:"socket"`
	Started    time.Time `json:"started"`
	Owner      uint32    `json:"owner"` // user id that may call, besides root
	// Loopback is the address (host:port) that SDKs use; empty if there is none,
	// and LoopbackError then says why.
	Loopback      string `json:"loopback,omitempty"`
	LoopbackError string `json:"loopback_error,omitempty"`
	// PackageMirror is where runs that name no mirror find packages; empty: git
	// fetches them.
	PackageMirror string               `json:"package_mirror,omitempty"`
	Backend       string               `json:"backend"`
	Capabilities  backend.Capabilities `json:"capabilities"`
	// Recovered tells what reconciliation found at the engine's start.
	Recovered []string `json:"recovered,omitempty"`
}

// Removed is an enclave that a clean-up took away.
type Removed struct {
	UUID string `json:"uuid"`
	Name string `json:"name"`
}

// LogEntry is one line of a service's output.
type LogEntry struct {
	Service string `json:"service"` // name
	UUID    string `json:"uuid"`
	backend.LogLine
}
