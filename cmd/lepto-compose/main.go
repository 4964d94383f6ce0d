// Command lepto-compose turns a Docker Compose file into Starlark. It is started
// by lepto, never by hand:
//
//	lepto-compose DIR FILE
//
// writes the program of a compose file to stdout, whose path in the package's
// tree DIR is FILE. What is wrong with it goes to stderr, with exit code 1; with
// exit code 0, what the user should know of it does, a line each. See package
// compose.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/lepto-dev/lepto/internal/compose"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: lepto-compose DIR FILE")
		os.Exit(2)
	}
	program, err := convert(os.Args[1], os.Args[2])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for _, line := range program.Remarks {
		fmt.Fprintln(os.Stderr, line)
	}
	fmt.Print(program.Text)
}

func convert(dir, file string) (compose.Program, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return compose.Program{}, err
	}
	defer root.Close()
	return compose.Convert(context.Background(), root, file)
}
