// Package compose turns a Docker Compose file into a Starlark program that does
// the same: the whole of lepto-compose, a program of its own, because the Compose
// library costs every start of what links it some 4 ms.
//
// [Convert] is the whole of it. It reads the package's tree and nothing else of
// this machine, neither its environment. It knows nothing of packages, nor of
// what becomes of the text.
package compose

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
)

// A Program is what a compose file becomes: Starlark, and what the user should
// know of fields that have no effect, a line each.
type Program struct {
	Text    string
	Remarks []string
}

// Convert gives the program of a compose file: its path in a tree, whose paths
// are slash-separated. An error names what in the file is at fault.
func Convert(ctx context.Context, root *os.Root, file string) (Program, error) {
	project, places, err := load(ctx, root, file)
	if err != nil {
		return Program{}, err
	}
	c := newConverter(root, file, project, places)
	c.leaveOut()
	names, err := inOrder(project.Services)
	if err != nil {
		return Program{}, err
	}
	c.awaited = awaited(project.Services)
	var program program
	var errs []error
	for _, name := range names {
		service, err := c.service(project.Services[name])
		if err != nil {
			errs = append(errs, fmt.Errorf("service %q: %w", name, err))
		}
		program.add(service)
	}
	if len(errs) > 0 {
		return Program{}, errors.Join(errs...)
	}
	c.ofAll()
	return Program{Text: program.text(), Remarks: append(c.remarks.lines(), c.others...)}, nil
}

// dependencies gives what a service depends on, a link being a dependency, too.
func dependencies(s types.ServiceConfig) types.DependsOnConfig {
	all := types.DependsOnConfig{}
	for _, link := range s.Links {
		on, _, _ := strings.Cut(link, ":")
		all[on] = types.ServiceDependency{Required: true}
	}
	maps.Copy(all, s.DependsOn)
	return all
}

// awaited gives the services that others wait for until they are healthy.
func awaited(services types.Services) map[string]bool {
	out := map[string]bool{}
	for _, s := range services {
		for on, dependency := range s.DependsOn {
			out[on] = out[on] || dependency.Condition == types.ServiceConditionHealthy
		}
	}
	return out
}

// inOrder gives the names of services so that what a service depends on comes
// before it; else alphabetical.
func inOrder(services types.Services) ([]string, error) {
	waiting := map[string]int{}
	dependents := map[string][]string{}
	for name, s := range services {
		waiting[name] += 0
		for on, dependency := range dependencies(s) {
			if _, known := services[on]; !known {
				if dependency.Required {
					return nil, fmt.Errorf("service %q depends on %q, which is not there", name, on)
				}
				continue
			}
			waiting[name]++
			dependents[on] = append(dependents[on], name)
		}
	}
	var order []string
	for len(waiting) > 0 {
		next := ""
		for name, n := range waiting {
			if n == 0 && (next == "" || name < next) {
				next = name
			}
		}
		if next == "" {
			return nil, fmt.Errorf("services depend on each other in a circle: %s", joined(waiting))
		}
		delete(waiting, next)
		order = append(order, next)
		for _, name := range dependents[next] {
			waiting[name]--
		}
	}
	return order, nil
}
