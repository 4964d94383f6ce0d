package plan

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v2"
)

// This file writes the document of outline.go.

// outlineBatch is how many items are written at once. The library keeps all
// that it writes, at a kilobyte for each line, until it is done.
const outlineBatch = 512

// text gives the document as the library writes it in one piece. It is YAML's
// version 2 library, since it breaks long lines as the recorded documents do.
func (d *outlineDocument) text() (string, error) {
	var out strings.Builder
	if d.PackageID != "" {
		head, err := yaml.Marshal(outlineDocument{PackageID: d.PackageID})
		if err != nil {
			return "", err
		}
		out.Write(head)
	}
	for _, err := range []error{
		writeItems(&out, "services", d.Services), writeItems(&out, "filesArtifacts", d.Artifacts),
		writeItems(&out, "tasks", d.Tasks), writeItems(&out, "images", d.Images),
		writeItems(&out, "packageDependencies", d.Packages),
	} {
		if err != nil {
			return "", err
		}
	}
	if out.Len() == 0 {
		return "{}\n", nil
	}
	return out.String(), nil
}

// writeItems writes a list of the document. Its items stand at the left edge,
// as those of a list that is a document of its own do.
func writeItems[T any](out *strings.Builder, key string, items []T) error {
	if len(items) == 0 {
		return nil
	}
	out.WriteString(key + ":\n")
	for batch := range slices.Chunk(items, outlineBatch) {
		text, err := yaml.Marshal(batch)
		if err != nil {
			return err
		}
		out.Write(text)
	}
	return nil
}
