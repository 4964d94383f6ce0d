package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/emptypb"

	wire "github.com/kurtosis-tech/kurtosis/api/golang/core/kurtosis_core_rpc_api_bindings"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/enclave"
	"github.com/lepto-dev/lepto/internal/engine"
	"github.com/lepto-dev/lepto/internal/fault"
	"github.com/lepto-dev/lepto/internal/source"
)

// enclaveService is the wire API's api_container_api.ApiContainerService for one
// enclave. Runs are in wire_run.go.
type enclaveService struct {
	engine *engine.Engine
	uuid   string
}

// maxExecOutput bounds what ExecCommand gives back, in bytes: it is one message.
const maxExecOutput = 10 << 20

func (s *enclaveService) enclave() (*enclave.Enclave, error) {
	return s.engine.Enclaves().Get(s.uuid)
}

// GetServices gives all services by name, or those asked for by the identifier
// that asked.
func (s *enclaveService) GetServices(ctx context.Context, req *connect.Request[wire.GetServicesArgs]) (*connect.Response[wire.GetServicesResponse], error) {
	in, err := s.enclave()
	if err != nil {
		return nil, err
	}
	res := &wire.GetServicesResponse{ServiceInfo: map[string]*wire.ServiceInfo{}}
	if len(req.Msg.GetServiceIdentifiers()) == 0 {
		all, err := in.InspectAll(ctx)
		for _, service := range all {
			res.ServiceInfo[service.Name] = serviceInfo(service)
		}
		return answer(res, err)
	}
	for identifier := range req.Msg.GetServiceIdentifiers() {
		service, err := in.Inspect(ctx, identifier)
		if err != nil {
			return nil, err
		}
		res.ServiceInfo[identifier] = serviceInfo(service)
	}
	return answer(res, nil)
}

// GetExistingAndHistoricalServiceIdentifiers names every service there ever was.
func (s *enclaveService) GetExistingAndHistoricalServiceIdentifiers(context.Context, *connect.Request[emptypb.Empty]) (*connect.Response[wire.GetExistingAndHistoricalServiceIdentifiersResponse], error) {
	in, err := s.enclave()
	if err != nil {
		return nil, err
	}
	history, err := in.ServiceHistory()
	res := &wire.GetExistingAndHistoricalServiceIdentifiersResponse{}
	for _, id := range history {
		res.AllIdentifiers = append(res.AllIdentifiers, &wire.ServiceIdentifiers{ServiceUuid: id.UUID, Name: id.Name, ShortenedUuid: id.Short()})
	}
	return answer(res, err)
}

// ExecCommand runs a command to its end. Its output is one text, in the order in
// which it was written.
func (s *enclaveService) ExecCommand(ctx context.Context, req *connect.Request[wire.ExecCommandArgs]) (*connect.Response[wire.ExecCommandResponse], error) {
	in, err := s.enclave()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	output := &boundedOutput{full: func() {
		cancel(fmt.Errorf("the command's output is more than %d bytes: %w", maxExecOutput, fault.ErrInvalid))
	}}
	code, err := in.Exec(ctx, req.Msg.GetServiceIdentifier(), backend.ExecSpec{Args: req.Msg.GetCommandArgs(), Stdout: output, Stderr: output})
	if cause := context.Cause(ctx); err != nil && cause != nil && !errors.Is(cause, context.Canceled) {
		err = cause
	}
	return answer(&wire.ExecCommandResponse{ExitCode: int32(code), LogOutput: output.String()}, err)
}

// boundedOutput gathers output and calls full once it is too much.
type boundedOutput struct {
	mu   sync.Mutex
	buf  bytes.Buffer
	full func()
}

// Write takes what still fits.
func (b *boundedOutput) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.buf.Len()+len(p) > maxExecOutput {
		b.full()
		return len(p), nil
	}
	return b.buf.Write(p)
}

// String gives the output as text that protobuf takes.
func (b *boundedOutput) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return string(bytes.ToValidUTF8(b.buf.Bytes(), []byte("\uFFFD")))
}

// WaitForHttpGetEndpointAvailability waits until an endpoint answers.
func (s *enclaveService) WaitForHttpGetEndpointAvailability(ctx context.Context, req *connect.Request[wire.WaitForHttpGetEndpointAvailabilityArgs]) (*connect.Response[emptypb.Empty], error) {
	m := req.Msg
	return s.waitHTTP(ctx, m.GetPort(), engine.HTTPWait{
		Service: m.GetServiceIdentifier(), Path: m.GetPath(), Want: m.GetBodyText(),
		Delay: millis(m.GetInitialDelayMilliseconds()), Retries: int(m.GetRetries()), Pause: millis(m.GetRetriesDelayMilliseconds()),
	})
}

// WaitForHttpPostEndpointAvailability is the same with a POST of JSON.
func (s *enclaveService) WaitForHttpPostEndpointAvailability(ctx context.Context, req *connect.Request[wire.WaitForHttpPostEndpointAvailabilityArgs]) (*connect.Response[emptypb.Empty], error) {
	m := req.Msg
	return s.waitHTTP(ctx, m.GetPort(), engine.HTTPWait{
		Service: m.GetServiceIdentifier(), Path: m.GetPath(), Want: m.GetBodyText(), Post: true, Body: m.GetRequestBody(),
		Delay: millis(m.GetInitialDelayMilliseconds()), Retries: int(m.GetRetries()), Pause: millis(m.GetRetriesDelayMilliseconds()),
	})
}

func (s *enclaveService) waitHTTP(ctx context.Context, port uint32, w engine.HTTPWait) (*connect.Response[emptypb.Empty], error) {
	in, err := s.enclave()
	if err != nil {
		return nil, err
	}
	if port == 0 || port > 65535 {
		return nil, fmt.Errorf("port %d: %w", port, fault.ErrInvalid)
	}
	w.Port = uint16(port)
	return answer(&emptypb.Empty{}, s.engine.WaitHTTP(ctx, in, w))
}

func millis(n uint32) time.Duration { return time.Duration(n) * time.Millisecond }

// ConnectServices has nothing to do: services are published where they run.
func (s *enclaveService) ConnectServices(context.Context, *connect.Request[wire.ConnectServicesArgs]) (*connect.Response[wire.ConnectServicesResponse], error) {
	return answer(&wire.ConnectServicesResponse{}, nil)
}

// GetStarlarkRun tells what ran last.
func (s *enclaveService) GetStarlarkRun(context.Context, *connect.Request[emptypb.Empty]) (*connect.Response[wire.GetStarlarkRunResponse], error) {
	in, err := s.enclave()
	if err != nil {
		return nil, err
	}
	args, ok, err := in.LastRun()
	if err != nil {
		return nil, err
	}
	if !ok {
		args = enclave.RunArgs{PackageID: source.ScriptID, Parallelism: enclave.DefaultParallelism, Params: "{}"}
	}
	res := &wire.GetStarlarkRunResponse{
		PackageId: args.PackageID, SerializedScript: args.Script, SerializedParams: args.Params,
		Parallelism: int32(args.Parallelism), RelativePathToMainFile: args.MainFile, MainFunctionName: args.MainFunction,
		InitialSerializedParams: &args.Params,
	}
	if args.Production {
		res.RestartPolicy = wire.RestartPolicy_ALWAYS
	}
	if slices.Contains(args.Experimental, wire.KurtosisFeatureFlag_NO_INSTRUCTIONS_CACHING.String()) {
		res.ExperimentalFeatures = []wire.KurtosisFeatureFlag{wire.KurtosisFeatureFlag_NO_INSTRUCTIONS_CACHING}
	}
	return answer(res, nil)
}
