package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/spf13/cobra"

	"github.com/lepto-dev/lepto/internal/api/client"
	"github.com/lepto-dev/lepto/internal/artifact"
	"github.com/lepto-dev/lepto/internal/fault"
)

type filesUploadOptions struct {
	name   string
	output choice
}

func newFilesUpload(d *deps) *cobra.Command {
	var o filesUploadOptions
	cmd := &cobra.Command{
		Use: "upload ENCLAVE PATH", Args: args(2, 2),
		Short: "Make a files artifact of a file or directory",
		Long: "Make a files artifact of a file or directory of this machine: of a directory\n" +
			"what is in it, without what its .kurtosisignore names.",
		Example:           "  lepto files upload winter-forest ./config --name config",
		ValidArgsFunction: completeFile(d),
		RunE:              func(cmd *cobra.Command, args []string) error { return o.run(cmd.Context(), d, args[0], args[1]) },
	}
	cmd.Flags().StringVar(&o.name, "name", "", "the artifact's name; made up if empty")
	addOutput(cmd, &o.output)
	return cmd
}

// completeFile offers enclaves, and files of this machine after one.
func completeFile(d *deps) completion {
	names := completeNames(d, false, enclaveNames)
	return func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveDefault
		}
		return names(cmd, args, typed)
	}
}

func (o *filesUploadOptions) run(ctx context.Context, d *deps, enclave, path string) error {
	return d.with(ctx, func(c *client.Client) error {
		line := d.byteLine("uploading " + path)
		defer line.Close()
		made, err := c.UploadArtifact(ctx, enclave, o.name, func(w io.Writer) error {
			return fileFault(path, artifact.PackPath(ctx, path, line.count(w)))
		})
		if err != nil {
			return err
		}
		line.Close()
		return d.storedResult(o.output, stored{made.Name, made.UUID}, "Files package '%s' uploaded with UUID: %s")
	})
}

// fileFault makes an error about a path of the command line one that tells so.
func fileFault(path string, err error) error {
	var where *fs.PathError
	if f := (*fault.Fault)(nil); err == nil || errors.As(err, &f) || !errors.As(err, &where) {
		return err
	}
	return fault.New(CodeNoFile, "%s: %w", path, err)
}

// byteLine shows on a terminal how many bytes a transfer has moved.
type byteLine struct {
	*statusLine
	what  string
	bytes int64
}

func (d *deps) byteLine(what string) *byteLine {
	return &byteLine{statusLine: d.statusLine(), what: what}
}

// count gives a writer that counts what passes.
func (l *byteLine) count(w io.Writer) io.Writer { return countingWriter{l, w} }

type countingWriter struct {
	l *byteLine
	w io.Writer
}

// Write writes and counts.
func (c countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.l.add(n)
	return n, err
}

// counted gives a reader that counts what passes.
func (l *byteLine) counted(r io.Reader) io.Reader { return countingReader{l, r} }

type countingReader struct {
	l *byteLine
	r io.Reader
}

// Read reads and counts.
func (c countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.l.add(n)
	return n, err
}

func (l *byteLine) add(n int) {
	l.bytes += int64(n)
	if l.moving { // elsewhere each text would be a line
		l.Progress(fmt.Sprintf("%s  %d MiB", l.what, l.bytes>>20), 0, 0)
	}
}
