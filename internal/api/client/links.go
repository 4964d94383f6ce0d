package client

import (
	"context"
	"encoding/json"
	"strconv"

	"connectrpc.com/connect"

	wire "github.com/kurtosis-tech/kurtosis/api/golang/engine/kurtosis_engine_rpc_api_bindings"

	"github.com/lepto-dev/lepto/internal/api/errwire"
	"github.com/lepto-dev/lepto/internal/api/leptov1"
	"github.com/lepto-dev/lepto/internal/enclave"
	"github.com/lepto-dev/lepto/internal/link"
)

// This file holds the calls about connections between subnetworks.

// Links is what the engine knows of an enclave's connections.
type Links = enclave.Links

// LinkSeedHeader is the header of CreateEnclave's request that has the seed of the
// links: the wire API has no field for it.
const LinkSeedHeader = "Lepto-Link-Seed"

// CreateSpec says how to make an enclave.
type CreateSpec struct {
	Name       string
	Production bool
	LinkSeed   uint64 // 0: none in particular
}

// Create makes an enclave, as CreateEnclave does.
func (c *Client) Create(ctx context.Context, spec CreateSpec) (Enclave, error) {
	args := &wire.CreateEnclaveArgs{Mode: wire.EnclaveMode_TEST.Enum()}
	if spec.Name != "" {
		args.EnclaveName = &spec.Name
	}
	if spec.Production {
		args.Mode = wire.EnclaveMode_PRODUCTION.Enum()
	}
	req := connect.NewRequest(args)
	if spec.LinkSeed != 0 {
		req.Header().Set(LinkSeedHeader, strconv.FormatUint(spec.LinkSeed, 10))
	}
	res, err := c.engine.CreateEnclave(ctx, req)
	if err != nil {
		return Enclave{}, errwire.Decode(err)
	}
	return enclaveOf(res.Msg.GetEnclaveInfo()), nil
}

// Links tells the connections of an enclave.
func (c *Client) Links(ctx context.Context, enclave string) (Links, error) {
	res, err := c.links.List(ctx, connect.NewRequest(&leptov1.ListLinksRequest{Enclave: enclave}))
	if err != nil {
		return Links{}, errwire.Decode(err)
	}
	return decode[Links](res.Msg.GetLinksJson())
}

// SetLink sets the connection of a pair of subnetworks; of a nil pair, the default
// connection.
func (c *Client) SetLink(ctx context.Context, enclave string, pair *link.Pair, d link.Direction, to link.Connection) error {
	doc, err := json.Marshal(to)
	if err != nil {
		return err
	}
	req := &leptov1.SetLinkRequest{Enclave: enclave, Direction: string(d), ConnectionJson: doc}
	if pair != nil {
		req.Subnetworks = pair[:]
	}
	_, err = c.links.Set(ctx, connect.NewRequest(req))
	return errwire.Decode(err)
}

// RemoveLink takes back what was set for a pair.
func (c *Client) RemoveLink(ctx context.Context, enclave string, pair link.Pair, d link.Direction) error {
	_, err := c.links.Remove(ctx, connect.NewRequest(&leptov1.RemoveLinkRequest{Enclave: enclave, Subnetworks: pair[:], Direction: string(d)}))
	return errwire.Decode(err)
}

// HealLinks lets everything pass.
func (c *Client) HealLinks(ctx context.Context, enclave string) error {
	_, err := c.links.Heal(ctx, connect.NewRequest(&leptov1.HealLinksRequest{Enclave: enclave}))
	return errwire.Decode(err)
}

// MoveService puts a service into another subnetwork.
func (c *Client) MoveService(ctx context.Context, enclave, service, subnetwork string) error {
	_, err := c.links.Move(ctx, connect.NewRequest(&leptov1.MoveServiceRequest{Enclave: enclave, Service: service, Subnetwork: subnetwork}))
	return errwire.Decode(err)
}
