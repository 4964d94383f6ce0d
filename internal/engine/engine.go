// Package engine is the daemon: its life cycle, the set of enclaves, and the
// runs under way.
//
// [Main] runs an engine until it is told to stop. An [Engine] holds what its
// faces need: the enclaves, their runs, uploaded packages and the services'
// output. Services are not its children: they go on when it ends.
//
// The package must not know the wire: the caller gives it an [API], which
// translates. Package process beneath holds what clients of an engine's process
// share with it.
package engine

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/enclave"
	"github.com/lepto-dev/lepto/internal/engine/process"
	"github.com/lepto-dev/lepto/internal/fault"
	"github.com/lepto-dev/lepto/internal/lang"
	"github.com/lepto-dev/lepto/internal/run"
	"github.com/lepto-dev/lepto/internal/source"
)

const (
	// DefaultLoopback is where SDKs of the wire API look for an engine; they
	// have no setting for it.
	DefaultLoopback = "127.0.0.1:9710"
	// DefaultAPIVersion is the version of the wire API: SDKs refuse an engine of
	// another major or minor version.
	DefaultAPIVersion = "1.20.0"
	// stopBound is how long an engine takes to end at most.
	stopBound = 5 * time.Second
)

// errStopping is the cause of what ends because the engine does.
var errStopping = errors.New("the engine is stopping")

// Config is what an engine needs.
type Config struct {
	Home string // its directory; made if need be
	// Backend opens the backend, once this is the only engine of its home.
	Backend func(context.Context) (backend.Backend, error)
	// NeedsRoot says that the backend works for root only.
	NeedsRoot bool
	// API translates between the engine and the wire.
	API func(*Engine) API
	// Loopback is the TCP address for SDKs: "" for none. The environment
	// variable LEPTO_LOOPBACK (an address, a port, or "off") wins over it.
	Loopback string
	// EnclaveVars are the variables that scripts see as members of kurtosis, a JSON
	// object. Empty: those of the environment variable LEPTO_ENCLAVE_VARS.
	EnclaveVars string
	Version     string       // lepto's own
	APIVersion  string       // DefaultAPIVersion if empty
	Logger      *slog.Logger // nil: engine.log in the background, else stderr
}

// API gives the engine its faces.
type API interface {
	// Engine serves all that is about the engine as a whole.
	Engine() http.Handler
	// Enclave serves the API of one enclave, under the same paths for each.
	Enclave(uuid string) http.Handler
}

// An Engine is a daemon at work. Safe for concurrent use.
type Engine struct {
	config   Config
	owner    owner
	log      *slog.Logger
	backend  backend.Backend
	store    *enclave.Store
	enclaves *enclave.Manager
	runner   *run.Runner
	ports    *portTable
	faces    *faces
	started  time.Time
	found    []string // by reconciliation

	// Runs live in life, requests in requests, endless streams in streams; they
	// end in this order.
	life, requests, streams          context.Context
	endLife, endRequests, endStreams context.CancelCauseFunc

	stop     chan struct{}
	stopOnce sync.Once

	mu      sync.Mutex
	ending  bool           // no more runs
	workers sync.WaitGroup // goroutines of faces that end

	packages sync.Mutex // held while what is uploaded is switched or looked at
}

// Main runs an engine until the context ends, SIGTERM or SIGINT arrives or a
// client asks it to stop. It is ready once it serves; whoever started it waits
// for that on a pipe. Another engine in the same home is an E0702.
func Main(ctx context.Context, config Config) error {
	process.KeepInherited()
	ready, err := process.ReadyPipe()
	if err != nil {
		return err
	}
	var once sync.Once
	announce := func(err error) {
		once.Do(func() {
			if ready == nil {
				return
			}
			_ = process.Report(ready, err) // nobody may be waiting any more
			ready.Close()
		})
	}
	ctx, unhook := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer unhook()
	err = main(ctx, config, ready != nil, func() { announce(nil) })
	announce(err)
	return err
}

