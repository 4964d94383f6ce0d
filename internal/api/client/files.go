package client

import (
	"context"
	"errors"
	"io"
	"net/url"

	"connectrpc.com/connect"
	wire "github.com/kurtosis-tech/kurtosis/api/golang/core/kurtosis_core_rpc_api_bindings"
	"github.com/kurtosis-tech/kurtosis/api/golang/core/kurtosis_core_rpc_api_bindings/kurtosis_core_rpc_api_bindingsconnect"

	"github.com/lepto-dev/lepto/internal/api/chunks"
	"github.com/lepto-dev/lepto/internal/api/errwire"
	"github.com/lepto-dev/lepto/internal/api/leptov1"
)

// This file holds the calls about files artifacts.

// core gives a client of an enclave's own API: uuid, short uuid or name.
func (c *Client) core(enclave string) kurtosis_core_rpc_api_bindingsconnect.ApiContainerServiceClient {
	return kurtosis_core_rpc_api_bindingsconnect.NewApiContainerServiceClient(c.http,
		base+"/enclaves/"+url.PathEscape(enclave), connect.WithAcceptCompression("gzip", nil, nil))
}

// UploadArtifact stores an archive that pack writes as a files artifact, and
// gives its uuid and name. A blank name is made up; one that is taken is
// fault.ErrExists.
func (c *Client) UploadArtifact(ctx context.Context, enclave, name string, pack func(io.Writer) error) (Artifact, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(errLeft)
	stream := c.core(enclave).UploadFilesArtifact(ctx)
	refused := false
	out := chunks.NewWriter(name, func(chunk *wire.StreamedDataChunk) error {
		err := stream.Send(chunk)
		refused = refused || err != nil
		return err
	})
	err := pack(out)
	if err == nil {
		err = out.Close()
	}
	if err != nil && !refused {
		cancel(err) // what has arrived is no archive, and must not be taken for one
		return Artifact{}, err
	}
	res, err := stream.CloseAndReceive() // tells why, if the engine has refused it
	if err != nil {
		return Artifact{}, errwire.Decode(err)
	}
	made := Artifact{UUID: res.Msg.GetUuid(), Name: res.Msg.GetName()}
	return made, nil
}

// DownloadArtifact calls read with a files artifact as an archive, gzip'ed tar:
// uuid, short uuid or name.
func (c *Client) DownloadArtifact(ctx context.Context, enclave, artifact string, read func(io.Reader) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(errLeft)
	stream, err := c.core(enclave).DownloadFilesArtifact(ctx, connect.NewRequest(&wire.DownloadFilesArtifactArgs{Identifier: artifact}))
	if err != nil {
		return errwire.Decode(err)
	}
	defer stream.Close()
	in := chunks.NewReader(stream, chunks.NoLimit)
	if _, err := in.Name(); err != nil {
		return errwire.Decode(err)
	}
	err = read(in)
	if failed := stream.Err(); failed != nil && !errors.Is(failed, io.EOF) {
		return errwire.Decode(failed)
	}
	return err
}

// ReadArtifactFile copies one file of a files artifact to w.
func (c *Client) ReadArtifactFile(ctx context.Context, enclave, artifact, path string, w io.Writer) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(errLeft)
	stream, err := c.own.ReadArtifactFile(ctx, connect.NewRequest(&leptov1.ReadArtifactFileRequest{Enclave: enclave, Artifact: artifact, Path: path}))
	if err != nil {
		return errwire.Decode(err)
	}
	defer stream.Close()
	for stream.Receive() {
		if _, err := w.Write(stream.Msg().GetContent()); err != nil {
			return err
		}
	}
	return errwire.Decode(stream.Err())
}

// ArtifactFile is what a files artifact has at a path.
type ArtifactFile struct {
	Path string `json:"path"` // of a directory, with a "/" at its end
	Size uint64 `json:"size"`
	// Text is the whole text of a short file that can be shown.
	Text *string `json:"text,omitempty"`
}

// ArtifactFiles lists what a files artifact has, sorted by path.
func (c *Client) ArtifactFiles(ctx context.Context, enclave, artifact string) ([]ArtifactFile, error) {
	res, err := c.core(enclave).InspectFilesArtifactContents(ctx, connect.NewRequest(&wire.InspectFilesArtifactContentsRequest{
		FileNamesAndUuid: &wire.FilesArtifactNameAndUuid{FileName: artifact},
	}))
	if err != nil {
		return nil, errwire.Decode(err)
	}
	var files []ArtifactFile
	for _, d := range res.Msg.GetFileDescriptions() {
		files = append(files, ArtifactFile{Path: d.GetPath(), Size: d.GetSize(), Text: d.TextPreview})
	}
	return files, nil
}

// StoreWebArtifact stores what a URL gives as a files artifact, and gives its uuid.
func (c *Client) StoreWebArtifact(ctx context.Context, enclave, name, address string) (string, error) {
	res, err := c.core(enclave).StoreWebFilesArtifact(ctx, connect.NewRequest(&wire.StoreWebFilesArtifactArgs{Name: name, Url: address}))
	if err != nil {
		return "", errwire.Decode(err)
	}
	return res.Msg.GetUuid(), nil
}

// StoreServiceArtifact stores a path of a service as a files artifact, and gives
// its uuid. A blank name is made up.
func (c *Client) StoreServiceArtifact(ctx context.Context, enclave, name, service, path string) (string, error) {
	res, err := c.core(enclave).StoreFilesArtifactFromService(ctx, connect.NewRequest(&wire.StoreFilesArtifactFromServiceArgs{
		Name: name, ServiceIdentifier: service, SourcePath: path,
	}))
	if err != nil {
		return "", errwire.Decode(err)
	}
	return res.Msg.GetUuid(), nil
}

// RemoveArtifact forgets a files artifact. Services that mount it keep its files.
func (c *Client) RemoveArtifact(ctx context.Context, enclave, artifact string) error {
	_, err := c.own.RemoveArtifact(ctx, connect.NewRequest(&leptov1.RemoveArtifactRequest{Enclave: enclave, Artifact: artifact}))
	return errwire.Decode(err)
}
