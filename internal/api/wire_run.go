package api

import (
	"bytes"
	"context"
	"errors"
	"iter"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/emptypb"

	wire "github.com/kurtosis-tech/kurtosis/api/golang/core/kurtosis_core_rpc_api_bindings"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/engine"
	"github.com/lepto-dev/lepto/internal/fault"
	"github.com/lepto-dev/lepto/internal/run"
	"github.com/lepto-dev/lepto/internal/source"
)

// This file holds the runs of the wire API.

type runStream = connect.ServerStream[wire.StarlarkRunResponseLine]

// RunStarlarkScript runs a script. The client may leave; the run goes on.
func (s *enclaveService) RunStarlarkScript(ctx context.Context, req *connect.Request[wire.RunStarlarkScriptArgs], stream *runStream) error {
	m := req.Msg
	pkg, err := s.engine.ScriptPackage("", m.GetSerializedScript(), engine.Origin{})
	if err != nil {
		return err
	}
	r := run.Request{
		Package: pkg,
		Args:    m.GetSerializedParams(), MainFunction: m.GetMainFunctionName(), DryRun: m.GetDryRun(),
		Parallelism: int(m.GetParallelism()), PullPolicy: pullPolicy(m.ImageDownloadMode),
		AllowPrivileged: m.GetAllowPrivilegedMode(), SkipResourceCheck: m.ResourceCheck != nil && !m.GetResourceCheck(),
		Experimental: features(m.GetExperimentalFeatures()), Parallel: m.GetParallel(), KeepTasks: m.GetNonBlockingMode(),
	}
	return s.run(ctx, r, stream)
}

// RunStarlarkPackage runs a package: one uploaded before, or from elsewhere. A
// package that can't be opened is told as an error of interpretation.
func (s *enclaveService) RunStarlarkPackage(ctx context.Context, req *connect.Request[wire.RunStarlarkPackageArgs], stream *runStream) error {
	m := req.Msg
	pkg, err := s.openPackage(ctx, m)
	if err != nil {
		f := fault.From(err, engine.CodeBadPackage)
		return stream.Send(failure(run.Interpretation, problemText(run.Problem{Summary: f.Summary, Stack: f.At, Evidence: f.Evidence, Hint: f.Hint})))
	}
	r := run.Request{
		Package: pkg,
		Args:    m.GetSerializedParams(), MainFunction: m.GetMainFunctionName(), DryRun: m.GetDryRun(),
		Parallelism: int(m.GetParallelism()), PullPolicy: pullPolicy(m.ImageDownloadMode),
		AllowPrivileged: m.GetAllowPrivilegedMode(), SkipResourceCheck: m.ResourceCheck != nil && !m.GetResourceCheck(),
		Experimental: features(m.GetExperimentalFeatures()), Parallel: m.GetParallel(), KeepTasks: m.GetNonBlockingMode(),
	}
	return s.run(ctx, r, stream)
}

// GetStarlarkScriptPlanYaml gives what a script would do, as YAML.
func (s *enclaveService) GetStarlarkScriptPlanYaml(ctx context.Context, req *connect.Request[wire.StarlarkScriptPlanYamlArgs]) (*connect.Response[wire.PlanYaml], error) {
	m := req.Msg
	pkg, err := s.engine.ScriptPackage("", m.GetSerializedScript(), engine.Origin{})
	if err != nil {
		return nil, err
	}
	return s.planYAML(ctx, run.Request{
		Package: pkg, Args: m.GetSerializedParams(),
		MainFunction: m.GetMainFunctionName(), AllowPrivileged: m.GetAllowPrivilegedMode(),
	})
}

