package api_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	corewire "github.com/kurtosis-tech/kurtosis/api/golang/core/kurtosis_core_rpc_api_bindings"
)

// archive packs a directory as clients do.
func archive(t *testing.T, dir string) []byte {
	t.Helper()
	var packed bytes.Buffer
	zipped := gzip.NewWriter(&packed)
	files := tar.NewWriter(zipped)
	if err := files.AddFS(os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := files.Close(); err != nil {
		t.Fatal(err)
	}
	if err := zipped.Close(); err != nil {
		t.Fatal(err)
	}
	return packed.Bytes()
}

// upload sends a package in chunks small enough to be several.
func upload(t *testing.T, core corewire.ApiContainerServiceClient, id string, data []byte) {
	t.Helper()
	stream, err := core.UploadStarlarkPackage(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	previous := ""
	for len(data) > 0 {
		n := min(100, len(data))
		if err := stream.Send(&corewire.StreamedDataChunk{
			Data: data[:n], PreviousChunkHash: previous, Metadata: &corewire.DataChunkMetadata{Name: id}}); err != nil {
			t.Fatal(err)
		}
		sum := sha1.Sum(data[:n])
		previous, data = hex.EncodeToString(sum[:]), data[n:]
	}
	if _, err := stream.CloseAndRecv(); err != nil {
		t.Fatal(err)
	}
}

// callAll asks URLs and prints a line with what comes back from each: the body of
// the test binary where it is somebody else's process.
func callAll(urls []string) int {
	for _, url := range urls {
		res, err := http.Post(url, "application/json", strings.NewReader("{}"))
		if err != nil {
			fmt.Println(err)
			continue
		}
		var text bytes.Buffer
		_, _ = text.ReadFrom(res.Body)
		res.Body.Close()
		fmt.Println(res.StatusCode, strings.ReplaceAll(text.String(), "\n", " "))
	}
	return 0
}
