package main

import (
	"fmt"
	"os"

	"github.com/lepto-dev/lepto/internal/backend/native/gateway"
)

// netMain is the enclave's gateway process: lepto-supervisor net DIR.
func netMain(dir string) int {
	if err := gateway.Main(dir); err != nil {
		fmt.Fprintln(os.Stderr, "lepto-supervisor: net:", err)
		return 1
	}
	return 0
}
