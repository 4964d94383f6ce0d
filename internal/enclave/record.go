package enclave

import (
	"strconv"
	"time"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/fault"
)

// This file defines the rows of the state file and the values that mirror them.

// phase says how far the side effect of a row has come.
type phase string

const (
	// phaseIntended: the side effect may have begun. After a crash it is undone.
	phaseIntended phase = "intended"
	// phaseDone: the side effect is complete. After a crash the thing is adopted.
	phaseDone phase = "done"
	// phaseReplacing (services): a done service is being stopped to make room.
	// After a crash its old row holds, and it runs again if it did before.
	phaseReplacing phase = "replacing"
	// phaseRemoving: the thing is being removed. After a crash that is finished.
	phaseRemoving phase = "removing"
)

// enclaveRow is the durable row of an enclave.
type enclaveRow struct {
	UUID       string    `json:"uuid"`
	Name       string    `json:"name"`
	Created    time.Time `json:"created"`
	Production bool      `json:"production,omitempty"`
	Phase      phase     `json:"phase"`
	Stopped    bool      `json:"stopped,omitempty"`
	// Ran names, while it is stopped, the services that ran before.
	Ran []string `json:"ran,omitempty"`
	// Unsettled: services may not be as Stopped says; Reconcile makes them so.
	Unsettled bool `json:"unsettled,omitempty"`
	// LinkSeed is the seed that was asked for; see linkSeed.
	LinkSeed uint64 `json:"link_seed,omitempty"`
}

// linkSeed gives the seed of the fates of packets.
func (r enclaveRow) linkSeed() uint64 {
	if r.LinkSeed != 0 || len(r.UUID) < 16 {
		return r.LinkSeed
	}
	seed, _ := strconv.ParseUint(r.UUID[:16], 16, 64) // 0 for what is no UUID
	return seed
}

// serviceRow is the durable row of a service.
type serviceRow struct {
	Name    string          `json:"name"`
	UUID    string          `json:"uuid"`
	Created time.Time       `json:"created"`
	Phase   phase           `json:"phase"`
	Config  ServiceConfig   `json:"config"`
	Address backend.Address `json:"address"`
	// Trees are the trees that it mounts, by the name of the files artifact: an
	// artifact that is updated later is another tree.
	Trees map[string]string `json:"trees,omitempty"`
	// Making is an id of this making of it: a service that replaces another one
	// in place has its UUID, but none of what was done to it.
	Making string `json:"making,omitempty"`
	// Stopped: it was stopped on request, and is not to run.
	Stopped bool `json:"stopped,omitempty"`
	// Unsettled: it may not be as Stopped says; Reconcile makes it so.
	Unsettled bool     `json:"unsettled,omitempty"`
	Failure   *Failure `json:"failure,omitempty"`
	// Subnetwork is where it was moved to; empty: where its config wants it.
	Subnetwork string `json:"subnetwork,omitempty"`
	// Previous is what holds again after a crash while Phase is "replacing".
	Previous *serviceRow `json:"previous,omitempty"`
	// passing: see AddOptions.Passing. The store has it as intended.
	passing bool
	Ran     bool `json:"ran,omitempty"` // with Previous: its process was running
}

// Failure tells why a service is not what was asked for. It is kept with the
// service until it is replaced or removed.
type Failure struct {
	Code     string           `json:"code"`
	Summary  string           `json:"summary"`
	Evidence []fault.Evidence `json:"evidence,omitempty"`
	Hint     string           `json:"hint,omitempty"`
	At       time.Time        `json:"at"`
}

// Identifier names a thing that lives or lived.
type Identifier struct {
	UUID string `json:"uuid"`
	Name string `json:"name"`
}

// Short gives the first 12 digits of the UUID.
func (i Identifier) Short() string { return shortUUID(i.UUID) }

func shortUUID(uuid string) string { return backend.EnclaveID(uuid).Short() }

// Status is an enclave's state in one word.
type Status string

// The statuses of enclaves.
const (
	// Running: it can be used, whether or not it has services.
	Running Status = "RUNNING"
	// Stopped: it was stopped, and keeps its services' files and addresses.
	Stopped Status = "STOPPED"
	// Empty: the backend holds nothing of it any more.
	Empty Status = "EMPTY"
)

// Info describes an enclave.
type Info struct {
	UUID       string    `json:"uuid"`
	ShortUUID  string    `json:"short_uuid"`
	Name       string    `json:"name"`
	Status     Status    `json:"status"`
	Created    time.Time `json:"created"`
	Production bool      `json:"production"`
}

// ServiceStatus is a service's state in one word.
type ServiceStatus string

// The statuses of services.
const (
	ServiceRunning ServiceStatus = "RUNNING" // its process is there, paused or not
	ServiceStopped ServiceStatus = "STOPPED" // its process has ended, by itself or on request
	ServiceUnknown ServiceStatus = "UNKNOWN" // nothing is known of a process: it never began, or was not asked after
)

// A Service is what is known of a service: a copy, true when it was taken.
type Service struct {
	Name   string        `json:"name"`
	UUID   string        `json:"uuid"`
	Config ServiceConfig `json:"config"`
	IP     string        `json:"ip"`
	// Subnetwork is where it is now.
	Subnetwork string    `json:"subnetwork"`
	Created    time.Time `json:"created"`
	// Making changes whenever the service is made anew under its name.
	Making string `json:"making,omitempty"`
	// Starting: it is being made and not ready yet.
	Starting bool `json:"starting,omitempty"`
	// Failure is set where it did not become what was asked for.
	Failure *Failure `json:"failure,omitempty"`

	// What the backend says (Inspect, AddService): UNKNOWN and zero elsewhere.
	Status    ServiceStatus       `json:"status"`
	Published []backend.Published `json:"published,omitempty"` // while it runs
	Process   backend.Status      `json:"process"`
}

// ShortUUID gives the first 12 digits of the UUID.
func (s *Service) ShortUUID() string { return shortUUID(s.UUID) }

// service gives the row as the domain shows it.
func (r *serviceRow) service() *Service {
	s := &Service{
		Name: r.Name, UUID: r.UUID, Config: r.Config, Created: r.Created, Making: r.Making,
		Starting: r.Phase == phaseIntended || r.Phase == phaseReplacing,
		Failure:  r.Failure,
		Status:   ServiceUnknown, Subnetwork: r.subnetwork(),
	}
	if r.Address.IP.IsValid() {
		s.IP = r.Address.IP.String()
	}
	return s
}
