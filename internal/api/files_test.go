package api_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	corewire "github.com/kurtosis-tech/kurtosis/api/golang/core/kurtosis_core_rpc_api_bindings"
	wire "github.com/kurtosis-tech/kurtosis/api/golang/engine/kurtosis_engine_rpc_api_bindings"

	"github.com/lepto-dev/lepto/internal/api/chunks"
	"github.com/lepto-dev/lepto/internal/backend/memory"
)

// send uploads an archive as an SDK does.
func send(t *testing.T, core corewire.ApiContainerServiceClient, name string, data []byte) (*corewire.UploadFilesArtifactResponse, error) {
	t.Helper()
	stream, err := core.UploadFilesArtifact(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	out := chunks.NewWriter(name, stream.Send)
	_, err = out.Write(data)
	if err = errors.Join(err, out.Close()); err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	return stream.CloseAndRecv()
}

// fetch downloads an artifact and gives its files.
func fetch(t *testing.T, core corewire.ApiContainerServiceClient, identifier string) (map[string]string, error) {
	t.Helper()
	stream, err := core.DownloadFilesArtifact(t.Context(), &corewire.DownloadFilesArtifactArgs{Identifier: identifier})
	if err != nil {
		t.Fatal(err)
	}
	in := chunks.NewReader(&received{stream: stream}, chunks.NoLimit)
	if _, err := in.Name(); err != nil {
		return nil, err
	}
	plain, err := gzip.NewReader(in)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for archive := tar.NewReader(plain); ; {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return files, nil
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		files[h.Name] = string(text)
	}
}

// received makes a gRPC stream one that a chunks.Reader reads.
type received struct {
	stream interface {
		Recv() (*corewire.StreamedDataChunk, error)
	}
	msg *corewire.StreamedDataChunk
	err error
}

func (r *received) Receive() bool {
	r.msg, r.err = r.stream.Recv()
	return r.err == nil
}
func (r *received) Msg() *corewire.StreamedDataChunk { return r.msg }
func (r *received) Err() error {
	if errors.Is(r.err, io.EOF) {
		return nil
	}
	return r.err
}

// coreOf makes an enclave and gives its own API.
func coreOf(t *testing.T) corewire.ApiContainerServiceClient {
	t.Helper()
	c, _ := startEngine(t, testConfig(memory.New(memory.Options{}), tempHome(t)))
	name := "files"
	made, err := wire.NewEngineServiceClient(dialGRPC(t, c.Engine().Loopback)).CreateEnclave(t.Context(), &wire.CreateEnclaveArgs{EnclaveName: &name})
	if err != nil {
		t.Fatal(err)
	}
	host := made.GetEnclaveInfo().GetApiContainerHostMachineInfo()
	return corewire.NewApiContainerServiceClient(dialGRPC(t, host.GetIpOnHostMachine()+":"+uitoa(host.GetGrpcPortOnHostMachine())))
}

// sample is a directory with a text, a nested file that takes several chunks, and
// an empty directory.
func sample(t *testing.T) (data []byte, files map[string]string) {
	t.Helper()
	dir := t.TempDir()
	large := make([]byte, 3*chunks.Size+17)
	for i := range large {
		large[i] = byte(i * i >> 7)
	}
	files = map[string]string{"text": "hello\n", "sub/large": string(large)}
	for name, content := range files {
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	files["sub/"] = ""
	return archive(t, dir), files
}

func TestFilesArtifactsByGRPC(t *testing.T) {
	core := coreOf(t)
	ctx := t.Context()
	data, files := sample(t)
	made, err := send(t, core, "up", data)
	if err != nil || made.GetName() != "up" || len(made.GetUuid()) != 32 {
		t.Fatalf("upload: %v, %v", made, err)
	}
	unnamed, err := send(t, core, "", data)
	if err != nil || len(strings.Split(unnamed.GetName(), "-")) != 2 {
		t.Fatalf("upload without a name: %v, %v", unnamed, err)
	}
	for _, identifier := range []string{"up", made.GetUuid(), made.GetUuid()[:12], " up ", unnamed.GetName()} {
		if got, err := fetch(t, core, identifier); err != nil || !maps.Equal(got, files) {
			t.Errorf("download %q: %v files, %v", identifier, slices.Sorted(maps.Keys(got)), err)
		}
	}
	list, err := core.ListFilesArtifactNamesAndUuids(ctx, &emptypb.Empty{})
	if err != nil || len(list.GetFileNamesAndUuids()) != 2 {
		t.Fatalf("list: %v, %v", list, err)
	}
	inspect(t, core, &corewire.FilesArtifactNameAndUuid{FileName: "up", FileUuid: "ignored"})
	inspect(t, core, &corewire.FilesArtifactNameAndUuid{FileUuid: made.GetUuid()})
}

func inspect(t *testing.T, core corewire.ApiContainerServiceClient, which *corewire.FilesArtifactNameAndUuid) {
	t.Helper()
	res, err := core.InspectFilesArtifactContents(t.Context(), &corewire.InspectFilesArtifactContentsRequest{FileNamesAndUuid: which})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, d := range res.GetFileDescriptions() {
		text := "-"
		if d.TextPreview != nil {
			text = d.GetTextPreview()
		}
		got = append(got, d.GetPath()+"|"+uitoa(uint32(d.GetSize()))+"|"+text)
	}
	if want := []string{"sub/|0|", "sub/large|3145745|-", "text|6|hello\n"}; !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

func TestFilesArtifactsFromElsewhere(t *testing.T) {
	core := coreOf(t)
	ctx := t.Context()
	data, files := sample(t)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/files.tgz":
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
		case "/plain.txt":
			io.WriteString(w, "plain")
		default:
			http.NotFound(w, r)
		}
	}))
	defer web.Close()
	for name, want := range map[string]map[string]string{"files.tgz": files, "plain.txt": {"plain.txt": "plain"}} {
		if _, err := core.StoreWebFilesArtifact(ctx, &corewire.StoreWebFilesArtifactArgs{Url: web.URL + "/" + name, Name: name}); err != nil {
			t.Fatal(err)
		}
		if got, err := fetch(t, core, name); err != nil || !maps.Equal(got, want) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	runText(t, core, `
def run(plan):
    plan.add_service("s", ServiceConfig("pause", files = {"/in": "files.tgz"}))
`)
	if _, err := core.StoreFilesArtifactFromService(ctx, &corewire.StoreFilesArtifactFromServiceArgs{ServiceIdentifier: "s", SourcePath: "/in/text", Name: "back"}); err != nil {
		t.Fatal(err)
	}
	if got, err := fetch(t, core, "back"); err != nil || !maps.Equal(got, map[string]string{"text": "hello\n"}) {
		t.Errorf("back: %v, %v", got, err)
	}
	_, err := core.StoreWebFilesArtifact(ctx, &corewire.StoreWebFilesArtifactArgs{Url: web.URL + "/nothing", Name: "x"})
	if err == nil || !strings.Contains(err.Error(), "404 Not Found") {
		t.Errorf("an answer that is no success: %v", err)
	}
}

