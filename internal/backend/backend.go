// Package backend is the contract between lepto and the place where containers
// run: the embedded native backend, a Docker Engine, a Kubernetes cluster, or
// memory.
//
// Its main types are [Backend], which holds enclaves, and [Enclave], which
// holds services. A backend knows nothing of plans and scripts: it gets
// [ServiceSpec] values in which everything is resolved, and gives back handles.
// What only some backends can do is an extra interface (optional.go), found by
// type assertion and mirrored in [Capabilities], so that validation can refuse
// with a line number what a backend can't do.
//
// # Rules for every method
//
//   - Safe for concurrent use. Calls on different services do not wait for one
//     another; calls on the same service are serialised by the backend.
//   - Honours its context: a cancelled call returns soon, with
//     context.Cause(ctx), and leaves nothing half made. Without a deadline every
//     method still has a bound of its own.
//   - Errors wrap the sentinels of package fault; an error a user can act on is,
//     or wraps, a *fault.Fault.
//   - Whatever a method makes on the host is found again after a crash, by the
//     enclave's id alone: Destroy removes all of it, also what was half made.
//
// The suite in package backendtest holds every backend to this text.
package backend

import (
	"context"
	"io"
	"iter"
	"net"
	"time"
)

// EnclaveID identifies an enclave: 32 lower-case hex digits.
type EnclaveID string

// Short gives the first 12 digits, the form shown to users.
func (id EnclaveID) Short() string {
	if len(id) > 12 {
		return string(id[:12])
	}
	return string(id)
}

// ServiceName names a service in its enclave, and is its DNS name.
type ServiceName string

// A Backend is a place where enclaves live.
type Backend interface {
	// Name is the backend's word in flags and output: "native", "docker", ….
	Name() string

	// Capabilities says what this backend can do on this host. It is constant
	// while the process runs and touches nothing.
	Capabilities() Capabilities

	// CreateEnclave makes an enclave with its network. Idempotent by id: an
	// enclave that is there is completed where something is missing, and
	// returned. On failure nothing of it is left.
	CreateEnclave(context.Context, EnclaveSpec) (Enclave, error)

	// OpenEnclave gives a handle on an enclave made earlier, by this process or
	// one before it. It re-adopts services that run, whatever became of their
	// supervision meanwhile, and repairs what a crash or reboot of the host took
	// away, without starting a service. ErrNotFound if there is none.
	OpenEnclave(context.Context, EnclaveID) (Enclave, error)

	// Enclaves lists all enclaves this host holds of ours, half-made ones too,
	// for reconciliation. Sorted.
	Enclaves(context.Context) ([]EnclaveID, error)

	// Close lets go of what this process holds. Services go on running.
	Close() error
}

// An Enclave is a handle on one enclave of a backend.
type Enclave interface {
	// Reserve gives a service its address, before anything runs. Idempotent:
	// the same name has the same address until Remove.
	Reserve(context.Context, ServiceName) (Address, error)

	// Start runs a service and returns once its process runs (not: once it is
	// ready). The spec is complete: images are there (see ImagePuller),
	// addresses reserved or reserved now. A service that exists, running or
	// not, is ErrExists. If the process can't be started, or fails to run its
	// command, nothing keeps running, the reservation stays, and the error's
	// fault tells the cause. A process that starts and then dies is no error
	// here: Inspect tells its Exit, and its files and logs stay until Remove.
	Start(context.Context, ServiceSpec) error

	// Stop ends a service's processes: the image's stop signal (SIGTERM if it
	// names none), then SIGKILL after grace. Files, logs, address and exit code
	// stay. Stopping what does not run is no error and gives its last Exit.
	// ErrNotFound if there is no such service.
	Stop(ctx context.Context, name ServiceName, grace time.Duration) (Exit, error)

	// Restart runs a stopped service again: same spec, same address, its
	// written files as they were. A running service is left as it is.
	Restart(context.Context, ServiceName) error

	// Remove ends a service and deletes all of it, including its files, logs
	// and reservation; persistent directories stay with the enclave.
	// Idempotent: an unknown name is no error.
	Remove(context.Context, ServiceName) error

	// Services lists the services that exist here, running or not. Sorted.
	Services(context.Context) ([]ServiceName, error)

	// Inspect tells a service's state. ErrNotFound if there is none.
	Inspect(context.Context, ServiceName) (Status, error)

	// Wait blocks until the service's process has ended and gives its Exit; at
	// once if it does not run. It ends early with the context.
	Wait(context.Context, ServiceName) (Exit, error)

	// Exec runs a command in a running service and gives its exit code, 128+n
	// where signal n killed it. Cancelling the context kills the command.
	// A command that can't be found is code 127 and one that can't be executed
	// 126, with the reason on stderr, as a shell has it. ErrNotRunning if the
	// service does not run. Where memory limits kill, spec.OutOfMemory tells.
	Exec(context.Context, ServiceName, ExecSpec) (int, error)

	// Files gives a tar of the path as it is in the service, running or
	// stopped. A directory's entries are relative to that directory; a file is
	// a single entry under its base name. A symlink as the path itself is
	// followed inside the service's root. ErrNotFound if there is no such path.
	Files(ctx context.Context, name ServiceName, path string) (io.ReadCloser, error)

	// CopyIn unpacks a tar into a directory of the service, running or stopped,
	// making the directory if need be. Entries that would leave it are refused.
	CopyIn(ctx context.Context, name ServiceName, dir string, tar io.Reader) error

	// Logs yields the stored output, oldest first. With Follow it goes on until
	// the context ends or the service is removed. ErrNotFound if there is no
	// such service.
	Logs(context.Context, ServiceName, LogQuery) iter.Seq2[LogLine, error]

	// Dial opens a connection to a port of a service, over the enclave's
	// network, whether or not the port is declared or published.
	Dial(ctx context.Context, name ServiceName, proto Transport, port uint16) (net.Conn, error)

	// Destroy removes the enclave and everything in it. Idempotent. Afterwards
	// the host is as it was before CreateEnclave. If something can't be removed,
	// all the rest is, and the error names what is left.
	Destroy(context.Context) error
}
