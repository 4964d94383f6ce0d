package image

import (
	"fmt"
	"runtime"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/lepto-dev/lepto/internal/fault"
)

// This file picks the image for this host out of an index of several.

// pick gives the manifest (or inner index) to take from an index: one for
// linux on this architecture, else any for linux, so that the image can at
// least be looked at.
func pick(index *v1.IndexManifest) (v1.Descriptor, error) {
	var other *v1.Descriptor
	var offered []string
	best, bestRank := v1.Descriptor{}, 0
	for i, d := range index.Manifests {
		if !d.MediaType.IsImage() && !d.MediaType.IsIndex() && d.MediaType != "" {
			continue
		}
		rank := 0
		switch p := d.Platform; {
		case p == nil || p.OS == "" && p.Architecture == "":
			rank = 1 // says nothing: better than nothing
		case p.OS == "unknown": // an attestation
		case p.OS != "linux":
			offered = append(offered, p.String())
		case p.Architecture == runtime.GOARCH:
			rank = variantRank(p.Variant)
		default:
			offered = append(offered, p.String())
			if other == nil {
				other = &index.Manifests[i]
			}
		}
		if rank > bestRank {
			best, bestRank = d, rank
		}
	}
	switch {
	case bestRank > 0:
		return best, nil
	case other != nil:
		return *other, nil
	case len(offered) > 0:
		return best, fault.New("E0411", "there is no image for linux/%s, only for %s", runtime.GOARCH, strings.Join(offered, ", ")).
			WithHint("use an image that is published for linux/%s", runtime.GOARCH)
	}
	return best, fmt.Errorf("%w: the index lists no image", errCorrupt)
}

// variantRank prefers the variant every machine of this architecture runs.
func variantRank(variant string) int {
	switch variant {
	case "", "v1", "v8": // amd64's and arm64's base
		return 4
	case "v2", "v7", "v6":
		return 3
	}
	return 2
}
