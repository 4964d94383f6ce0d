package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"

	"connectrpc.com/connect"

	"github.com/lepto-dev/lepto/internal/api/leptov1"
	"github.com/lepto-dev/lepto/internal/api/view"
	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/enclave"
	"github.com/lepto-dev/lepto/internal/engine"
	"github.com/lepto-dev/lepto/internal/fault"
	"github.com/lepto-dev/lepto/internal/run"
	"github.com/lepto-dev/lepto/internal/source"
)

// ownService is the engine's own service, lepto.v1.Engine.
type ownService struct{ engine *engine.Engine }

// Info tells what engine this is and how it is doing.
func (s *ownService) Info(_ context.Context, req *connect.Request[leptov1.InfoRequest]) (*connect.Response[leptov1.InfoResponse], error) {
	config, state, be := s.engine.Config(), s.engine.State(), s.engine.Backend()
	info := view.Info{
		Version: config.Version, APIVersion: config.APIVersion, Home: config.Home,
		PID: state.PID, Started: state.Started, Owner: state.Owner, Socket: state.Socket,
		Loopback: state.Loopback, LoopbackError: state.LoopbackError, PackageMirror: state.PackageMirror, Recovered: state.Recovered,
		Backend: be.Name(),
	}
	if !req.Msg.GetWithoutCapabilities() {
		info.Capabilities = be.Capabilities()
	}
	doc, err := json.Marshal(info)
	return answer(&leptov1.InfoResponse{InfoJson: doc}, err)
}

// Shutdown makes the engine end once this call is answered.
func (s *ownService) Shutdown(context.Context, *connect.Request[leptov1.ShutdownRequest]) (*connect.Response[leptov1.ShutdownResponse], error) {
	s.engine.Stop()
	return answer(&leptov1.ShutdownResponse{}, nil)
}

// Run starts a run and sends its events until it ends or the client leaves; the
// run goes on then.
func (s *ownService) Run(ctx context.Context, req *connect.Request[leptov1.RunRequest], stream *connect.ServerStream[leptov1.RunEvent]) error {
	m := req.Msg
	in, err := s.engine.Enclaves().Get(m.GetEnclave())
	if err != nil {
		return err
	}
	pkg, err := s.openPackage(ctx, in, m)
	if err != nil {
		return fault.From(err, engine.CodeBadPackage)
	}
	events, err := s.engine.StartRun(in, run.Request{
		Package: pkg, MainFunction: m.GetMainFunction(), Args: m.GetArgsJson(), DryRun: m.GetDryRun(),
		Parallelism: int(m.GetParallelism()), PullPolicy: backend.PullPolicy(m.GetPullPolicy()), AllowPrivileged: m.GetAllowPrivileged(),
		Parallel: m.GetParallel(), Workers: int(m.GetWorkers()), Shuffle: m.ShuffleSeed != nil, ShuffleSeed: m.GetShuffleSeed(),
		Experimental: m.GetExperimental(),
		KeepTasks:    m.GetKeepTasks(), OnFailure: run.OnFailure(m.GetOnFailure()),
	})
	if err != nil {
		return err
	}
	return sendEvents(events.Events(ctx, 1), stream)
}

func (s *ownService) openPackage(ctx context.Context, in *enclave.Enclave, m *leptov1.RunRequest) (*source.Package, error) {
	from := engine.Origin{Mirror: m.GetPackageMirror(), GitEnv: m.GetGitEnvironment()}
	switch what := m.GetSource().(type) {
	case *leptov1.RunRequest_Script_:
		return s.engine.ScriptPackage(what.Script.GetName(), what.Script.GetText(), from)
	case *leptov1.RunRequest_Directory_:
		return s.engine.LocalPackage(what.Directory.GetPath(), what.Directory.GetMainFile(), from)
	case *leptov1.RunRequest_PackageId:
		return s.engine.UploadedPackage(in, what.PackageId, "", from)
	case *leptov1.RunRequest_Remote_:
		return s.engine.RemotePackage(ctx, what.Remote.GetLocator(), what.Remote.GetMainFile(), "", from)
	}
	return nil, fmt.Errorf("run: neither script nor package is given: %w", fault.ErrInvalid)
}

// Events sends the events of a run, stored ones first.
func (s *ownService) Events(ctx context.Context, req *connect.Request[leptov1.EventsRequest], stream *connect.ServerStream[leptov1.RunEvent]) error {
	in, err := s.engine.Enclaves().Get(req.Msg.GetEnclave())
	if err != nil {
		return err
	}
	return sendEvents(s.engine.Runs().Subscribe(ctx, in, req.Msg.GetRunId(), req.Msg.GetFrom()), stream)
}

func sendEvents(events iter.Seq2[run.Event, error], stream *connect.ServerStream[leptov1.RunEvent]) error {
	for event, err := range events {
		if err != nil {
			return err
		}
		line, err := event.Encode()
		if err != nil {
			return err
		}
		if err := stream.Send(&leptov1.RunEvent{EventJson: line}); err != nil {
			return err
		}
	}
	return nil
}

// CancelRun asks a run to stop.
func (s *ownService) CancelRun(_ context.Context, req *connect.Request[leptov1.CancelRunRequest]) (*connect.Response[leptov1.CancelRunResponse], error) {
	in, err := s.engine.Enclaves().Get(req.Msg.GetEnclave())
	if err != nil {
		return nil, err
	}
	return answer(&leptov1.CancelRunResponse{}, s.engine.CancelRun(in, req.Msg.GetRunId()))
}

