package e2e

import (
	"fmt"
	"testing"
)

// Forty services all talk to all others, at about the same time: more pairs than a
// host's kernel would remember the link addresses of.
func TestAllTalkToAll(t *testing.T) {
	const services = 40
	w := newLinkWorld(t)
	w.ok("run", w.script(fmt.Sprintf(`
def run(plan):
    plan.add_services({"s{}".format(i): ServiceConfig("links", cmd = ["serve"], ports = {"tell": PortSpec(7001)}) for i in range(%d)})
`, services)), "--enclave", "q", "--show-enclave-inspect=false")
	greet := []string{"greet"}
	for i := range services {
		greet = append(greet, fmt.Sprint("s", i))
	}
	for i := range services {
		w.lab("q", fmt.Sprint("s", i), greet...)
	}
	for i := range services {
		name := fmt.Sprint("s", i)
		eventually(t, "all greetings reach "+name, func() bool { return w.lab("q", name, "count") == fmt.Sprint(services) })
	}
}
