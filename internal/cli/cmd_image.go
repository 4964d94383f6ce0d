package cli

import "github.com/spf13/cobra"

// newImage makes lepto image.
func newImage(d *deps) *cobra.Command {
	return newGroup("image", "Manage the engine's images", []string{"images"},
		newImageLoad(d), newImagePull(d), newImageLs(d), newImageRm(d), newImageBuild(d))
}
