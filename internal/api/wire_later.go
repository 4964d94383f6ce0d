package api

import (
	"context"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/emptypb"

	wire "github.com/kurtosis-tech/kurtosis/api/golang/core/kurtosis_core_rpc_api_bindings"

	"github.com/lepto-dev/lepto/internal/fault"
)

// This file answers the calls of the wire API that lepto can't serve yet, in
// words that a user of an SDK understands.

// Codes of the faults of the wire.
const (
	codeNoArtifacts = "E0710" // files artifacts are not there yet
	codeNoPlanYAML  = "E0711" // plans can't be had as YAML yet
)

func noArtifacts(call string) error {
	return (&fault.Fault{Code: codeNoArtifacts, Summary: call + ": this lepto has no files artifacts yet", Cause: fault.ErrUnsupported}).
		WithHint("build the files into an image (ImageBuildSpec), or write them with plan.exec")
}

func noPlanYAML(call string) error {
	return (&fault.Fault{Code: codeNoPlanYAML, Summary: call + ": this lepto gives no plans as YAML yet", Cause: fault.ErrUnsupported}).
		WithHint("a dry run lists the plan's instructions; lepto plan -o json gives it as data")
}

// UploadFilesArtifact is not there yet.
func (s *enclaveService) UploadFilesArtifact(context.Context, *connect.ClientStream[wire.StreamedDataChunk]) (*connect.Response[wire.UploadFilesArtifactResponse], error) {
	return nil, noArtifacts("upload files")
}

// DownloadFilesArtifact is not there yet.
func (s *enclaveService) DownloadFilesArtifact(context.Context, *connect.Request[wire.DownloadFilesArtifactArgs], *connect.ServerStream[wire.StreamedDataChunk]) error {
	return noArtifacts("download files")
}

// StoreWebFilesArtifact is not there yet.
func (s *enclaveService) StoreWebFilesArtifact(context.Context, *connect.Request[wire.StoreWebFilesArtifactArgs]) (*connect.Response[wire.StoreWebFilesArtifactResponse], error) {
	return nil, noArtifacts("store files from the web")
}

// StoreFilesArtifactFromService is not there yet.
func (s *enclaveService) StoreFilesArtifactFromService(context.Context, *connect.Request[wire.StoreFilesArtifactFromServiceArgs]) (*connect.Response[wire.StoreFilesArtifactFromServiceResponse], error) {
	return nil, noArtifacts("store files of a service")
}

// ListFilesArtifactNamesAndUuids is not there yet.
func (s *enclaveService) ListFilesArtifactNamesAndUuids(context.Context, *connect.Request[emptypb.Empty]) (*connect.Response[wire.ListFilesArtifactNamesAndUuidsResponse], error) {
	return nil, noArtifacts("list files")
}

// InspectFilesArtifactContents is not there yet.
func (s *enclaveService) InspectFilesArtifactContents(context.Context, *connect.Request[wire.InspectFilesArtifactContentsRequest]) (*connect.Response[wire.InspectFilesArtifactContentsResponse], error) {
	return nil, noArtifacts("inspect files")
}

// GetStarlarkScriptPlanYaml is not there yet.
func (s *enclaveService) GetStarlarkScriptPlanYaml(context.Context, *connect.Request[wire.StarlarkScriptPlanYamlArgs]) (*connect.Response[wire.PlanYaml], error) {
	return nil, noPlanYAML("plan of a script")
}

// GetStarlarkPackagePlanYaml is not there yet.
func (s *enclaveService) GetStarlarkPackagePlanYaml(context.Context, *connect.Request[wire.StarlarkPackagePlanYamlArgs]) (*connect.Response[wire.PlanYaml], error) {
	return nil, noPlanYAML("plan of a package")
}
