// Command registry serves images on the loopback interface: a registry for
// tests, filled from directories.
//
//	registry -dir DIR -blobs DIR [-listen ADDRESS]
//
// Each directory DIR/NAME that has a root.tar and an image.json, the config of
// an OCI image, becomes the image NAME:latest. Once all are there, the address is
// printed on a line of its own. It ends with SIGTERM or SIGINT.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

func main() {
	dir := flag.String("dir", "", "the directory of the images")
	blobs := flag.String("blobs", "", "a directory to keep what is pushed in")
	listen := flag.String("listen", "127.0.0.1:0", "the address to serve on")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := serve(ctx, *dir, *blobs, *listen); err != nil {
		fmt.Fprintln(os.Stderr, "registry:", err)
		os.Exit(1)
	}
}

func serve(ctx context.Context, dir, blobs, listen string) error {
	roots, err := filepath.Glob(filepath.Join(dir, "*", "root.tar"))
	if err != nil || len(roots) == 0 {
		return fmt.Errorf("no image in %q: %w", dir, errors.Join(err, os.ErrNotExist))
	}
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	quiet := registry.Logger(log.New(io.Discard, "", 0))
	server := &http.Server{Handler: registry.New(quiet, registry.WithBlobHandler(registry.NewDiskBlobHandler(blobs)))}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	defer server.Close()
	for _, root := range roots {
		if err := push(ctx, filepath.Dir(root), listener.Addr().String()); err != nil {
			return fmt.Errorf("%s: %w", root, err)
		}
	}
	fmt.Println(listener.Addr())
	select {
	case <-ctx.Done():
		return nil
	case err := <-served:
		return err
	}
}

// push makes the image of a directory and pushes it under the directory's name.
func push(ctx context.Context, dir, address string) error {
	text, err := os.ReadFile(filepath.Join(dir, "image.json"))
	if err != nil {
		return err
	}
	file := &v1.ConfigFile{Architecture: runtime.GOARCH, OS: "linux"}
	if err := json.Unmarshal(text, &file.Config); err != nil {
		return err
	}
	image, err := mutate.ConfigFile(empty.Image, file)
	if err != nil {
		return err
	}
	layer, err := tarball.LayerFromFile(filepath.Join(dir, "root.tar"), tarball.WithCompressionLevel(1))
	if err != nil {
		return err
	}
	if image, err = mutate.AppendLayers(image, layer); err != nil {
		return err
	}
	tag, err := name.NewTag(address+"/"+filepath.Base(dir)+":latest", name.Insecure)
	if err != nil {
		return err
	}
	return remote.Write(tag, image, remote.WithContext(ctx))
}
