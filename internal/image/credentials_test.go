package image

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"

	"github.com/lepto-dev/lepto/internal/backend"
)

// lockedHub is a registry that wants user "ann" with password "secret".
func lockedHub(t *testing.T) (h *hub, ref string) {
	t.Helper()
	h = newHub(t)
	ref = h.push(t, "app:v1", imageOf(t, runtime.GOARCH, tarOf(t, file("v", "1"))))
	h.behave(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if user, password, _ := r.BasicAuth(); user != "ann" || password != "secret" {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"who are you"}]}`, http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
	return h, ref
}

func TestCredentialsOfTheRequest(t *testing.T) {
	h, ref := lockedHub(t)
	s := testStore(t, Options{})
	request := func(registry, password string) error {
		_, err := s.Ensure(testContext(t), backend.ImageRequest{Ref: ref, Policy: backend.PullAlways,
			Registry: registry, Username: "ann", Password: backend.Secret(password)}, nil)
		return err
	}
	wantFault(t, request("", "wrong"), "E0413", ref, "refuses access")
	wantFault(t, request("other.example.com", "secret"), "E0413", ref)
	if err := request("http://"+h.host+"/v2", "secret"); err != nil {
		t.Error(err)
	}
	// They were for that request alone.
	_, err := s.Ensure(testContext(t), backend.ImageRequest{Ref: ref, Policy: backend.PullAlways}, nil)
	wantFault(t, err, "E0413", ref)
}

func TestCredentialsOfDockerConfig(t *testing.T) {
	h, ref := lockedHub(t)
	home := t.TempDir()
	write := func(name, content string, mode os.FileMode) {
		if err := os.WriteFile(filepath.Join(home, name), []byte(content), mode); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", home+":"+os.Getenv("PATH"))
	write("docker-credential-lepto-test", "#!/bin/sh\necho '{\"Username\":\"ann\",\"Secret\":\"secret\"}'\n", 0o755)
	write("docker-credential-lepto-bad", "#!/bin/sh\necho no agent >&2; exit 1\n", 0o755)
	for name, config := range map[string]string{
		"plain":       `{"auths":{"` + h.host + `":{"auth":"YW5uOnNlY3JldA=="}}}`,
		"with helper": `{"credHelpers":{"` + h.host + `":"lepto-test"}}`,
		"store":       `{"credsStore":"lepto-test"}`,
	} {
		write("config.json", config, 0o600)
		s := testStore(t, Options{DockerConfig: home})
		if _, err := s.Ensure(testContext(t), backend.ImageRequest{Ref: ref}, nil); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	write("config.json", `{"credHelpers":{"`+h.host+`":"lepto-bad"}}`, 0o600)
	_, err := testStore(t, Options{DockerConfig: home}).Ensure(testContext(t), backend.ImageRequest{Ref: ref}, nil)
	wantFault(t, err, "E0413", ref, "no credentials")
}

// hanging is a keychain whose helper never answers.
type hanging struct{ until <-chan struct{} }

func (h hanging) Resolve(authn.Resource) (authn.Authenticator, error) {
	<-h.until
	return authn.Anonymous, nil
}

func TestHangingCredentialHelperCanBeCancelled(t *testing.T) {
	until := make(chan struct{})
	defer close(until)
	s := testStore(t, Options{Keychain: hanging{until}})
	ctx, cancel := context.WithCancelCause(t.Context())
	gone := errors.New("the user left")
	cancel(gone)
	r, _ := parseReference("localhost:1/a")
	if _, err := s.credentials(ctx, r, backend.ImageRequest{}); !errors.Is(err, gone) {
		t.Errorf("error is %v, want the cause", err)
	}
}