func TestFilesArtifactsRefused(t *testing.T) {
	core := coreOf(t)
	ctx := t.Context()
	data, _ := sample(t)
	if _, err := send(t, core, "up", data); err != nil {
		t.Fatal(err)
	}
	want := func(what string, err error, code codes.Code) {
		t.Helper()
		if status.Code(err) != code {
			t.Errorf("%s: %v", what, err)
		}
	}
	_, err := send(t, core, "up", data)
	want("a name that is taken", err, codes.AlreadyExists)
	_, err = send(t, core, "text", []byte("no archive"))
	want("text", err, codes.InvalidArgument)
	_, err = send(t, core, "cut", data[:len(data)/2])
	want("half an archive", err, codes.InvalidArgument)
	_, err = send(t, core, "nothing", nil)
	want("nothing", err, codes.InvalidArgument)
	_, err = fetch(t, core, "nope")
	want("download what is not there", err, codes.NotFound)
	_, err = fetch(t, core, "  ")
	want("download nothing", err, codes.InvalidArgument)
	_, err = core.InspectFilesArtifactContents(ctx, &corewire.InspectFilesArtifactContentsRequest{FileNamesAndUuid: &corewire.FilesArtifactNameAndUuid{FileName: "nope"}})
	want("inspect what is not there", err, codes.NotFound)
	_, err = core.StoreWebFilesArtifact(ctx, &corewire.StoreWebFilesArtifactArgs{Url: "file:///etc/passwd", Name: "x"})
	want("a file of the host", err, codes.InvalidArgument)
	_, err = core.StoreFilesArtifactFromService(ctx, &corewire.StoreFilesArtifactFromServiceArgs{ServiceIdentifier: "nope", SourcePath: "/x"})
	want("no such service", err, codes.NotFound)

	stream, err := core.UploadFilesArtifact(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, previous := range []string{"", "wrong"} {
		_ = stream.Send(&corewire.StreamedDataChunk{Data: data[:1000], PreviousChunkHash: previous, Metadata: &corewire.DataChunkMetadata{Name: "x"}})
	}
	_, err = stream.CloseAndRecv()
	want("a chunk out of order", err, codes.InvalidArgument)

	cancelled, cancel := context.WithCancelCause(ctx)
	stream, err = core.UploadFilesArtifact(cancelled)
	if err != nil {
		t.Fatal(err)
	}
	_ = stream.Send(&corewire.StreamedDataChunk{Data: data, Metadata: &corewire.DataChunkMetadata{Name: "x"}})
	cancel(errors.New("gone"))
	_, err = stream.CloseAndRecv()
	want("a client that goes away", err, codes.Canceled)
	list, err := core.ListFilesArtifactNamesAndUuids(ctx, &emptypb.Empty{})
	if err != nil || len(list.GetFileNamesAndUuids()) != 1 {
		t.Errorf("something of what was refused is there: %v, %v", list, err)
	}
}

// runText runs a script that must succeed.
func runText(t *testing.T, core corewire.ApiContainerServiceClient, text string) {
	t.Helper()
	stream, err := core.RunStarlarkScript(t.Context(), &corewire.RunStarlarkScriptArgs{SerializedScript: text})
	if err != nil {
		t.Fatal(err)
	}
	for {
		line, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil || line.GetError() != nil {
			t.Fatalf("run: %v, %v", line, err)
		}
	}
}