func main(ctx context.Context, config Config, background bool, ready func()) (err error) {
	if err := config.complete(); err != nil {
		return err
	}
	who := findOwner()
	if err := prepareHome(config.Home, who); err != nil {
		return err
	}
	lock, err := lockHome(ctx, config.Home)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Release()) }()
	if config.Logger == nil {
		logger, closeLog, err := openLogger(config.Home, background)
		if err != nil {
			return err
		}
		defer closeLog()
		config.Logger = logger
	}
	e, err := open(ctx, config, who)
	if err != nil {
		config.Logger.Error("engine did not start", "error", err)
		return err
	}
	defer func() { err = errors.Join(err, e.close()) }()
	return e.serve(ctx, ready)
}

// complete fills in defaults and checks the rest.
func (c *Config) complete() error {
	if c.Home == "" || c.Backend == nil || c.API == nil {
		return fault.New(process.CodeBadSettings, "engine: home, backend and API must be given")
	}
	home, err := filepath.Abs(c.Home)
	if err != nil {
		return fault.New(process.CodeBadSettings, "engine's home: %w", err)
	}
	c.Home = home
	if c.APIVersion == "" {
		c.APIVersion = DefaultAPIVersion
	}
	if c.NeedsRoot && os.Geteuid() != 0 {
		return fault.New(process.CodeNeedsRoot, "the engine needs root for this backend, and runs as user %d", os.Geteuid()).
			WithHint("run the command with sudo")
	}
	c.EnclaveVars = cmp.Or(c.EnclaveVars, os.Getenv(lang.EnclaveVarsVariable))
	if err := lang.CheckEnclaveVars(c.EnclaveVars); err != nil {
		return fault.New(process.CodeBadSettings, "%s: %w", lang.EnclaveVarsVariable, err)
	}
	c.Loopback, err = loopbackSetting(c.Loopback, os.Getenv("LEPTO_LOOPBACK"))
	return err
}

func openLogger(home string, background bool) (*slog.Logger, func(), error) {
	if !background {
		return slog.New(slog.NewTextHandler(os.Stderr, nil)), func() {}, nil
	}
	file, err := openLog(process.LogPath(home), maxLog, true)
	if err != nil {
		return nil, nil, fault.From(err, process.CodeNoAccess)
	}
	return slog.New(slog.NewTextHandler(file, nil)), func() { file.Close() }, nil
}

// Config gives the engine's settings.
func (e *Engine) Config() Config { return e.config }

// Enclaves gives the set of enclaves. To create, start, stop or remove one, use
// the Engine's own methods: they look after its API too.
func (e *Engine) Enclaves() *enclave.Manager { return e.enclaves }

// Backend gives the backend.
func (e *Engine) Backend() backend.Backend { return e.backend }

// Stop makes Main return, soon.
func (e *Engine) Stop() { e.stopOnce.Do(func() { close(e.stop) }) }

// Stream gives a context for a stream without an end: it ends with ctx, or when
// the engine stops. Call the function when done.
func (e *Engine) Stream(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	unhook := context.AfterFunc(e.streams, func() { cancel(context.Cause(e.streams)) })
	return ctx, func() { unhook(); cancel(nil) }
}

// State tells how the engine is doing.
type State struct {
	PID           int
	Started       time.Time
	Owner         uint32
	Socket        string
	Loopback      string // host:port; empty: none
	LoopbackError string // why there is none
	PackageMirror string // of runs that name none; empty: git fetches packages
	Recovered     []string
}

// State tells how the engine is doing.
func (e *Engine) State() State {
	s := State{PID: os.Getpid(), Started: e.started, Owner: uint32(e.owner.uid),
		Socket: process.SocketPath(e.config.Home), PackageMirror: os.Getenv(source.MirrorVariable), Recovered: e.found}
	s.Loopback, s.LoopbackError = e.faces.loopback()
	return s
}
