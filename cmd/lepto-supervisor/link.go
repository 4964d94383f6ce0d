package main

import (
	"fmt"
	"os"

	"github.com/lepto-dev/lepto/internal/backend/native/relay"
)

// linkMain is the enclave's link relay: lepto-supervisor link DIR.
func linkMain(dir string) int {
	if err := relay.Main(dir); err != nil {
		fmt.Fprintln(os.Stderr, "lepto-supervisor: link:", err)
		return 1
	}
	return 0
}
