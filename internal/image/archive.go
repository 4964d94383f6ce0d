package image

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// This file makes sense of an archive that has been read.

// archived is an image of an archive, its layers in the store.
type archived struct {
	config []byte
	names  []string
}

// images gives the images of the archive. Where it is both a docker-archive and
// an OCI layout, as newer clients write it, the former has the better names.
func (a *archiveReader) images() ([]archived, error) {
	if raw, ok := a.documents["manifest.json"]; ok {
		return a.dockerImages(raw)
	}
	if raw, ok := a.documents["index.json"]; ok {
		return a.layoutImages(raw)
	}
	return nil, fmt.Errorf("%w: neither manifest.json (docker save) nor index.json (OCI layout) is in it", errCorrupt)
}

// dockerImages reads a docker-archive's manifest.json.
func (a *archiveReader) dockerImages(raw []byte) ([]archived, error) {
	var manifest []struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	if err := json.Unmarshal(raw, &manifest); err != nil {
		return nil, fmt.Errorf("%w: manifest.json: %w", errCorrupt, err)
	}
	var out []archived
	for _, m := range manifest {
		config, ok := a.documents[a.follow(m.Config)]
		if !ok {
			return nil, fmt.Errorf("%w: config %q is missing", errCorrupt, m.Config)
		}
		if err := a.check(config, m.Layers); err != nil {
			return nil, err
		}
		out = append(out, archived{config, m.RepoTags})
	}
	return out, nil
}

// follow resolves links between an archive's entries.
func (a *archiveReader) follow(name string) string {
	name = path.Clean(name)
	for range maxLinks {
		target, ok := a.links[name]
		if !ok {
			break
		}
		name = target
	}
	return name
}

// check compares the layers that came with those that the config names.
func (a *archiveReader) check(config []byte, names []string) error {
	diffIDs, err := layersOf(config)
	if err != nil {
		return err
	}
	if len(diffIDs) != len(names) {
		return fmt.Errorf("%w: %d layers where the config says %d", errCorrupt, len(names), len(diffIDs))
	}
	for i, n := range names {
		layer, ok := a.layers[a.follow(n)]
		if !ok {
			// The archive may leave out what the store is known to have.
			if _, err := a.store.readLayer(diffIDs[i]); err != nil {
				return fmt.Errorf("%w: layer %q is missing", errCorrupt, n)
			}
			continue
		}
		if layer.DiffID != diffIDs[i] {
			return fmt.Errorf("%w: layer %q is %s where the config says %s", errCorrupt, n, layer.DiffID, diffIDs[i])
		}
	}
	return nil
}

// layoutImages reads an OCI layout's index.json.
func (a *archiveReader) layoutImages(raw []byte) ([]archived, error) {
	index, err := v1.ParseIndexManifest(bytes.NewReader(raw))
	if err != nil {
		return nil, fmt.Errorf("%w: index.json: %w", errCorrupt, err)
	}
	var out []archived
	for _, group := range sameName(index.Manifests) {
		desc, err := pick(&v1.IndexManifest{Manifests: group})
		if err != nil {
			return nil, err
		}
		config, err := a.layoutImage(desc, maxNesting)
		if err != nil {
			return nil, err
		}
		out = append(out, archived{config, layoutNames(desc.Annotations)})
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%w: index.json lists no image", errCorrupt)
	}
	return out, nil
}

// sameName groups the images of an index that share a name: they are one image
// for several platforms. What has no name stands alone; attestations are left out.
func sameName(all []v1.Descriptor) [][]v1.Descriptor {
	var out [][]v1.Descriptor
	at := map[string]int{}
	for _, desc := range all {
		if p := desc.Platform; p != nil && p.OS == "unknown" {
			continue
		}
		key := strings.Join(layoutNames(desc.Annotations), " ")
		i, ok := at[key]
		if !ok || key == "" {
			at[key] = len(out)
			out = append(out, []v1.Descriptor{desc})
			continue
		}
		out[i] = append(out[i], desc)
	}
	return out
}

// layoutImage gives the config of the image that a descriptor means for this host.
func (a *archiveReader) layoutImage(desc v1.Descriptor, nesting int) ([]byte, error) {
	raw, ok := a.documents[blobFolder+desc.Digest.Hex]
	if !ok {
		return nil, fmt.Errorf("%w: manifest %s is missing", errCorrupt, desc.Digest)
	}
	if desc.MediaType.IsIndex() {
		index, err := v1.ParseIndexManifest(bytes.NewReader(raw))
		if err != nil || nesting == 0 {
			return nil, fmt.Errorf("%w: index %s can't be read", errCorrupt, desc.Digest)
		}
		one, err := pick(index)
		if err != nil {
			return nil, err
		}
		return a.layoutImage(one, nesting-1)
	}
	manifest, err := v1.ParseManifest(bytes.NewReader(raw))
	if err != nil {
		return nil, fmt.Errorf("%w: manifest %s: %w", errCorrupt, desc.Digest, err)
	}
	config, ok := a.documents[blobFolder+manifest.Config.Digest.Hex]
	if !ok {
		return nil, fmt.Errorf("%w: config %s is missing", errCorrupt, manifest.Config.Digest)
	}
	var layers []string
	for _, l := range manifest.Layers {
		layers = append(layers, blobFolder+l.Digest.Hex)
	}
	return config, a.check(config, layers)
}

// layoutNames gives the names of an image of a layout. The annotation of the
// specification may be a mere tag, which names nothing.
func layoutNames(annotations map[string]string) []string {
	if full := annotations["io.containerd.image.name"]; full != "" {
		return []string{full}
	}
	if n := annotations["org.opencontainers.image.ref.name"]; strings.ContainsAny(n, "/:") {
		return []string{n}
	}
	return nil
}
