package cli

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/lepto-dev/lepto/internal/api/client"
	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/enclave"
)

// db is a service with a value in everything that is shown.
func db() client.Service {
	gid := int64(70)
	return client.Service{
		UUID: "39cbe546b1e2aaaaaaaaaaaaaaaaaaaa", ShortUUID: "39cbe546b1e2", Name: "db", Status: "RUNNING", Image: "postgres:16",
		Cmd: []string{"postgres"}, Env: map[string]string{"B": "2", "A": "b"},
		Ports: []client.Port{
			{ID: "dns", Number: 53, Transport: backend.UDP},
			{ID: "pg", Number: 5432, Transport: backend.TCP, Application: "postgresql", Wait: 2 * time.Minute, HostIP: "127.0.0.1", HostPort: 32768},
		},
		Config: enclave.ServiceConfig{
			MaxCPU: 500, MinMemory: 64, User: &enclave.User{UID: 70, GID: &gid},
			Files: []enclave.FileMount{{Path: "/cfg", Artifacts: []string{"a", "b"}}, {Path: "/data", PersistentKey: "k"}},
		},
	}
}

func TestServiceText(t *testing.T) {
	want := `Name: db
UUID: 39cbe546b1e2
Status: RUNNING
Image: postgres:16
Ports:
  dns: 53/udp
  pg: 5432/tcp -> postgresql://127.0.0.1:32768
ENTRYPOINT:
CMD:
  postgres
ENV:
  A: b
  B: 2`
	if got := serviceText(db(), false); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestServiceConfigJSON(t *testing.T) {
	got, err := json.Marshal(configOf(db()))
	if err != nil {
		t.Fatal(err)
	}
	want := `{"image":"postgres:16",` +
		`"ports":{"dns":{"number":53,"transport":2},"pg":{"number":5432,"transport":0,"maybe_application_protocol":"postgresql","wait":"2m0s"}},` +
		`"public_ports":{"pg":{"number":32768,"transport":0,"maybe_application_protocol":"postgresql"}},` +
		`"files":{"/cfg":["a","b"]},"cmd":["postgres"],"env_vars":{"A":"b","B":"2"},` +
		`"max_cpu":500,"min_memory":64,"user":{"uid":70,"gid":70},"tini_enabled":true,"tty_enabled":false}`
	if string(got) != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
