package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/lepto-dev/lepto/internal/engine/process"
	"github.com/lepto-dev/lepto/internal/fault"
)

// This file serves the engine on its socket and addresses, and ends it.

const (
	headerBound = 10 * time.Second // for a request's header to arrive
	idleBound   = 5 * time.Minute  // of a connection without requests
	drainBound  = 3 * time.Second  // for requests under way when the engine stops
	// maxSocketPath is what sockaddr_un(7) holds.
	maxSocketPath = 107
)

// loopbackSetting reads the address for SDKs; the environment's wins.
func loopbackSetting(configured, environment string) (string, error) {
	text := configured
	if environment != "" {
		text = environment
	}
	if text == "" || text == "off" {
		return "", nil
	}
	if _, err := strconv.ParseUint(text, 10, 16); err == nil {
		text = net.JoinHostPort("127.0.0.1", text)
	}
	addr, err := netip.ParseAddrPort(strings.Replace(text, "localhost:", "127.0.0.1:", 1))
	if err != nil || !addr.Addr().IsLoopback() {
		return "", fault.New(process.CodeBadSettings, "LEPTO_LOOPBACK: %q is no loopback address", text).
			WithHint(`give a port, an address such as 127.0.0.1:9710, or "off"`)
	}
	return addr.String(), nil
}

// face is one listener with its server.
type face struct {
	server *http.Server
	addr   net.Addr
	done   chan struct{} // closed when its goroutine has ended
}

// faces are all listeners of an engine.
type faces struct {
	mu       sync.Mutex
	socket   *face
	main     *face
	trouble  string           // why there is no main face
	enclaves map[string]*face // by enclave uuid
	api      API              // nil: there are no loopback faces
}

func (f *faces) loopback() (addr, trouble string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.main == nil {
		return "", f.trouble
	}
	return f.main.addr.String(), ""
}

// all gives every face, and forgets them.
func (f *faces) all() []*face {
	f.mu.Lock()
	defer f.mu.Unlock()
	list := []*face{f.socket, f.main}
	for _, face := range f.enclaves {
		list = append(list, face)
	}
	f.socket, f.main, f.enclaves = nil, nil, nil
	return list
}

// serve serves until the engine is to stop.
func (e *Engine) serve(ctx context.Context, ready func()) error {
	api := e.config.API(e)
	e.faces = &faces{enclaves: map[string]*face{}, trouble: "switched off"}
	if err := e.openFaces(api); err != nil {
		return errors.Join(err, e.end())
	}
	ready()
	addr, _ := e.faces.loopback()
	e.log.Info("engine is ready", "version", e.config.Version, "pid", os.Getpid(),
		"loopback", addr, "took", time.Since(e.started))
	var reason string
	select {
	case <-e.stop:
		reason = "a client asked for it"
	case <-ctx.Done():
		reason = context.Cause(ctx).Error()
	}
	e.log.Info("engine stops", "reason", reason)
	return e.end()
}

// openFaces opens every listener, the socket last: clients that find it find an
// engine that is all there.
func (e *Engine) openFaces(api API) error {
	engine := api.Engine()
	if e.config.Loopback != "" {
		e.openLoopback(engine)
		if err := e.openEnclaveFaces(api); err != nil {
			return err
		}
	}
	socket, err := listenSocket(e.config.Home, e.owner)
	if err != nil {
		return err
	}
	e.faces.mu.Lock()
	defer e.faces.mu.Unlock()
	e.faces.socket = e.start(socket, onSocket(engine, api))
	return nil
}

// openLoopback serves SDKs. Where it can't, they won't find this engine, but the
// command line uses the socket.
func (e *Engine) openLoopback(engine http.Handler) {
	var config net.ListenConfig
	listener, err := config.Listen(e.life, "tcp", e.config.Loopback)
	e.faces.mu.Lock()
	defer e.faces.mu.Unlock()
	if err != nil {
		e.faces.trouble = err.Error()
		e.log.Warn("no loopback address for SDKs; going on with the socket", "address", e.config.Loopback, "error", err)
		return
	}
	e.faces.main = e.start(listener, e.guarded(engine))
}

