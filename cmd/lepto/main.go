// Command lepto runs Starlark packages as isolated environments: see lepto help.
package main

import (
	"os"

	"github.com/lepto-dev/lepto/internal/cli"
)

// version is set when a release is built: -ldflags "-X main.version=1.2.3".
var version = "0.1.0-dev"

func main() {
	os.Exit(cli.Main(version, os.Args[1:]))
}