// StartEnclave starts a stopped enclave.
func (s *ownService) StartEnclave(ctx context.Context, req *connect.Request[leptov1.StartEnclaveRequest]) (*connect.Response[leptov1.StartEnclaveResponse], error) {
	return answer(&leptov1.StartEnclaveResponse{}, s.engine.StartEnclave(ctx, req.Msg.GetEnclave()))
}

// InspectEnclave tells all about an enclave.
func (s *ownService) InspectEnclave(ctx context.Context, req *connect.Request[leptov1.InspectEnclaveRequest]) (*connect.Response[leptov1.InspectEnclaveResponse], error) {
	in, err := s.engine.Enclaves().Get(req.Msg.GetEnclave())
	if err != nil {
		return nil, err
	}
	detail := view.EnclaveDetail{Enclave: s.enclaveView(in), Artifacts: artifacts(in)}
	if detail.Services, err = services(ctx, in); err != nil {
		return nil, err
	}
	if detail.Links, err = links(ctx, in); err != nil {
		return nil, err
	}
	doc, err := json.Marshal(detail)
	return answer(&leptov1.InspectEnclaveResponse{EnclaveJson: doc}, err)
}

func (s *ownService) enclaveView(in *enclave.Enclave) view.Enclave {
	i := in.Info()
	v := view.Enclave{UUID: i.UUID, ShortUUID: i.ShortUUID, Name: i.Name, Status: string(i.Status), Created: i.Created, Production: i.Production}
	if addr, ok := s.engine.EnclaveAddress(i.UUID); ok {
		v.API = addr.String()
	}
	return v
}

// artifacts describes all files artifacts.
func artifacts(in *enclave.Enclave) []view.Artifact {
	all := in.Artifacts()
	list := make([]view.Artifact, 0, len(all))
	for _, a := range all {
		list = append(list, view.Artifact{
			UUID: a.UUID, ShortUUID: a.ShortUUID(), Name: a.Name,
			Hash: a.Hash, Files: a.Files, Bytes: a.Bytes, Created: a.Created, Updated: a.Updated,
		})
	}
	return list
}

// ListServices tells all about the services of an enclave.
func (s *ownService) ListServices(ctx context.Context, req *connect.Request[leptov1.ListServicesRequest]) (*connect.Response[leptov1.ListServicesResponse], error) {
	in, err := s.engine.Enclaves().Get(req.Msg.GetEnclave())
	if err != nil {
		return nil, err
	}
	list, err := services(ctx, in)
	if err != nil {
		return nil, err
	}
	doc, err := json.Marshal(list)
	return answer(&leptov1.ListServicesResponse{ServicesJson: doc}, err)
}

// services describes all services. Of an enclave that is gone from the backend
// it tells what the state has.
func services(ctx context.Context, in *enclave.Enclave) ([]view.Service, error) {
	all, err := in.InspectAll(ctx)
	if err != nil && in.Info().Status == enclave.Empty {
		all, err = in.Services(), nil
	}
	list := make([]view.Service, 0, len(all))
	for _, service := range all {
		list = append(list, serviceView(service))
	}
	return list, err
}

// StartService starts a stopped service.
func (s *ownService) StartService(ctx context.Context, req *connect.Request[leptov1.ServiceRequest]) (*connect.Response[leptov1.ServiceResponse], error) {
	return s.onService(ctx, req, (*enclave.Enclave).StartService)
}

// StopService stops a service.
func (s *ownService) StopService(ctx context.Context, req *connect.Request[leptov1.ServiceRequest]) (*connect.Response[leptov1.ServiceResponse], error) {
	return s.onService(ctx, req, (*enclave.Enclave).StopService)
}

// RemoveService removes a service.
func (s *ownService) RemoveService(ctx context.Context, req *connect.Request[leptov1.ServiceRequest]) (*connect.Response[leptov1.ServiceResponse], error) {
	return s.onService(ctx, req, (*enclave.Enclave).RemoveService)
}

func (s *ownService) onService(ctx context.Context, req *connect.Request[leptov1.ServiceRequest], do func(*enclave.Enclave, context.Context, string) error) (*connect.Response[leptov1.ServiceResponse], error) {
	in, err := s.engine.Enclaves().Get(req.Msg.GetEnclave())
	if err != nil {
		return nil, err
	}
	return answer(&leptov1.ServiceResponse{}, do(in, ctx, req.Msg.GetService()))
}

// ServiceLogs streams the output of services, as many lines a message as are
// there at once.
func (s *ownService) ServiceLogs(ctx context.Context, req *connect.Request[leptov1.ServiceLogsRequest], stream *connect.ServerStream[leptov1.ServiceLogsResponse]) error {
	m := req.Msg
	in, err := s.engine.Enclaves().Get(m.GetEnclave())
	if err != nil {
		return err
	}
	found, unknown, err := engine.PickServices(in, m.GetServices())
	if err != nil {
		return err
	}
	if len(unknown) > 0 {
		if err := stream.Send(&leptov1.ServiceLogsResponse{Unknown: unknown}); err != nil {
			return err
		}
	}
	q := engine.LogQuery{Services: found, Follow: m.GetFollow(), Tail: int(m.GetTail()), Since: timeOf(m.GetSinceUnixNano()), FilterFirst: m.GetFilterFirst()}
	for _, f := range m.GetFilters() {
		q.Filters = append(q.Filters, engine.LogFilter{Pattern: f.GetPattern(), Regex: f.GetRegex(), Invert: f.GetInvert()})
	}
	ctx, done := s.engine.Stream(ctx)
	defer done()
	err = sendLogs(s.engine.Logs(ctx, in, q), done, stream.Send)
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		return nil
	}
	return err
}
