package compose

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/template"
	"github.com/compose-spec/compose-go/v2/types"
	"go.yaml.in/yaml/v3"
)

// This file tells what is different about names, networks and volumes, which
// services share.

// leaveOut takes away services of which there are to be none.
func (c *converter) leaveOut() {
	for _, name := range sorted(c.project.Services) {
		s := c.project.Services[name]
		n, field := 1, "scale"
		if s.Scale != nil {
			n = *s.Scale
		}
		if s.Deploy != nil && s.Deploy.Replicas != nil {
			n, field = *s.Deploy.Replicas, "deploy.replicas"
		}
		switch {
		case n > 1:
			c.remarks.add(name, field, "is 1: a service is one container here")
		case n <= 0:
			c.remarks.add(name, field, "is 0: it is left out")
			delete(c.project.Services, name)
			for other, o := range c.project.Services {
				delete(o.DependsOn, name)
				o.Links = slices.DeleteFunc(o.Links, func(link string) bool { on, _, _ := strings.Cut(link, ":"); return on == name })
				c.project.Services[other] = o
			}
		}
	}
}

// naming tells where others reach a service by a name that it does not have.
func (c *converter) naming(s types.ServiceConfig, name string) {
	reached := fmt.Sprintf("other services reach it as %q", name)
	if name != s.Name && len(c.project.Services) > 1 {
		field := "name"
		if s.ContainerName != "" {
			field = "container_name"
		}
		c.remarks.add(s.Name, field, fmt.Sprintf("counts: %s, and not as %q", reached, s.Name))
	}
	if s.Hostname != "" && s.Hostname != name {
		c.remarks.add(s.Name, "hostname", "has no effect: "+reached)
	}
	for _, link := range s.Links {
		if on, alias, _ := strings.Cut(link, ":"); alias != "" && alias != on {
			c.remarks.add(s.Name, "links", fmt.Sprintf("has no effect as a name: %q is reached by its own", on))
		}
	}
	for _, network := range sorted(s.Networks) {
		config := s.Networks[network]
		if config == nil {
			continue
		}
		if slices.ContainsFunc(config.Aliases, func(alias string) bool { return alias != name }) {
			c.remarks.add(s.Name, "networks."+network+".aliases", "have no effect: "+reached, "networks", network, "aliases")
		}
		if config.Ipv4Address != "" || config.Ipv6Address != "" || config.MacAddress != "" {
			c.remarks.add(s.Name, "networks."+network, "has no effect on its address, which is chosen by the enclave", "networks", network)
		}
	}
}

// ofAll tells what is different between services.
func (c *converter) ofAll() {
	c.networks()
	users := map[string][]string{} // of named volumes
	for _, name := range sorted(c.project.Services) {
		for _, v := range c.project.Services[name].Volumes {
			if v.Type == types.VolumeTypeVolume && v.Source != "" && !slices.Contains(users[v.Source], name) {
				users[v.Source] = append(users[v.Source], name)
			}
		}
	}
	for _, volume := range sorted(users) {
		if len(users[volume]) > 1 {
			c.general(c.remarks.where.top("volumes", volume), "volume %q is not shared: services %s have a directory of their own each", volume, quoted(users[volume]))
		}
		if config := c.project.Volumes[volume]; bool(config.External) || len(config.DriverOpts) > 0 {
			c.general(c.remarks.where.top("volumes", volume), "volume %q is an empty directory at first: what it is outside of the enclave does not count", volume)
		}
	}
	for _, name := range []string{"compose.override.yml", "compose.override.yaml", "docker-compose.override.yml", "docker-compose.override.yaml"} {
		if info, err := c.root.Stat(path.Join(c.dir, name)); err == nil && info.Mode().IsRegular() {
			c.general(c.remarks.where.main, "%s beside it is not read: include it, or extend its services", name)
		}
	}
	for _, name := range c.unset {
		c.general(c.remarks.where.main, "the variable %s is not set, in the .env file, and counts as empty: the environment of this machine is not read", name)
	}
}

func (c *converter) general(where, format string, args ...any) {
	c.others = append(c.others, where+": "+fmt.Sprintf(format, args...))
}

// networks tells where services would not reach each other.
func (c *converter) networks() {
	of := func(s types.ServiceConfig) []string {
		if len(s.Networks) == 0 {
			return []string{"default"}
		}
		return sorted(s.Networks)
	}
	names := sorted(c.project.Services)
	for i, a := range names {
		for _, b := range names[i+1:] {
			shared := of(c.project.Services[b])
			if !slices.ContainsFunc(of(c.project.Services[a]), func(network string) bool { return slices.Contains(shared, network) }) {
				c.general(c.remarks.where.top("networks"), "networks do not keep services apart: %q reaches %q here. Subnetworks do that, in Starlark", a, b)
				return
			}
		}
	}
}

func quoted(names []string) string {
	out := make([]string, len(names))
	for i, name := range names {
		out[i] = fmt.Sprintf("%q", name)
	}
	return strings.Join(out, ", ")
}

// unsetVariables gives the variables of a document that have neither a value nor
// a default.
func unsetVariables(doc *yaml.Node, env types.Mapping) []string {
	var content map[string]any
	if doc == nil || doc.Decode(&content) != nil {
		return nil
	}
	var out []string
	found := template.ExtractVariables(content, template.DefaultPattern)
	for _, name := range slices.Sorted(maps.Keys(found)) {
		v := found[name]
		if _, set := env[name]; !set && v.DefaultValue == "" && v.PresenceValue == "" && !v.Required {
			out = append(out, name)
		}
	}
	return out
}
