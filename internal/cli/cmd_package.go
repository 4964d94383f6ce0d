package cli

import "github.com/spf13/cobra"

// newPackage makes lepto package.
func newPackage(d *deps) *cobra.Command {
	return newGroup("package", "Begin packages, and look into them", []string{"packages"}, newPackageInit(), newPackageSchema(d))
}
