package compose

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
)

// This file turns the services of a compose file into calls (starlark spec §6.9).

type converter struct {
	root    *os.Root
	dir     string // of the compose file
	project *types.Project
	names   map[string]string // the compose file's name of a service, by its new one
	awaited map[string]bool   // services whose health others wait for
	unset   []string          // variables
	remarks remarks
	others  []string // remarks that are of no one service
}

func newConverter(root *os.Root, file string, project *types.Project, where places) *converter {
	return &converter{
		root: root, dir: slashDir(file), project: project, names: map[string]string{},
		unset:   unsetVariables(where.docs[file], project.Environment),
		remarks: remarks{where: where, services: map[string][]string{}, first: map[string]string{}},
	}
}

// service converts a service.
func (c *converter) service(s types.ServiceConfig) (service, error) {
	name := s.ContainerName
	if name == "" {
		name = s.Name
	}
	out := service{name: cleanName(name)}
	if out.name == "" {
		return service{}, fmt.Errorf("its name %q has neither letter nor digit", name)
	}
	if other, taken := c.names[out.name]; taken {
		return service{}, fmt.Errorf("it would be called %q, as service %q is", out.name, other)
	}
	c.names[out.name] = s.Name

	errs := c.judge(s)
	c.naming(s, out.name)
	config := &out.config
	config.add("image", c.image(s, out.name, &errs))
	config.add("ports", c.ports(s, out.name, &errs))
	files, moves := c.volumes(s, &out, &errs)
	c.mountObjects(s, &out, &files, moves, &errs)
	config.add("files", files)
	c.commands(s, config)
	env, err := c.environment(s)
	config.add("env_vars", texts(env))
	c.resources(s, config)
	c.ready(s, config, &errs)
	c.user(s, len(moves) > 0, config)
	config.add("files_to_be_moved", texts(moves))
	c.rights(s, config)
	c.gpu(s, config)
	c.restarts(s)
	return out, errors.Join(append(errs, err)...)
}

func (c *converter) commands(s types.ServiceConfig, config *call) {
	config.add("entrypoint", list(s.Entrypoint))
	config.add("cmd", list(s.Command))
	if s.Entrypoint != nil && len(s.Entrypoint) == 0 {
		c.remarks.add(s.Name, "entrypoint", "has no effect where it is empty: the image's is used")
	}
}

// restarts tells that services that end stay ended.
func (c *converter) restarts(s types.ServiceConfig) {
	const text = "has no effect, unless the enclave is a production one (--production)"
	if s.Restart != "" && s.Restart != types.RestartPolicyNo {
		c.remarks.add(s.Name, "restart", text)
	}
	if s.Deploy != nil && s.Deploy.RestartPolicy != nil && s.Deploy.RestartPolicy.Condition != "none" {
		c.remarks.add(s.Name, "deploy.restart_policy", text)
	}
	for _, on := range sorted(s.DependsOn) {
		if s.DependsOn[on].Condition == types.ServiceConditionCompletedSuccessfully {
			c.remarks.add(s.Name, "depends_on."+on+".condition", "has no effect: it starts once the other has started, and does not wait for its end", "depends_on", on, "condition")
		}
	}
}

// cleanName makes a name of a service: lower case, what is not allowed a dash,
// dashes one at a time and only between.
func cleanName(name string) string {
	dashed := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, strings.ToLower(name))
	return strings.Join(strings.FieldsFunc(dashed, func(r rune) bool { return r == '-' }), "-")
}

func (c *converter) image(s types.ServiceConfig, name string, errs *[]error) value {
	if s.Build == nil {
		if s.Image == "" {
			*errs = append(*errs, errors.New("it has neither image nor build"))
		}
		return text(s.Image)
	}
	if s.Build.DockerfileInline != "" {
		*errs = append(*errs, c.bad(s, "build.dockerfile_inline", "write it into a file"))
	}
	if strings.Contains(s.Build.Context, "://") || strings.HasPrefix(s.Build.Context, "git@") {
		*errs = append(*errs, c.bad(s, "build.context", "%q is not in the package: only its own files can be built", s.Build.Context))
	}
	if dir := path.Dir(filepath.ToSlash(s.Build.Dockerfile)); dir != "." {
		c.remarks.add(s.Name, "build.dockerfile", fmt.Sprintf("makes its own directory, %q, the context", path.Join(s.Build.Context, dir)))
	}
	build := call{name: "ImageBuildSpec"}
	build.add("image_name", text(name+"-image"))
	build.add("build_context_dir", text(s.Build.Context))
	if s.Build.Dockerfile != "" {
		build.add("build_file", text(s.Build.Dockerfile))
	}
	if s.Build.Target != "" {
		build.add("target_stage", text(s.Build.Target))
	}
	args := map[string]string{}
	for _, key := range sorted(s.Build.Args) {
		v := s.Build.Args[key]
		if v == nil {
			c.remarks.add(s.Name, "build.args", fmt.Sprintf("leave out %s, which has no value", key))
			continue
		}
		args[key] = *v
	}
	build.add("build_args", texts(args))
	return build
}

// httpPorts are the ports that are taken to speak HTTP.
var httpPorts = []uint32{80, 443, 8000, 8080}

func (c *converter) ports(s types.ServiceConfig, name string, errs *[]error) value {
	var out dict
	for i, p := range s.Ports {
		protocol := strings.ToUpper(p.Protocol)
		if protocol == "" {
			protocol = "TCP"
		}
		if !slices.Contains([]string{"TCP", "UDP", "SCTP"}, protocol) {
			*errs = append(*errs, c.bad(s, "ports", "the protocol %q of %d is none of tcp, udp and sctp", p.Protocol, p.Target))
		}
		spec := call{name: "PortSpec"}
		spec.add("number", number(int64(p.Target)))
		spec.add("transport_protocol", text(protocol))
		if slices.Contains(httpPorts, p.Target) {
			spec.add("application_protocol", text("http"))
			spec.add("url", text(fmt.Sprintf("http://%s:%d", name, p.Target)))
		} else if p.AppProtocol != "" {
			spec.add("application_protocol", text(p.AppProtocol))
		}
		out = append(out, pair{fmt.Sprintf("port%d", i), spec})
	}
	return out
}