// onSocket serves an enclave's API beneath a path of its own, since there is one
// socket for all.
func onSocket(engine http.Handler, api API) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", engine)
	mux.HandleFunc("/enclaves/{uuid}/", func(w http.ResponseWriter, r *http.Request) {
		uuid := r.PathValue("uuid")
		http.StripPrefix("/enclaves/"+uuid, api.Enclave(uuid)).ServeHTTP(w, r)
	})
	return mux
}

func (e *Engine) guarded(next http.Handler) http.Handler {
	return &guard{owner: uint32(e.owner.uid), next: next, refused: func(r *http.Request, err error) {
		e.log.Warn("refused a caller", "from", r.RemoteAddr, "error", err)
	}}
}

// listenSocket makes the socket under a closed directory and moves it into place
// with its owner and mode set, replacing one that a dead engine left.
func listenSocket(home string, who owner) (net.Listener, error) {
	path, making := process.SocketPath(home), filepath.Join(home, "tmp", "sock")
	if len(path) > maxSocketPath || len(making) > maxSocketPath {
		return nil, fault.New(process.CodeBadSettings, "engine's home %s: the path is too long for a socket", home).
			WithHint("set LEPTO_HOME to a shorter path")
	}
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: making, Net: "unix"})
	if err != nil {
		return nil, fault.New(process.CodeNoAccess, "engine's socket: %w", err)
	}
	listener.SetUnlinkOnClose(false)
	err = os.Chmod(making, 0o600)
	if err == nil && who.sudo {
		err = os.Chown(making, who.uid, who.gid)
	}
	if err == nil {
		err = os.Rename(making, path)
	}
	if err != nil {
		listener.Close()
		return nil, fault.New(process.CodeNoAccess, "engine's socket: %w", err)
	}
	return listener, nil
}

// start serves a listener: gRPC and gRPC-web and Connect, over HTTP/1.1 and
// HTTP/2 without TLS.
func (e *Engine) start(listener net.Listener, handler http.Handler) *face {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	f := &face{addr: listener.Addr(), done: make(chan struct{}), server: &http.Server{
		Handler: handler, Protocols: protocols,
		ReadHeaderTimeout: headerBound, IdleTimeout: idleBound,
		BaseContext: func(net.Listener) context.Context { return e.requests },
		ErrorLog:    slog.NewLogLogger(e.log.Handler(), slog.LevelWarn),
	}}
	go func() {
		defer close(f.done)
		if err := f.server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			e.log.Error("listener ended", "address", f.addr.String(), "error", err)
		}
	}()
	return f
}

// shut ends a face: requests under way may finish while ctx lasts.
func (f *face) shut(ctx context.Context) {
	if f.server.Shutdown(ctx) != nil {
		_ = f.server.Close()
	}
	<-f.done
}

// end ends everything in time: first runs and streams, then requests.
func (e *Engine) end() error {
	deadline, cancel := context.WithTimeoutCause(context.Background(), stopBound, fault.ErrTimeout)
	defer cancel()
	// Clients that come now shall find no engine, rather than a dying one.
	err := os.Remove(process.SocketPath(e.config.Home))
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	e.mu.Lock()
	e.ending = true
	e.mu.Unlock()
	e.endLife(errStopping)
	e.endStreams(errStopping)
	drain := time.AfterFunc(drainBound, func() { e.endRequests(errStopping) })
	defer drain.Stop()
	var wg sync.WaitGroup
	for _, f := range e.faces.all() {
		if f != nil {
			wg.Go(func() { f.shut(deadline) })
		}
	}
	wg.Wait()
	if !e.waitRuns(deadline) {
		err = errors.Join(err, fmt.Errorf("runs did not end: %w", fault.ErrTimeout))
	}
	return err
}

// waitRuns waits until runs, and faces of enclaves, have ended.
func (e *Engine) waitRuns(ctx context.Context) bool {
	ended := make(chan struct{})
	go func() { // ends with the runs, which have been cancelled, or with the process
		e.runner.Wait()
		e.workers.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return true
	case <-ctx.Done():
		return false
	}
}
