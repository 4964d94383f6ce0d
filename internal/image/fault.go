package image

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"syscall"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/fault"
)

// This file turns what goes wrong into faults. Codes: E0410 no such image,
// E0411 wrong platform, E0412 registry unreachable, E0413 credentials refused,
// E0414 disk full, E0418 bad name, E0419 damaged image, E0426 image in use.

// errCorrupt is wrapped by errors about content that is not what its digest or
// format says.
var errCorrupt = errors.New("damaged image")

// errStalled ends a transfer of which nothing more comes.
var errStalled = errors.New("the registry sends nothing more")

// CheckPlatform gives a fault with code E0411 if the image is for another kind
// of machine than this one. An image that names no architecture passes.
func CheckPlatform(info backend.ImageInfo) error {
	arch := info.Architecture
	if arch == "" || arch == runtime.GOARCH || arch == "386" && runtime.GOARCH == "amd64" {
		return nil
	}
	return fault.New("E0411", "image %q is for %s, this host runs %s", info.Ref, arch, runtime.GOARCH).
		WithHint("use an image that is published for linux/%s, or build it on this host", runtime.GOARCH)
}

// pullFault says what went wrong when pulling r.
func pullFault(ctx context.Context, r reference, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("pull image %q: %w", r.familiar(), context.Cause(ctx))
	}
	var f *fault.Fault
	if errors.As(err, &f) {
		if !strings.HasPrefix(f.Summary, "image ") {
			named := *f
			named.Summary = fmt.Sprintf("image %q: %s", r.familiar(), f.Summary)
			f = &named
		}
		return f
	}
	if full := diskFault(fmt.Sprintf("pull image %q", r.familiar()), err); full != nil {
		return full
	}
	if errors.Is(err, errCorrupt) {
		return &fault.Fault{Code: "E0419", Summary: fmt.Sprintf("image %q: %s", r.familiar(), err), Cause: err,
			Hint: "the registry, or something between it and this host, gave content that is not what its digest says; pull again or push the image anew"}
	}
	var answer *transport.Error
	if errors.As(err, &answer) {
		return answerFault(r, answer)
	}
	return unreachable(r, err)
}

// answerFault says what a registry's refusal means.
func answerFault(r reference, answer *transport.Error) error {
	said := spoken(answer)
	switch code := answer.StatusCode; {
	case code == http.StatusUnauthorized || code == http.StatusForbidden:
		return &fault.Fault{Code: "E0413", Cause: answer,
			Summary: fmt.Sprintf("image %q: registry %s refuses access: %s", r.familiar(), r.registry(), said),
			Hint:    "the repository does not exist, or needs other credentials: log in to the registry with your usual client, or give user and password with the image"}
	case code == http.StatusNotFound || code == http.StatusBadRequest:
		return &fault.Fault{Code: "E0410", Cause: fmt.Errorf("%w: %w", ErrNotFound, answer),
			Summary: fmt.Sprintf("image %q not found: registry %s answers %s", r.familiar(), r.registry(), said),
			Hint:    "check the name and the tag, or load the image from an archive"}
	case code == http.StatusTooManyRequests:
		return &fault.Fault{Code: "E0412", Cause: fmt.Errorf("%w: %w", fault.ErrUnavailable, answer),
			Summary: fmt.Sprintf("image %q: registry %s allows no more pulls for now: %s", r.familiar(), r.registry(), said),
			Hint:    "log in to the registry for a higher limit, or try again later"}
	}
	return &fault.Fault{Code: "E0412", Cause: fmt.Errorf("%w: %w", fault.ErrUnavailable, answer),
		Summary: fmt.Sprintf("image %q: registry %s answers %s", r.familiar(), r.registry(), said),
		Hint:    "the registry has a problem of its own; try again later"}
}

// spoken gives a registry's answer in one line.
func spoken(answer *transport.Error) string {
	status := fmt.Sprintf("%d %s", answer.StatusCode, http.StatusText(answer.StatusCode))
	if len(answer.Errors) == 0 {
		return status
	}
	first := answer.Errors[0]
	return strings.TrimSuffix(fmt.Sprintf("%s (%s: %s)", status, first.Code, strings.Join(strings.Fields(first.Message), " ")), ": )")
}

// unreachable says that a registry could not be talked to.
func unreachable(r reference, err error) error {
	cause := err
	var ue *url.Error
	if errors.As(err, &ue) {
		cause = ue.Err // without the URL: the registry's name says enough
	}
	hint := "check the network, or load the image from an archive"
	var dns *net.DNSError
	if errors.As(err, &dns) {
		hint = "check the registry's name and this host's DNS, or load the image from an archive"
	}
	return &fault.Fault{Code: "E0412", Cause: fmt.Errorf("%w: %w", fault.ErrUnavailable, err), Hint: hint,
		Summary: fmt.Sprintf("image %q: registry %s is unreachable: %s", r.familiar(), r.registry(), cause)}
}

// storeFault wraps an error of the store itself: a full disk gets its code.
func storeFault(what string, err error) error {
	if full := diskFault(what, err); full != nil {
		return full
	}
	return fmt.Errorf("%s: %w", what, err)
}

// diskFault gives the fault for a full disk, or nil for another error.
func diskFault(what string, err error) error {
	if !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT) {
		return nil
	}
	return &fault.Fault{Code: "E0414", Summary: what + ": no space left on the disk", Cause: err,
		Hint: "free some space, or remove images that are not needed: lepto image ls, lepto image rm"}
}
