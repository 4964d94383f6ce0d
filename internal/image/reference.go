package image

import (
	"net"
	"net/netip"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/lepto-dev/lepto/internal/fault"
)

// This file normalises image names as Docker does: "busybox" is
// "docker.io/library/busybox:latest".

// hubHost is the host that really serves docker.io.
const hubHost = "index.docker.io"

// reference is a normalised image name.
type reference struct{ name.Reference }

// isID reports whether ref is an image id instead of a name.
func isID(ref string) bool {
	hash, found := strings.CutPrefix(ref, "sha256:")
	return found && len(hash) == 64 && strings.Trim(hash, "0123456789abcdef") == ""
}

// parseReference normalises a name. A tag beside a digest says nothing.
func parseReference(ref string) (reference, error) {
	parsed, err := name.ParseReference(ref, name.WeakValidation)
	if err != nil {
		return reference{}, fault.New("E0418", "image name %q is not valid: %s", ref, err).
			WithHint("an image name is [registry[:port]/]repository[:tag][@sha256:…], its repository in lower case")
	}
	if isLoopback(parsed.Context().RegistryStr()) {
		// The library tries plain http for fewer names than we promise.
		if parsed, err = name.ParseReference(ref, name.WeakValidation, name.Insecure); err != nil {
			return reference{}, fault.New("E0418", "image name %q is not valid: %s", ref, err)
		}
	}
	return reference{parsed}, nil
}

// CheckName gives fault E0418 if an image can't have the name.
func CheckName(ref string) error {
	_, err := parseReference(ref)
	return err
}

// full gives the whole name: "docker.io/library/busybox:latest".
func (r reference) full() string {
	if rest, ok := strings.CutPrefix(r.Name(), hubHost+"/"); ok {
		return "docker.io/" + rest
	}
	return r.Name()
}

// familiar gives the name as users write it: "busybox:latest".
func (r reference) familiar() string { return familiar(r.full()) }

func familiar(full string) string {
	rest, ok := strings.CutPrefix(full, "docker.io/")
	if !ok {
		return full
	}
	if short, ok := strings.CutPrefix(rest, "library/"); ok && !strings.Contains(short, "/") {
		return short
	}
	if first, _, _ := strings.Cut(rest, "/"); strings.ContainsAny(first, ".:") || first == "localhost" {
		return full // without docker.io it would read as a registry
	}
	return rest
}

// repository gives the whole name without tag and digest.
func (r reference) repository() string {
	if rest, ok := strings.CutPrefix(r.Context().Name(), hubHost+"/"); ok {
		return "docker.io/" + rest
	}
	return r.Context().Name()
}

// registry gives the registry as users write it.
func (r reference) registry() string { return displayHost(r.Context().RegistryStr()) }

func displayHost(host string) string {
	if host == hubHost {
		return "docker.io"
	}
	return host
}

// digest gives the manifest digest of a name that has one.
func (r reference) digest() string {
	if d, ok := r.Reference.(name.Digest); ok {
		return d.DigestStr()
	}
	return ""
}

// isLoopback reports whether a registry host[:port] is this machine itself.
func isLoopback(host string) bool {
	host = strings.ToLower(stripPort(host))
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}

// stripPort takes the port off a host[:port], and the brackets off an IPv6 host.
func stripPort(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		return h
	}
	return strings.Trim(host, "[]")
}