// GetStarlarkPackagePlanYaml gives what a package would do, as YAML.
func (s *enclaveService) GetStarlarkPackagePlanYaml(ctx context.Context, req *connect.Request[wire.StarlarkPackagePlanYamlArgs]) (*connect.Response[wire.PlanYaml], error) {
	m := req.Msg
	remote := m.GetIsRemote()
	pkg, err := s.openPackage(ctx, &wire.RunStarlarkPackageArgs{
		PackageId: m.GetPackageId(), RelativePathToMainFile: m.RelativePathToMainFile, ClonePackage: &remote,
	})
	if err != nil {
		return nil, err
	}
	return s.planYAML(ctx, run.Request{
		Package: pkg, Args: m.GetSerializedParams(),
		MainFunction: m.GetMainFunctionName(), AllowPrivileged: m.GetAllowPrivilegedMode(),
	})
}

func (s *enclaveService) planYAML(ctx context.Context, req run.Request) (*connect.Response[wire.PlanYaml], error) {
	in, err := s.enclave()
	if err != nil {
		return nil, err
	}
	text, err := s.engine.PlanYAML(ctx, in, req)
	return answer(&wire.PlanYaml{PlanYaml: text}, err)
}

// openPackage finds the package. Clients of old send it along with the request,
// or say only that it is remote.
func (s *enclaveService) openPackage(ctx context.Context, m *wire.RunStarlarkPackageArgs) (*source.Package, error) {
	in, err := s.enclave()
	if err != nil {
		return nil, err
	}
	clone := m.GetClonePackage()
	if m.ClonePackage == nil {
		clone = m.GetRemote()
		if content := m.GetLocal(); len(content) > 0 {
			if err := s.engine.StorePackage(ctx, in, m.GetPackageId(), bytes.NewReader(content)); err != nil {
				return nil, err
			}
		}
	}
	if clone {
		return s.engine.RemotePackage(ctx, m.GetPackageId(), m.GetRelativePathToMainFile(), m.GetGithubAuthToken(), engine.Origin{})
	}
	return s.engine.UploadedPackage(in, m.GetPackageId(), m.GetRelativePathToMainFile(), engine.Origin{})
}

// UploadStarlarkPackage receives a package's archive, replacing the one of that
// name that was there.
func (s *enclaveService) UploadStarlarkPackage(ctx context.Context, stream *connect.ClientStream[wire.StreamedDataChunk]) (*connect.Response[emptypb.Empty], error) {
	in, err := s.enclave()
	if err != nil {
		return nil, err
	}
	room, err := engine.Room(s.engine.Spool())
	if err != nil {
		return nil, err
	}
	archive, err := receive(ctx, stream, s.engine.Spool(), room)
	if err != nil {
		return nil, err
	}
	err = s.engine.StorePackage(ctx, in, archive.name, archive)
	return answer(&emptypb.Empty{}, errors.Join(err, archive.Close()))
}

// run starts a run and sends its lines until it ends or the client leaves.
func (s *enclaveService) run(ctx context.Context, req run.Request, stream *runStream) error {
	in, err := s.enclave()
	if err != nil {
		return err
	}
	events, err := s.engine.StartRun(in, req)
	if err != nil {
		return err
	}
	if err := sendLines(events.Events(ctx, 1), stream.Send); err != nil {
		return err
	}
	// Who reads to the end may ask for the last run next: it is stored then.
	_, err = events.Wait(ctx)
	return err
}

func sendLines(events iter.Seq2[run.Event, error], send func(*wire.StarlarkRunResponseLine) error) error {
	rendering := newRunLines()
	for event, err := range events {
		if err != nil {
			return err
		}
		for _, line := range rendering.lines(event) {
			if err := send(line); err != nil {
				return err
			}
		}
	}
	return nil
}

// pullPolicy reads an optional enum whose default is not its zero value.
func pullPolicy(mode *wire.ImageDownloadMode) backend.PullPolicy {
	if mode != nil && *mode == wire.ImageDownloadMode_always {
		return backend.PullAlways
	}
	return backend.PullMissing
}

func features(flags []wire.KurtosisFeatureFlag) []string {
	var names []string
	for _, flag := range flags {
		names = append(names, flag.String())
	}
	return names
}
