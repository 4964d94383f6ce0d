package cli

import (
	"errors"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/lepto-dev/lepto/internal/fault"
	"github.com/lepto-dev/lepto/internal/source"
)

// CodeNoInit is the fault of a package that can't be begun here.
const CodeNoInit = "E0816"

// exampleName is the name of a package that nobody named yet.
const exampleName = "github.com/example-org/example-package"

func newPackageInit() *cobra.Command {
	return &cobra.Command{
		Use: "init [NAME]", Args: args(0, 1),
		Short: "Begin a package in the working directory",
		Long: "Begin a package in the working directory: a kurtosis.yml with its name, and a\n" +
			"main.star that says hello. NAME is where it will be found,\n" +
			"github.com/<author>/<repo>[/<path>]. Files that are there stay as they are: that is\n" +
			"an error.",
		Example: "  lepto package init github.com/me/my-package && lepto run .",
		RunE: func(_ *cobra.Command, args []string) error {
			name := exampleName
			if len(args) > 0 {
				name = args[0]
			}
			return initPackage(name)
		},
	}
}

func initPackage(name string) error {
	manifest := "name: " + name + "\ndescription: |-\n  # " + name + "\n  What this package does.\nreplace: {}\n"
	if _, err := source.ParseManifest(source.ManifestName, []byte(manifest)); err != nil {
		f := fault.New(CodeNoInit, "%q can't be a package's name", name)
		if _, err := source.ParseLocator(name); err != nil {
			return f.WithHint("%s", fault.From(err, "").Hint)
		}
		return f.WithHint("a name has the form github.com/<author>/<repo>[/<path>], without a version")
	}
	files := []struct{ name, text string }{
		{source.ManifestName, manifest},
		{source.DefaultMain, "def run(plan):\n    plan.print(\"Hello, world!\")\n"},
	}
	for _, file := range files {
		if _, err := os.Lstat(file.name); !errors.Is(err, fs.ErrNotExist) {
			return fault.New(CodeNoInit, "%s is there already", file.name).WithHint("begin a package in a directory that has none")
		}
	}
	for _, file := range files {
		if err := os.WriteFile(file.name, []byte(file.text), 0o644); err != nil {
			return fault.New(CodeNoInit, "%w", err)
		}
	}
	return nil
}
