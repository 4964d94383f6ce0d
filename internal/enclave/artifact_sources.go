package enclave

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path"
	"strings"

	"github.com/lepto-dev/lepto/internal/artifact"
	"github.com/lepto-dev/lepto/internal/fault"
)

// This file makes files artifacts of what is elsewhere.

// StoreServiceFiles makes a files artifact of a path in a service, running or
// stopped: of a directory (/d, /d/ or /d/*) what is in it, a file under its own
// name. What a files artifact can't hold is left out, and told to Progress:
// links that lead out of the directory, devices, sockets. E0545 if there is no
// such path.
func (e *Enclave) StoreServiceFiles(ctx context.Context, service, src, name string, opts StoreOptions) (Artifact, Change, error) {
	at := strings.TrimSuffix(src, "/*")
	if src == "/*" {
		at = "/"
	}
	if at == "" {
		return Artifact{}, "", fault.New("E0545", "the path of the files in service %q is empty", service)
	}
	return e.StoreArtifact(ctx, name, opts, func(b *artifact.Builder) error {
		files, err := e.Files(ctx, service, path.Join("/", at))
		if errors.Is(err, fault.ErrNotFound) && fault.From(err, "").Code == "" {
			return fault.New("E0545", "service %q has no file or directory %q", service, src)
		}
		if err != nil {
			return err
		}
		defer files.Close()
		if err := b.Unpack(files, artifact.Skip); err != nil {
			return fmt.Errorf("files of service %q at %q: %w", service, src, err)
		}
		if n := len(b.Skipped); n > 0 && opts.Progress != nil {
			opts.Progress(fmt.Sprintf("left out of files artifact %q, since it can't hold them: %s", name, few(b.Skipped)))
		}
		return nil
	})
}

// StoreWebFiles makes a files artifact of what a URL gives: of an archive (a tar,
// plain or compressed) what is in it, of anything else a file.
func (e *Enclave) StoreWebFiles(ctx context.Context, u *url.URL, name string, opts StoreOptions) (Artifact, Change, error) {
	return e.StoreArtifact(ctx, name, opts, func(b *artifact.Builder) error {
		content, err := artifact.Fetch(ctx, u)
		if err != nil {
			return err
		}
		defer content.Close()
		return b.UnpackOr(artifact.WebName(u), content)
	})
}

// few joins at most ten texts.
func few(texts []string) string {
	if len(texts) > 10 {
		return fmt.Sprintf("%s and %d more", strings.Join(texts[:10], ", "), len(texts)-10)
	}
	return strings.Join(texts, ", ")
}
