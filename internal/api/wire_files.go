package api

import (
	"context"
	"fmt"
	"io"
	"strings"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/emptypb"

	wire "github.com/kurtosis-tech/kurtosis/api/golang/core/kurtosis_core_rpc_api_bindings"

	"github.com/lepto-dev/lepto/internal/api/chunks"
	"github.com/lepto-dev/lepto/internal/artifact"
	"github.com/lepto-dev/lepto/internal/enclave"
	"github.com/lepto-dev/lepto/internal/fault"
)

// This file holds the files artifacts of the wire API. Whatever is up- or
// downloaded goes through without being held.

// UploadFilesArtifact stores an archive. A blank name is made up.
func (s *enclaveService) UploadFilesArtifact(ctx context.Context, stream *connect.ClientStream[wire.StreamedDataChunk]) (*connect.Response[wire.UploadFilesArtifactResponse], error) {
	in, err := s.enclave()
	if err != nil {
		return nil, err
	}
	content := chunks.NewReader(stream, chunks.NoLimit)
	name, err := content.Name()
	if err != nil {
		return nil, err
	}
	made, _, err := in.StoreArtifact(ctx, strings.TrimSpace(name), enclave.StoreOptions{New: true}, func(b *artifact.Builder) error {
		if err := b.Unpack(content, artifact.Refuse); err != nil {
			return err
		}
		_, err := io.Copy(io.Discard, content) // what follows the archive's end: it must have arrived, too
		return err
	})
	return answer(&wire.UploadFilesArtifactResponse{Uuid: made.UUID, Name: made.Name}, err)
}

// DownloadFilesArtifact gives an artifact as an archive.
func (s *enclaveService) DownloadFilesArtifact(ctx context.Context, req *connect.Request[wire.DownloadFilesArtifactArgs], stream *connect.ServerStream[wire.StreamedDataChunk]) error {
	in, err := s.enclave()
	if err != nil {
		return err
	}
	identifier := strings.TrimSpace(req.Msg.GetIdentifier())
	if identifier == "" {
		return fmt.Errorf("download files: no files artifact is named: %w", fault.ErrInvalid)
	}
	return in.ReadArtifact(identifier, func(store *artifact.Store, a enclave.Artifact) error {
		out := chunks.NewWriter(a.Name, stream.Send)
		if err := store.Pack(ctx, a.Hash, out); err != nil {
			return err
		}
		return out.Close()
	})
}

// StoreWebFilesArtifact stores what a URL gives.
func (s *enclaveService) StoreWebFilesArtifact(ctx context.Context, req *connect.Request[wire.StoreWebFilesArtifactArgs]) (*connect.Response[wire.StoreWebFilesArtifactResponse], error) {
	in, err := s.enclave()
	if err != nil {
		return nil, err
	}
	address := artifact.WebAddress(req.Msg.GetUrl())
	if address == nil {
		return nil, fmt.Errorf("%q is no http or https URL: %w", req.Msg.GetUrl(), fault.ErrInvalid)
	}
	made, _, err := in.StoreWebFiles(ctx, address, req.Msg.GetName(), enclave.StoreOptions{New: true})
	return answer(&wire.StoreWebFilesArtifactResponse{Uuid: made.UUID}, err)
}

// StoreFilesArtifactFromService stores a path of a service.
func (s *enclaveService) StoreFilesArtifactFromService(ctx context.Context, req *connect.Request[wire.StoreFilesArtifactFromServiceArgs]) (*connect.Response[wire.StoreFilesArtifactFromServiceResponse], error) {
	in, err := s.enclave()
	if err != nil {
		return nil, err
	}
	m := req.Msg
	made, _, err := in.StoreServiceFiles(ctx, m.GetServiceIdentifier(), m.GetSourcePath(), m.GetName(), enclave.StoreOptions{New: true})
	return answer(&wire.StoreFilesArtifactFromServiceResponse{Uuid: made.UUID}, err)
}

// ListFilesArtifactNamesAndUuids lists the artifacts, by name.
func (s *enclaveService) ListFilesArtifactNamesAndUuids(context.Context, *connect.Request[emptypb.Empty]) (*connect.Response[wire.ListFilesArtifactNamesAndUuidsResponse], error) {
	in, err := s.enclave()
	if err != nil {
		return nil, err
	}
	res := &wire.ListFilesArtifactNamesAndUuidsResponse{}
	for _, a := range in.Artifacts() {
		res.FileNamesAndUuids = append(res.FileNamesAndUuids, &wire.FilesArtifactNameAndUuid{FileName: a.Name, FileUuid: a.UUID})
	}
	return answer(res, nil)
}

// InspectFilesArtifactContents lists what an artifact has, with the text of files
// that can be shown. Its name wins over its UUID.
func (s *enclaveService) InspectFilesArtifactContents(ctx context.Context, req *connect.Request[wire.InspectFilesArtifactContentsRequest]) (*connect.Response[wire.InspectFilesArtifactContentsResponse], error) {
	in, err := s.enclave()
	if err != nil {
		return nil, err
	}
	identifier := req.Msg.GetFileNamesAndUuid().GetFileName()
	if identifier == "" {
		identifier = req.Msg.GetFileNamesAndUuid().GetFileUuid()
	}
	res := &wire.InspectFilesArtifactContentsResponse{}
	err = in.ReadArtifact(identifier, func(store *artifact.Store, a enclave.Artifact) error {
		entries, err := store.Entries(ctx, a.Hash, true)
		for _, entry := range entries {
			res.FileDescriptions = append(res.FileDescriptions, fileDescription(entry))
		}
		return err
	})
	return answer(res, err)
}

func fileDescription(entry artifact.Entry) *wire.FileArtifactContentsFileDescription {
	d := &wire.FileArtifactContentsFileDescription{Path: entry.Path, Size: uint64(entry.Size)}
	if entry.IsText || strings.HasSuffix(entry.Path, "/") {
		d.TextPreview = &entry.Preview
	}
	return d
}
