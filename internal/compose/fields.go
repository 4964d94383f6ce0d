package compose

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/compose-spec/compose-go/v2/types"
)

// This file knows what becomes of each field, and tells of those that have no
// effect though they would change what a service does.

// converted are the fields of a service that the program has, or that are looked
// at one by one, and harmless those that change nothing that a run shows.
var (
	converted = words(`image build ports entrypoint command environment env_file volumes depends_on container_name deploy
		user cpus mem_limit mem_reservation healthcheck cap_add devices privileged init tty shm_size ulimits gpus
		secrets configs networks links pid scale tmpfs profiles extends hostname name restart`)
	harmless = words(`annotations attach develop expose labels label_file logging log_driver log_opt pull_policy pull_refresh_after`)
)

// unlike says, for fields that have no effect, what is so instead.
var unlike = map[string]string{
	"blkio_config":      "disk bandwidth has no limit",
	"cap_drop":          "it has the capabilities that Docker gives by default",
	"cpuset":            "it runs on any processor",
	"dns":               "names are looked up with the enclave's own server",
	"external_links":    "it reaches services of this enclave alone",
	"extra_hosts":       "/etc/hosts has no more names than any service's",
	"ipc":               "each service has its own",
	"mac_address":       "it is chosen by the enclave",
	"network_mode":      "all services are on the enclave's network, with an address of their own",
	"pids_limit":        "processes are not counted",
	"platform":          "images are those of this machine's platform",
	"post_start":        "only the service's own command runs",
	"pre_start":         "only the service's own command runs",
	"pre_stop":          "only the service's own command runs",
	"read_only":         "its root can be written to",
	"security_opt":      "it is confined as any service is",
	"stdin_open":        "nothing is connected to its standard input",
	"stop_grace_period": "it gets as long to stop as any service",
	"stop_signal":       "it is stopped by the image's signal",
	"sysctls":           "it has the kernel's settings",
	"userns_mode":       "it has the user namespace that any service has",
	"working_dir":       "its command starts in the image's working directory",
}

// refused are fields without which a service can't do what it is for.
var refused = map[string]string{
	"credential_spec": "there is nothing like it on Linux",
	"models":          "there is no model runner: add the model's server as a service",
	"provider":        "only containers can be services",
	"use_api_socket":  "there is no Docker socket",
	"volumes_from":    "name the volumes of that service instead",
}

// Fields below build and deploy, in the same classes.
var (
	buildConverted = words(`context dockerfile dockerfile_inline target args`)
	buildHarmless  = words(`cache_from cache_to labels no_cache provenance pull sbom tags`)
	buildRefused   = map[string]string{
		"additional_contexts": "a Dockerfile has one context, the directory that it is in",
		"secrets":             "a build has no secrets: use an argument (args)",
		"ssh":                 "a build has no SSH agent",
	}
	deployConverted = words(`replicas resources restart_policy`)
	deployHarmless  = words(`endpoint_mode labels mode placement rollback_config update_config`)
)

func words(text string) map[string]bool {
	out := map[string]bool{}
	for word := range strings.FieldsSeq(text) {
		out[word] = true
	}
	return out
}

// remarks gathers what the user should know: one line for a field, whichever
// services have it.
type remarks struct {
	where    places
	order    []string
	services map[string][]string // by field and text
	first    map[string]string   // where it is said first
}

// add notes that a field of a service is not what it says, at the line of a
// path of keys, the field's own if there is none.
func (r *remarks) add(service, field, text string, keys ...string) {
	if len(keys) == 0 {
		keys = strings.Split(field, ".")
	}
	key := field + "\x00" + text
	if _, known := r.first[key]; !known {
		r.order = append(r.order, key)
		r.first[key] = r.where.of(service, keys...)
	}
	r.services[key] = append(r.services[key], strconv.Quote(service))
}

// lines gives the remarks, in the order in which they were first made.
func (r *remarks) lines() []string {
	var out []string
	for _, key := range r.order {
		field, text, _ := strings.Cut(key, "\x00")
		noun := "service "
		if len(r.services[key]) > 1 {
			noun = "services "
		}
		out = append(out, fmt.Sprintf("%s: %s of %s%s %s", r.first[key], field, noun, strings.Join(r.services[key], ", "), text))
	}
	return out
}

// without is what is said of a field that has no effect.
func without(field string) string {
	if why := unlike[field]; why != "" {
		return "has no effect: " + why
	}
	return "has no effect"
}

// judge tells of the fields of a service that have no counterpart: those without
// effect are remarks, those that it can't do without are errors.
func (c *converter) judge(s types.ServiceConfig) []error {
	var errs []error
	each := func(prefix string, value any, known []map[string]bool, refused map[string]string) {
		for _, field := range fieldsOf(value) {
			name := prefix + field
			switch {
			case slices.ContainsFunc(known, func(m map[string]bool) bool { return m[field] }), strings.HasPrefix(field, "x-"),
				field == "network_mode" && s.NetworkMode == "bridge":
			case refused[field] != "":
				errs = append(errs, c.bad(s, name, "%s", refused[field]))
			default:
				c.remarks.add(s.Name, name, without(name))
			}
		}
	}
	each("", s, []map[string]bool{converted, harmless}, refused)
	if s.Build != nil {
		each("build.", s.Build, []map[string]bool{buildConverted, buildHarmless}, buildRefused)
	}
	if s.Deploy != nil {
		each("deploy.", s.Deploy, []map[string]bool{deployConverted, deployHarmless}, nil)
	}
	return errs
}

// bad is an error of a field of a service, with its place.
func (c *converter) bad(s types.ServiceConfig, field, format string, args ...any) error {
	return fmt.Errorf("%s: %s: %s", c.remarks.where.of(s.Name, strings.Split(field, ".")...), field, fmt.Sprintf(format, args...))
}

// fieldsOf gives the names of the fields that a part of a project has set, sorted.
func fieldsOf(part any) []string {
	data, err := yaml.Marshal(part)
	if err != nil {
		return nil
	}
	var fields map[string]yaml.Node
	if yaml.Unmarshal(data, &fields) != nil {
		return nil
	}
	return slices.Sorted(maps.Keys(fields))
}
