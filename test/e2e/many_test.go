package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// TestManyServices brings up a large batch and removes it, without a leak: when
// the world ends, the host is compared with before. LEPTO_MANY sets how many
// (make stress: 500).
func TestManyServices(t *testing.T) {
	count := 40
	if text := os.Getenv("LEPTO_MANY"); text != "" {
		if _, err := fmt.Sscan(text, &count); err != nil {
			t.Fatal(err)
		}
	}
	w := newWorld(t)
	script := w.script(`
def run(plan, n):
    plan.add_services({"s%d" % i: ServiceConfig("lab", cmd = ["serve", "80"], ports = {"http": PortSpec(80)}) for i in range(n)})
    plan.request("s%d" % (n - 1), GetHttpRequestRecipe("http", "/dial?addr=s0:80"))
`)
	began := time.Now()
	events, r := w.events(script, fmt.Sprintf(`{"n": %d}`, count), "--enclave", "many", "--parallelism", "16", "--show-enclave-inspect=false")
	if r.code != 0 {
		t.Fatalf("exit %d\n%s", r.code, tail(r.stdout, 3))
	}
	for _, event := range events {
		if event.Result != nil && strings.HasPrefix(event.Result.Text, "Successfully added") {
			t.Logf("%d services with their ports open: %v; with the client: %v", count, event.Result.Duration, time.Since(began))
		}
	}
	if services := w.inspect("many").Services; len(services) != count {
		t.Errorf("%d services of %d", len(services), count)
	}
	began = time.Now()
	w.ok("enclave", "rm", "-f", "many")
	t.Logf("removed in %v", time.Since(began))
	w.sameHost()
	w.homeIsClean()
}
