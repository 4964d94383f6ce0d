// Conformance compares lepto's answers with recorded ones: scripts and packages
// in, plans and errors out. See README.md for the form of the cases.
//
// It prints a difference for each case that fails, and ends with a line of
// "N passed, M failed". What the program may not know is how a plan is executed.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	if err := command(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(1)
	}
}

// command runs the cases of a file: CONFORMANCE_CASES, or language.jsonl; or the
// packages of one, where CONFORMANCE_PACKAGES names it.
func command(ctx context.Context, args []string) error {
	if file := os.Getenv("CONFORMANCE_PACKAGES"); file != "" {
		return comparePackages(ctx, os.Stdout, file, os.Getenv("PACKAGES_DIR"))
	}
	dir := filepath.Join("test", "conformance")
	if len(args) > 0 {
		dir = args[0]
	}
	file := os.Getenv("CONFORMANCE_CASES")
	if file == "" {
		file = filepath.Join(dir, "language.jsonl")
	}
	return compareFile(ctx, os.Stdout, file, dir)
}
