// Package client is the Go client of the engine, used by the command line.
//
// [Connect] dials the engine's Unix socket and starts the engine where none
// runs. A [Client] speaks the wire API for what the wire API has, and the
// engine's own service for the rest. Errors that the engine raised as a
// *fault.Fault come back as one, and match the same sentinels of package fault.
//
// [EngineStatus], [StopEngine] and [LogPath] look after the engine's process.
// The package must not know the engine's insides: all it shares with it is the
// protocol, the lock file and the readiness pipe.
package client

import (
	"context"
	"errors"
	"net/http"

	"connectrpc.com/connect"
	"github.com/kurtosis-tech/kurtosis/api/golang/engine/kurtosis_engine_rpc_api_bindings/kurtosis_engine_rpc_api_bindingsconnect"

	"github.com/lepto-dev/lepto/internal/api/leptov1"
	"github.com/lepto-dev/lepto/internal/api/leptov1/leptov1connect"
	"github.com/lepto-dev/lepto/internal/api/view"
	"github.com/lepto-dev/lepto/internal/engine/process"
	"github.com/lepto-dev/lepto/internal/fault"
)

// What the engine tells, as data: package view has the words on each.
type (
	// Enclave is an enclave, as a list shows it.
	Enclave = view.Enclave
	// EnclaveDetail is an enclave with its services.
	EnclaveDetail = view.EnclaveDetail
	// Artifact is a files artifact.
	Artifact = view.Artifact
	// Service is a service.
	Service = view.Service
	// Port is a declared port of a service.
	Port = view.Port
	// Info tells what engine answers.
	Info = view.Info
	// Removed is an enclave that was removed.
	Removed = view.Removed
	// LogEntry is a line of a service's output.
	LogEntry = view.LogEntry
)

// Options say how to reach the engine.
type Options struct {
	Home string // LEPTO_HOME; must not be empty
	// Start starts an engine if none answers. Without it, Connect's error is
	// fault.ErrUnavailable then.
	Start bool
	// Command is the engine's command line; Program with the arguments
	// "engine run --home HOME" if empty.
	Command []string
	// Program gives the path of lepto; that of the running program if nil.
	Program func() (string, error)
	// Version is the caller's own; Warn is told if the engine's differs.
	Version string
	Warn    func(text string) // may be nil
	// Starting is told when an engine is about to be started; may be nil.
	Starting func()
}

// A Client is a connection to an engine. It is safe for concurrent use.
type Client struct {
	http   *http.Client
	engine kurtosis_engine_rpc_api_bindingsconnect.EngineServiceClient
	own    leptov1connect.EngineClient
	links  leptov1connect.LinksClient
	info   Info
}

// Connect gives a client of the engine of the home directory.
func Connect(ctx context.Context, opts Options) (*Client, error) {
	socket := process.SocketPath(opts.Home)
	c := dial(socket)
	info, err := c.firstInfo(ctx)
	if err != nil && isDown(err) && opts.Start {
		if opts.Starting != nil {
			opts.Starting()
		}
		if err := start(ctx, opts); err != nil {
			return nil, err
		}
		info, err = c.firstInfo(ctx)
	}
	if err != nil {
		return nil, explain(err, opts.Home)
	}
	c.info = info
	if opts.Version != "" && opts.Warn != nil && info.Version != opts.Version {
		opts.Warn("the engine is lepto " + info.Version + ", this program is " + opts.Version +
			"; \"lepto engine restart\" brings them together (services go on running)")
	}
	return c, nil
}

// firstInfo is Info without capabilities, which a client seldom needs, and with a
// bound: an engine that hangs is to be told of.
func (c *Client) firstInfo(ctx context.Context) (Info, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, askTimeout, fault.ErrTimeout)
	defer cancel()
	return c.ask(ctx, &leptov1.InfoRequest{WithoutCapabilities: true})
}

// errLeft is the cause of a stream's end where the caller has had enough of it.
var errLeft = errors.New("the caller has left")

// base is the host part of URLs; the connection goes to the socket whatever it says.
const base = "http://localhost"

func dial(socket string) *Client {
	h := &http.Client{Transport: socketTransport(socket)}
	// The engine is on this host: compressing what it says would only cost time.
	plain := connect.WithAcceptCompression("gzip", nil, nil)
	return &Client{
		http:   h,
		engine: kurtosis_engine_rpc_api_bindingsconnect.NewEngineServiceClient(h, base, plain),
		own:    leptov1connect.NewEngineClient(h, base, plain),
		links:  leptov1connect.NewLinksClient(h, base, plain),
	}
}

// Close ends the client's connections.
func (c *Client) Close() error {
	c.http.CloseIdleConnections()
	return nil
}

// Engine is what Connect learnt of the engine: all but its capabilities.
func (c *Client) Engine() Info { return c.info }