// environment gives the variables with a value; those of env_file win.
func (c *converter) environment(s types.ServiceConfig) (map[string]string, error) {
	env := map[string]string{}
	for _, key := range sorted(s.Environment) {
		if v := s.Environment[key]; v != nil {
			env[key] = *v
		} else {
			c.remarks.add(s.Name, "environment", fmt.Sprintf("leaves out %s, which has no value: the environment of this machine is not read", key))
		}
	}
	lookup := func(key string) (string, bool) {
		if v, ok := env[key]; ok {
			return v, ok
		}
		v, ok := c.project.Environment[key]
		return v, ok
	}
	for _, file := range s.EnvFiles {
		name, err := c.inside(file.Path)
		if err != nil {
			return nil, c.bad(s, "env_file", "%q %v", file.Path, err)
		}
		if file.Format != "" {
			return nil, c.bad(s, "env_file", "the format %q of %q is not known", file.Format, file.Path)
		}
		values, err := readEnv(c.root, name, lookup)
		if errors.Is(err, os.ErrNotExist) && !bool(file.Required) {
			continue
		}
		if err != nil {
			return nil, c.bad(s, "env_file", "%v", err)
		}
		for key, v := range values {
			env[key] = v
		}
	}
	return env, nil
}

// volumes converts volumes: files of the package are uploaded, all else are
// persistent directories. A single file is moved to its place, since what is
// mounted is a directory.
func (c *converter) volumes(s types.ServiceConfig, out *service, errs *[]error) (files dict, moves map[string]string) {
	moves = map[string]string{}
	for i, v := range s.Volumes {
		name := fmt.Sprintf("%s--volume%d", out.name, i)
		inside, kind, err := c.volume(s, i, v)
		switch {
		case err != nil:
			*errs = append(*errs, err)
		case kind == persistent:
			directory := call{name: "Directory"}
			directory.add("persistent_key", text(name))
			files = append(files, pair{v.Target, directory})
		case kind == directory:
			out.uploads = append(out.uploads, upload{path: relativePath(v.Source), name: name})
			files = append(files, pair{v.Target, text(name)})
		case kind == single:
			out.uploads = append(out.uploads, upload{path: relativePath(v.Source), name: name})
			mount := "/tmp/" + name
			files = append(files, pair{mount, text(name)})
			moves[mount+"/"+path.Base(inside)] = v.Target
		}
	}
	if len(s.Tmpfs) > 0 {
		c.remarks.add(s.Name, "tmpfs", notInMemory)
	}
	slices.SortStableFunc(out.uploads, func(a, b upload) int { return strings.Compare(a.path, b.path) })
	return files, moves
}

// notInMemory is what is said of a tmpfs.
const notInMemory = "has no effect: what is written there goes to the container's own files"

// What a volume becomes.
const (
	nothing = iota
	persistent
	directory
	single // file
)

// volume tells what becomes of a volume, and the path in the tree where it is one
// of the package's.
func (c *converter) volume(s types.ServiceConfig, i int, v types.ServiceVolumeConfig) (inside string, kind int, err error) {
	if v.Type == types.VolumeTypeTmpfs {
		c.remarks.add(s.Name, "volumes", fmt.Sprintf("have a tmpfs at %s, which %s", v.Target, notInMemory))
		return "", nothing, nil
	}
	if v.Target == "" || !path.IsAbs(v.Target) {
		return "", nothing, c.bad(s, "volumes", "the target %q of volume %d is not absolute", v.Target, i)
	}
	switch {
	case v.Type == types.VolumeTypeVolume:
		if v.Volume != nil && v.Volume.Subpath != "" {
			c.remarks.add(s.Name, "volumes", fmt.Sprintf("have all of %s at %s, not only %q", v.Source, v.Target, v.Volume.Subpath))
		}
		return "", persistent, nil
	case v.Type != types.VolumeTypeBind:
		return "", nothing, c.bad(s, "volumes", "volume %d is of the type %q, which nothing here can be", i, v.Type)
	case path.IsAbs(v.Source) || strings.HasPrefix(v.Source, "~"):
		c.remarks.add(s.Name, "volumes", fmt.Sprintf("do not have %s of this machine: a directory of the enclave, empty at first, is at %s", v.Source, v.Target))
		return "", persistent, nil
	}
	inside = path.Join(c.dir, filepath.ToSlash(v.Source))
	info, err := c.root.Stat(filepath.FromSlash(inside))
	switch {
	case errors.Is(err, fs.ErrNotExist) && (v.Bind == nil || bool(v.Bind.CreateHostPath)):
		c.remarks.add(s.Name, "volumes", fmt.Sprintf("have %s, which the package does not have: a directory of the enclave, empty at first, is at %s", v.Source, v.Target))
		return "", persistent, nil
	case err != nil:
		return "", nothing, c.bad(s, "volumes", "volume %q: %v", v.Source, reason(err))
	case info.IsDir():
		return inside, directory, nil
	}
	return inside, single, nil
}

// relativePath makes a path one that a locator can be.
func relativePath(source string) string {
	source = path.Clean(filepath.ToSlash(source))
	if source == "." || strings.HasPrefix(source, "../") || source == ".." {
		return source
	}
	return "./" + source
}
