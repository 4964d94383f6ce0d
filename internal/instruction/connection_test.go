package instruction

import (
	"slices"
	"testing"
	"time"

	"github.com/lepto-dev/lepto/internal/lang"
	"github.com/lepto-dev/lepto/internal/lang/types"
	"github.com/lepto-dev/lepto/internal/link"
	"github.com/lepto-dev/lepto/internal/plan"
	"github.com/lepto-dev/lepto/internal/source"
)

func TestConnections(t *testing.T) {
	e := newEnclave(t)
	got, err := execute(t, e, `
    plan.set_connection(config = kurtosis.connection.BLOCKED)
    plan.add_service("service_1", ServiceConfig("pause", subnetwork = "sub1"))
    plan.add_services({"service_2": ServiceConfig("pause", subnetwork = "sub2"), "service_3": ServiceConfig("pause")})
    plan.set_connection(("sub2", "sub1"), ConnectionConfig(10.0, NormalPacketDelayDistribution(150, 10, 2.0), rate_mbps = 8, duplicate_percentage = 1.0))
    plan.remove_connection(("sub9", "sub1"))
    plan.set_connection(("sub1", "default"), kurtosis.connection.ALLOWED, direction = "forward")
    plan.set_connection(("sub1", "default"), kurtosis.connection.ALLOWED, direction = "backward")
    plan.remove_connection(("sub1", "default"), direction = "backward")
    plan.update_service("service_2", UpdateServiceConfig("sub1"))
    plan.set_connection(("sub1", "sub1"), kurtosis.connection.BLOCKED)
`)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"Configured default subnetwork connection",
		"Service 'service_1' added with service UUID 'UUID'",
		"Successfully added the following '2' services:\n  Service 'service_2' added with UUID 'UUID'\n  Service 'service_3' added with UUID 'UUID'",
		"Configured subnetwork connection between 'sub2' and 'sub1'",
		"Removed subnetwork connection override between 'sub9' and 'sub1'",
		"Configured subnetwork connection from 'sub1' to 'default'",
		"Configured subnetwork connection from 'default' to 'sub1'",
		"Removed subnetwork connection override from 'default' to 'sub1'",
		"Service 'service_2' with UUID 'UUID' updated",
		"Configured subnetwork connection between 'sub1' and 'sub1'",
	}
	if !slices.Equal(got, want) {
		t.Errorf("results are %q", got)
	}
	table := e.LinkTable()
	for _, c := range []struct{ from, to, want string }{
		{"service_1", "service_2", "allowed"}, // in one subnetwork
		{"service_1", "service_3", "allowed"},
		{"service_3", "service_1", "blocked"},
	} {
		if got := table.Between(c.from, c.to).String(); got != c.want {
			t.Errorf("from %s to %s: %s, want %s", c.from, c.to, got, c.want)
		}
	}
	slow := link.Connection{Loss: 10, Delay: link.Delay{Mean: 150 * time.Millisecond, StdDev: 10 * time.Millisecond, Correlation: 2}, RateMbps: 8, Duplicate: 1}
	if got := table.Connection("sub1", "sub2"); got != slow {
		t.Errorf("sub1 to sub2: %+v", got)
	}
	if table.Members["service_2"] != "sub1" || table.Members["service_3"] != "default" {
		t.Errorf("members are %v", table.Members)
	}
}

func TestConnectionDescriptions(t *testing.T) {
	p := source.OpenScript("x.star", `
def run(plan):
    plan.set_connection(("A", "B"), kurtosis.connection.BLOCKED)
    plan.set_connection(config = kurtosis.connection.BLOCKED)
    plan.remove_connection(("A", "B"))
    plan.update_service("X", UpdateServiceConfig("A"))
    plan.set_connection(("A", "B"), kurtosis.connection.BLOCKED, direction = "backward", description = "cut it")
`)
	made, err := lang.NewHost(All(), types.All()).Interpret(t.Context(), lang.Request{Package: p})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"Configuring connection between subnetworks 'A' and 'B'",
		"Configuring default connection between subnetworks",
		"Removing connection override between subnetworks 'A' and 'B'",
		"Updating service 'X'",
		"cut it",
	}
	for i, step := range made.Steps {
		if got := step.Call().Description; got != want[i] {
			t.Errorf("description %d: %q", i, got)
		}
		if !slices.Contains(step.Effects().Writes, plan.World) {
			t.Errorf("step %d may be done beside others", i)
		}
	}
	if got := made.Steps[0].Call().Text; got != `set_connection(subnetworks=("A", "B"), config=ConnectionConfig(packet_loss_percentage=100.0))` {
		t.Errorf("call text: %s", got)
	}
}
