package compose

import (
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
)

// This file converts configs and secrets: files that a service finds at a place.
// Each is an artifact, whose file is moved there before the service starts.

// object is a config or a secret that a service has.
type object struct {
	field string // of the service
	types.FileReferenceConfig
	dir string // where it lies, unless the service says so
	of  types.FileObjectConfig
}

// objects gives the configs and secrets of a service.
func (c *converter) objects(s types.ServiceConfig) []object {
	var out []object
	for _, ref := range s.Configs {
		of := types.FileObjectConfig(c.project.Configs[ref.Source])
		out = append(out, object{field: "configs", FileReferenceConfig: types.FileReferenceConfig(ref), dir: "/", of: of})
	}
	for _, ref := range s.Secrets {
		of := types.FileObjectConfig(c.project.Secrets[ref.Source])
		out = append(out, object{field: "secrets", FileReferenceConfig: types.FileReferenceConfig(ref), dir: "/run/secrets/", of: of})
	}
	return out
}

// target gives the place of an object in the service.
func (o object) target() string {
	switch {
	case o.Target == "":
		return o.dir + o.Source
	case path.IsAbs(o.Target):
		return o.Target
	}
	return o.dir + o.Target
}

// mountObjects adds the configs and secrets of a service.
func (c *converter) mountObjects(s types.ServiceConfig, out *service, files *dict, moves map[string]string, errs *[]error) {
	numbers := map[string]int{}
	for _, o := range c.objects(s) {
		name := fmt.Sprintf("%s--%s%d", out.name, strings.TrimSuffix(o.field, "s"), numbers[o.field])
		numbers[o.field]++
		base, err := c.provide(o, name, out)
		if err != nil {
			*errs = append(*errs, c.bad(s, o.field, "%q %v", o.Source, err))
			continue
		}
		if o.UID != "" || o.GID != "" || o.Mode != nil {
			c.remarks.add(s.Name, o.field, "have no uid, gid and mode of their own")
		}
		mount := "/tmp/" + name
		*files = append(*files, pair{mount, text(name)})
		moves[mount+"/"+base] = o.target()
	}
}

// provide makes the artifact of an object, and gives the name of the file in it.
func (c *converter) provide(o object, name string, out *service) (string, error) {
	content := o.of.Content
	switch {
	case bool(o.of.External):
		return "", errors.New("is external: there is nothing outside of the package to take it from")
	case o.of.File != "":
		inside, err := c.regular(o.of.File)
		if err != nil {
			return "", fmt.Errorf("names the file %q: %w", o.of.File, err)
		}
		out.uploads = append(out.uploads, upload{path: relativePath(o.of.File), name: name})
		return path.Base(inside), nil
	case o.of.Environment != "":
		var set bool
		if content, set = c.project.Environment[o.of.Environment]; !set {
			return "", fmt.Errorf("names the variable %s, which the .env file does not have", o.of.Environment)
		}
	case o.of.Name == "" && content == "":
		return "", errors.New("is not defined")
	}
	base := path.Base(o.target())
	out.texts = append(out.texts, rendered{name: name, file: base, text: content})
	return base, nil
}

// regular gives the path in the tree of a file that the compose file names.
func (c *converter) regular(file string) (string, error) {
	inside, err := c.inside(file)
	if err != nil {
		return "", err
	}
	info, err := c.root.Stat(filepath.FromSlash(inside))
	switch {
	case err != nil:
		return "", reason(err)
	case info.IsDir():
		return "", errors.New("it is a directory")
	}
	return inside, nil
}

// inside gives the path in the tree of one that the compose file has.
func (c *converter) inside(file string) (string, error) {
	name := path.Join(c.dir, filepath.ToSlash(file))
	if path.IsAbs(file) || !filepath.IsLocal(filepath.FromSlash(name)) {
		return "", errors.New("leads out of the package")
	}
	return name, nil
}
