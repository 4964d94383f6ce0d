package image

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/docker/cli/cli/config"
	"github.com/docker/cli/cli/config/types"
	"github.com/google/go-containerregistry/pkg/authn"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/fault"
)

// helperWait bounds the wait for a credential helper, which may ask the user.
const helperWait = 30 * time.Second

// dirKeychain finds credentials in the config.json of a directory, and through
// the helpers it names.
type dirKeychain struct{ dir string }

// Resolve implements [authn.Keychain].
func (k dirKeychain) Resolve(target authn.Resource) (authn.Authenticator, error) {
	file, err := config.Load(k.dir)
	if err != nil {
		return nil, err
	}
	for _, key := range []string{target.String(), target.RegistryStr()} {
		if key == hubHost {
			key = authn.DefaultAuthKey
		}
		found, err := file.GetAuthConfig(key)
		if err != nil {
			return nil, err
		}
		found.ServerAddress = "" // always set, says nothing
		if found != (types.AuthConfig{}) {
			return authn.FromConfig(authn.AuthConfig{Username: found.Username, Password: found.Password, Auth: found.Auth,
				IdentityToken: found.IdentityToken, RegistryToken: found.RegistryToken}), nil
		}
	}
	return authn.Anonymous, nil
}

// credentials gives what to show the registry: the request's own credentials if
// they are for this registry, else what the keychain has.
func (s *Store) credentials(ctx context.Context, r reference, req backend.ImageRequest) (authn.Authenticator, error) {
	if (req.Username != "" || req.Password != "") && forRegistry(req.Registry, r) {
		return &authn.Basic{Username: req.Username, Password: string(req.Password)}, nil
	}
	keychain := s.opts.Keychain
	if keychain == nil {
		keychain = authn.DefaultKeychain
		if s.opts.DockerConfig != "" {
			keychain = dirKeychain{s.opts.DockerConfig}
		}
	}
	auth, err := resolveBounded(ctx, keychain, r)
	if err != nil {
		return nil, &fault.Fault{Code: "E0413", Cause: err,
			Summary: fmt.Sprintf("image %q: no credentials for registry %s: %s", r.familiar(), r.registry(), err),
			Hint:    "mend your Docker config.json, or the credential helper it names"}
	}
	return auth, nil
}

// resolveBounded asks the keychain, which may start a helper program that hangs:
// the library gives no way to end it, so it is left behind.
func resolveBounded(ctx context.Context, keychain authn.Keychain, r reference) (authn.Authenticator, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, helperWait, fmt.Errorf("the credential helper gave no answer in %s", helperWait))
	defer cancel()
	type answer struct {
		auth authn.Authenticator
		err  error
	}
	answers := make(chan answer, 1)
	go func() {
		auth, err := authn.Resolve(ctx, keychain, r.Context())
		answers <- answer{auth, err}
	}()
	select {
	case a := <-answers:
		return a.auth, a.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// forRegistry reports whether credentials given with an image are for the
// registry it comes from. Without a registry they are for any.
func forRegistry(registry string, r reference) bool {
	host := strings.TrimPrefix(strings.TrimPrefix(registry, "https://"), "http://")
	host, _, _ = strings.Cut(host, "/")
	switch host {
	case "":
		return true
	case "docker.io", hubHost, "registry-1.docker.io", "registry.hub.docker.com", "hub.docker.com":
		return r.Context().RegistryStr() == hubHost
	}
	return strings.EqualFold(host, r.Context().RegistryStr())
}
