package cli

import (
	"context"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/lepto-dev/lepto/internal/api/client"
)

// This file completes names of enclaves, services and ports in a shell. It asks
// a running engine, starts none, and stays silent about errors.

// completeTimeout bounds how long a Tab may take. Tests have more patience.
var completeTimeout = time.Second

const (
	namesInOrder = cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
	nothing      = cobra.ShellCompDirectiveNoFileComp
)

// completion is the function that cobra asks.
type completion = func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective)

// completeNames offers names for the arguments in turn: by the n-th function
// for the n-th argument, by the last one for those after it if more is set.
func completeNames(d *deps, more bool, byPlace ...func(context.Context, *client.Client, []string) []string) completion {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		place := len(args)
		if more {
			place = min(place, len(byPlace)-1)
		}
		if place >= len(byPlace) {
			return nil, nothing
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), completeTimeout)
		defer cancel()
		c, err := client.Connect(ctx, client.Options{Home: d.home})
		if err != nil {
			return nil, nothing
		}
		defer c.Close()
		names := slices.DeleteFunc(byPlace[place](ctx, c, args), func(name string) bool { return slices.Contains(args, name) })
		if len(names) == 0 {
			return nil, nothing
		}
		slices.Sort(names)
		return names, namesInOrder
	}
}

// enclaveNames lists the enclaves.
func enclaveNames(ctx context.Context, c *client.Client, _ []string) []string {
	list, err := c.Enclaves(ctx)
	if err != nil {
		return nil
	}
	var names []string
	for _, e := range list {
		names = append(names, e.Name)
	}
	return names
}

// serviceNames lists the services of the enclave typed first.
func serviceNames(ctx context.Context, c *client.Client, args []string) []string {
	list, err := c.Services(ctx, args[0])
	if err != nil {
		return nil
	}
	var names []string
	for _, s := range list {
		names = append(names, s.Name)
	}
	return names
}

// subnetworkNames lists the subnetworks of the enclave typed first.
func subnetworkNames(ctx context.Context, c *client.Client, args []string) []string {
	links, err := c.Links(ctx, args[0])
	if err != nil {
		return nil
	}
	return links.Subnetworks
}

// portNames lists the ports of the service typed second.
func portNames(ctx context.Context, c *client.Client, args []string) []string {
	list, err := c.Services(ctx, args[0])
	if err != nil {
		return nil
	}
	var ids []string
	for _, s := range list {
		if s.Name != args[1] {
			continue
		}
		for _, p := range s.Ports {
			ids = append(ids, p.ID)
		}
	}
	return ids
}

// imageNames lists the engine's images.
func imageNames(ctx context.Context, c *client.Client, _ []string) []string {
	list, err := c.Images(ctx)
	if err != nil {
		return nil
	}
	var refs []string
	for _, i := range list {
		refs = append(refs, i.Ref)
	}
	return refs
}
