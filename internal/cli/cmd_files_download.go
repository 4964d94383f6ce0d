package cli

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lepto-dev/lepto/internal/api/client"
	"github.com/lepto-dev/lepto/internal/artifact"
)

type filesDownloadOptions struct{ noExtract bool }

func newFilesDownload(d *deps) *cobra.Command {
	var o filesDownloadOptions
	cmd := &cobra.Command{
		Use: "download ENCLAVE ARTIFACT [DEST]", Args: args(2, 3),
		Short: "Copy a files artifact to this machine",
		Long: "Copy a files artifact to this machine, into the directory DEST, which is made if\n" +
			"need be; ./ARTIFACT if it is not given. What is there already stays, but for files\n" +
			"of the same name.",
		Example:           "  lepto files download winter-forest config /tmp/config",
		ValidArgsFunction: completeNames(d, false, enclaveNames, artifactNames),
		RunE: func(cmd *cobra.Command, args []string) error {
			dest := ""
			if len(args) > 2 {
				dest = args[2]
			}
			return o.run(cmd.Context(), d, args[0], args[1], dest)
		},
	}
	cmd.Flags().BoolVar(&o.noExtract, "no-extract", false, "write the archive ARTIFACT.tgz into DEST instead")
	return cmd
}

func (o *filesDownloadOptions) run(ctx context.Context, d *deps, enclave, name, dest string) error {
	if strings.ContainsRune(name, filepath.Separator) && (dest == "" || o.noExtract) {
		return usagef("the artifact's name %q is no name for a file here; use its uuid, and name a destination", name)
	}
	if dest == "" {
		dest = name
	}
	dest, err := filepath.Abs(dest)
	if err != nil {
		return err
	}
	return d.with(ctx, func(c *client.Client) error {
		line := d.byteLine("downloading " + name)
		defer line.Close()
		err := c.DownloadArtifact(ctx, enclave, name, func(r io.Reader) error {
			// Only now is it known that there is something to download.
			if err := os.Mkdir(dest, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
				return fileFault(dest, err)
			}
			if o.noExtract {
				return fileFault(dest, writeFile(filepath.Join(dest, name+".tgz"), line.counted(r)))
			}
			return fileFault(dest, artifact.Extract(ctx, line.counted(r), dest))
		})
		if err != nil {
			return err
		}
		line.Close()
		if o.noExtract {
			d.say("File package with identifier '%s' written to '%s'", name, filepath.Join(dest, name+".tgz"))
			return nil
		}
		d.say("File package with identifier '%s' extracted to '%s'", name, dest)
		return nil
	})
}

// writeFile writes a file, whole or not at all.
func writeFile(path string, content io.Reader) error {
	file, err := os.CreateTemp(filepath.Dir(path), ".download-")
	if err != nil {
		return err
	}
	_, err = io.Copy(file, content)
	if err == nil {
		err = file.Chmod(0o644)
	}
	if err = errors.Join(err, file.Close()); err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	return nil
}
