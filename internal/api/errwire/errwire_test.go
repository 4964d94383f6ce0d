package errwire_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"testing"

	"connectrpc.com/connect"

	"github.com/lepto-dev/lepto/internal/api/errwire"
	"github.com/lepto-dev/lepto/internal/api/leptov1"
	"github.com/lepto-dev/lepto/internal/api/leptov1/leptov1connect"
	"github.com/lepto-dev/lepto/internal/fault"
)

// failing is a service whose calls end with an error.
type failing struct {
	leptov1connect.UnimplementedEngineHandler
	err error
}

func (f failing) Info(context.Context, *connect.Request[leptov1.InfoRequest]) (*connect.Response[leptov1.InfoResponse], error) {
	return nil, errwire.Encode(f.err)
}

// across sends an error over a real connection.
func across(t *testing.T, err error, opts ...connect.ClientOption) error {
	t.Helper()
	mux := http.NewServeMux()
	mux.Handle(leptov1connect.NewEngineHandler(failing{err: err}))
	server := httptest.NewServer(mux)
	defer server.Close()
	_, got := leptov1connect.NewEngineClient(server.Client(), server.URL, opts...).Info(t.Context(), connect.NewRequest(&leptov1.InfoRequest{}))
	return errwire.Decode(got)
}

func full() *fault.Fault {
	return fault.New("E0312", "service %q never became ready: %w", "db", fault.ErrTimeout).
		WithFrames(fault.Frame{File: "main.star", Line: 4, Col: 7, Func: "run"}, fault.Frame{File: "main.star", Line: 1}).
		WithEvidence("last log lines", "one", "two").
		WithEvidence("ports that are open", "5051/tcp").
		WithHint("PortSpec(number = %d)?", 5051)
}

func TestFaultCrossesWhole(t *testing.T) {
	want := full()
	for name, opts := range map[string][]connect.ClientOption{
		"connect": nil, "grpc-web": {connect.WithGRPCWeb()}, "json": {connect.WithProtoJSON()},
	} {
		t.Run(name, func(t *testing.T) {
			got, ok := errors.AsType[*fault.Fault](across(t, want, opts...))
			if !ok {
				t.Fatal("no fault")
			}
			if got.Code != want.Code || got.Summary != want.Summary || got.Hint != want.Hint ||
				!reflect.DeepEqual(got.At, want.At) || !reflect.DeepEqual(got.Evidence, want.Evidence) {
				t.Errorf("got %+v, want %+v", got, want)
			}
			if !errors.Is(got, fault.ErrTimeout) || errors.Is(got, fault.ErrNotFound) {
				t.Error("another kind")
			}
		})
	}
}

func TestKindsAndCodes(t *testing.T) {
	for _, c := range []struct {
		err  error
		code connect.Code
	}{
		{fault.ErrNotFound, connect.CodeNotFound},
		{fault.ErrExists, connect.CodeAlreadyExists},
		{fault.ErrInvalid, connect.CodeInvalidArgument},
		{fault.ErrUnsupported, connect.CodeUnimplemented},
		{fault.ErrNotRunning, connect.CodeFailedPrecondition},
		{fault.ErrTimeout, connect.CodeDeadlineExceeded},
		{fault.ErrUnavailable, connect.CodeAborted},
		{context.Canceled, connect.CodeCanceled},
	} {
		t.Run(c.code.String(), func(t *testing.T) {
			sent := fmt.Errorf("enclave %q: %w", "x", c.err)
			if code := connect.CodeOf(errwire.Encode(sent)); code != c.code {
				t.Errorf("code %v", code)
			}
			got := across(t, sent)
			if !errors.Is(got, c.err) || got.Error() != sent.Error() {
				t.Errorf("got %v", got)
			}
			for _, other := range []error{fault.ErrNotFound, fault.ErrExists, fault.ErrInvalid, fault.ErrTimeout} {
				if !errors.Is(c.err, other) && errors.Is(got, other) {
					t.Errorf("is also %v", other)
				}
			}
		})
	}
}

func TestSeveralErrors(t *testing.T) {
	got := fault.All(across(t, errors.Join(full(), errors.New("plain"))))
	if len(got) != 2 || got[0].Error() != full().Error() || got[1].Error() != "plain" {
		t.Errorf("got %q", got)
	}
	if _, ok := errors.AsType[*fault.Fault](got[1]); ok {
		t.Error("a plain error became a fault")
	}
}

func TestForeignErrors(t *testing.T) {
	if errwire.Encode(nil) != nil || errwire.Decode(nil) != nil {
		t.Error("nil became something")
	}
	plain := errors.New("no RPC error")
	if got := errwire.Decode(plain); !errors.Is(got, plain) {
		t.Error("an error that is no RPC error changed")
	}
	got := errwire.Decode(connect.NewError(connect.CodeNotFound, errors.New("gone")))
	if !errors.Is(got, fault.ErrNotFound) || got.Error() != "gone" {
		t.Errorf("got %v", got)
	}
}
