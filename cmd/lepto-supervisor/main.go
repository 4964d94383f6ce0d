// Command lepto-supervisor runs beside a container of lepto's native backend,
// or beside an enclave's network. It is started by lepto, never by hand;
// packages supervisor, gateway and relay tell its modes.
package main

import (
	"os"

	"github.com/lepto-dev/lepto/internal/backend/native/relay"
	"github.com/lepto-dev/lepto/internal/backend/native/supervisor"
)

func main() {
	if len(os.Args) == 3 && os.Args[1] == "net" {
		os.Exit(netMain(os.Args[2]))
	}
	if len(os.Args) == 3 && os.Args[1] == relay.Verb {
		os.Exit(linkMain(os.Args[2]))
	}
	os.Exit(supervisor.Main(os.Args[1:]))
}
