// Package api is the wire: the engine's and the enclaves' services as others
// call them. It translates and decides nothing.
//
// [New] gives an engine its faces: the wire API that Kurtosis' SDKs speak (its
// generated bindings, pinned), and the engine's own service lepto.v1.Engine for
// what the wire API has not. Each is served as gRPC, gRPC-web and Connect.
//
// The package must not know how anything is done: it calls package engine and
// the packages beneath. Beneath it, errwire carries errors, view is what is told
// of enclaves and services, and client is the other end.
package api

//go:generate ../../scripts/generate.sh

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"

	"connectrpc.com/connect"
	"github.com/kurtosis-tech/kurtosis/api/golang/core/kurtosis_core_rpc_api_bindings/kurtosis_core_rpc_api_bindingsconnect"
	"github.com/kurtosis-tech/kurtosis/api/golang/engine/kurtosis_engine_rpc_api_bindings/kurtosis_engine_rpc_api_bindingsconnect"

	"github.com/lepto-dev/lepto/internal/api/errwire"
	"github.com/lepto-dev/lepto/internal/api/leptov1/leptov1connect"
	"github.com/lepto-dev/lepto/internal/engine"
)

const (
	// maxMessage bounds a request's message, in bytes: a script, or a chunk of a
	// file, with room to spare over gRPC's own 4 MiB.
	maxMessage = 16 << 20
	// compressFrom is the size from which answers are compressed for those who
	// ask for it, in bytes. Callers are on this host: below, it only costs.
	compressFrom = 64 << 10
)

// faces implements engine.API.
type faces struct{ engine *engine.Engine }

// New gives the faces of an engine.
func New(e *engine.Engine) engine.API { return faces{engine: e} }

// Engine serves the wire API's engine service and the engine's own.
func (f faces) Engine() http.Handler {
	mux := http.NewServeMux()
	mux.Handle(kurtosis_engine_rpc_api_bindingsconnect.NewEngineServiceHandler(&engineService{f.engine}, f.options()...))
	mux.Handle(leptov1connect.NewEngineHandler(&ownService{f.engine}, f.options()...))
	mux.Handle(leptov1connect.NewLinksHandler(&linkService{f.engine}, f.options()...))
	// An enclave has an address of its own only while it runs, and only where
	// there is loopback at all; here its API is always.
	mux.HandleFunc("/enclaves/{enclave}/", func(w http.ResponseWriter, r *http.Request) {
		enclave := r.PathValue("enclave")
		http.StripPrefix("/enclaves/"+enclave, f.Enclave(enclave)).ServeHTTP(w, r)
	})
	return mux
}

// Enclave serves the wire API of one enclave.
func (f faces) Enclave(uuid string) http.Handler {
	mux := http.NewServeMux()
	mux.Handle(kurtosis_core_rpc_api_bindingsconnect.NewApiContainerServiceHandler(&enclaveService{engine: f.engine, uuid: uuid}, f.options()...))
	return mux
}

func (f faces) options() []connect.HandlerOption {
	return []connect.HandlerOption{
		connect.WithReadMaxBytes(maxMessage),
		connect.WithCompressMinBytes(compressFrom),
		connect.WithInterceptors(errorInterceptor{}),
		connect.WithRecover(f.rescue),
	}
}

// rescue turns a bug that panics into a failed call.
func (f faces) rescue(_ context.Context, spec connect.Spec, _ http.Header, p any) error {
	if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		panic(p) // net/http's own way to end a request
	}
	f.logger().Error("a call panicked", "call", spec.Procedure, "panic", p, "stack", string(debug.Stack()))
	return fmt.Errorf("internal error in %s: %v (see the engine's log)", spec.Procedure, p)
}

func (f faces) logger() *slog.Logger { return f.engine.Config().Logger }

// errorInterceptor gives every error its wire form, faults and all.
type errorInterceptor struct{}

// WrapUnary encodes the error of a call.
func (errorInterceptor) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		res, err := next(ctx, req)
		return res, errwire.Encode(err)
	}
}

// WrapStreamingHandler encodes the error of a stream.
func (errorInterceptor) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) error {
		return errwire.Encode(next(ctx, conn))
	}
}

// WrapStreamingClient leaves clients alone.
func (errorInterceptor) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

// answer wraps a message, unless there was an error.
func answer[T any](msg *T, err error) (*connect.Response[T], error) {
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(msg), nil
}
