package client

import (
	"errors"
	"testing"

	"connectrpc.com/connect"

	"github.com/lepto-dev/lepto/internal/fault"
)

// TestEngineLost: what the engine has not said itself is the end of the engine.
func TestEngineLost(t *testing.T) {
	cut := connect.NewError(connect.CodeInternal, errors.New("protocol error: incomplete envelope: unexpected EOF"))
	if f := fault.From(lost(cut), "none"); f.Code != CodeEngineLost || !errors.Is(f, fault.ErrUnavailable) {
		t.Errorf("got %v", f)
	}
	for _, other := range []error{errors.New("other"), connect.NewError(connect.CodeCanceled, errors.New("left"))} {
		if f := fault.From(lost(other), "none"); f.Code != "none" {
			t.Errorf("%v: got %v", other, f)
		}
	}
}
