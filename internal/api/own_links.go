package api

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"connectrpc.com/connect"

	"github.com/lepto-dev/lepto/internal/api/leptov1"
	"github.com/lepto-dev/lepto/internal/enclave"
	"github.com/lepto-dev/lepto/internal/engine"
	"github.com/lepto-dev/lepto/internal/fault"
	"github.com/lepto-dev/lepto/internal/link"
)

// linkService is lepto.v1.Links: the connections between subnetworks.
type linkService struct{ engine *engine.Engine }

// List tells all there is to know of an enclave's connections.
func (s *linkService) List(ctx context.Context, req *connect.Request[leptov1.ListLinksRequest]) (*connect.Response[leptov1.ListLinksResponse], error) {
	in, err := s.engine.Enclaves().Get(req.Msg.GetEnclave())
	if err != nil {
		return nil, err
	}
	links, err := in.Links(ctx)
	if err != nil {
		return nil, err
	}
	doc, err := json.Marshal(links)
	return answer(&leptov1.ListLinksResponse{LinksJson: doc}, err)
}

// links gives the connections of an enclave that has any rules.
func links(ctx context.Context, in *enclave.Enclave) (*enclave.Links, error) {
	if in.LinkTable().Blank() || in.Info().Status == enclave.Empty {
		return nil, nil
	}
	found, err := in.Links(ctx)
	return &found, err
}

// Set sets a connection.
func (s *linkService) Set(ctx context.Context, req *connect.Request[leptov1.SetLinkRequest]) (*connect.Response[leptov1.ChangeLinksResponse], error) {
	m := req.Msg
	var c link.Connection
	if err := json.Unmarshal(m.GetConnectionJson(), &c); err != nil {
		return nil, fmt.Errorf("connection: %w: %w", fault.ErrInvalid, err)
	}
	if err := c.Validate(); err != nil {
		return nil, fault.New("E0433", "connection: %w", err)
	}
	return s.change(m.GetEnclave(), func(in *enclave.Enclave) error {
		if len(m.GetSubnetworks()) == 0 && (m.GetDirection() == "" || m.GetDirection() == string(link.Both)) {
			return in.SetDefaultConnection(ctx, c)
		}
		pair, direction, err := pairOf(m.GetSubnetworks(), m.GetDirection())
		if err != nil {
			return err
		}
		return in.SetConnection(ctx, pair, direction, c)
	})
}

// Remove takes a connection back.
func (s *linkService) Remove(ctx context.Context, req *connect.Request[leptov1.RemoveLinkRequest]) (*connect.Response[leptov1.ChangeLinksResponse], error) {
	pair, direction, err := pairOf(req.Msg.GetSubnetworks(), req.Msg.GetDirection())
	if err != nil {
		return nil, err
	}
	return s.change(req.Msg.GetEnclave(), func(in *enclave.Enclave) error { return in.RemoveConnection(ctx, pair, direction) })
}

// Heal lets everything pass.
func (s *linkService) Heal(ctx context.Context, req *connect.Request[leptov1.HealLinksRequest]) (*connect.Response[leptov1.ChangeLinksResponse], error) {
	return s.change(req.Msg.GetEnclave(), func(in *enclave.Enclave) error { return in.HealConnections(ctx) })
}

// Move puts a service into another subnetwork.
func (s *linkService) Move(ctx context.Context, req *connect.Request[leptov1.MoveServiceRequest]) (*connect.Response[leptov1.ChangeLinksResponse], error) {
	if req.Msg.GetSubnetwork() == "" {
		return nil, fault.New("E0433", "a subnetwork must have a name")
	}
	return s.change(req.Msg.GetEnclave(), func(in *enclave.Enclave) error {
		_, err := in.MoveService(ctx, req.Msg.GetService(), req.Msg.GetSubnetwork())
		return err
	})
}

func (s *linkService) change(identifier string, do func(*enclave.Enclave) error) (*connect.Response[leptov1.ChangeLinksResponse], error) {
	in, err := s.engine.Enclaves().Get(identifier)
	if err == nil {
		err = do(in)
	}
	return answer(&leptov1.ChangeLinksResponse{}, err)
}

// pairOf reads two subnetworks and a direction.
func pairOf(names []string, direction string) (link.Pair, link.Direction, error) {
	if len(names) != 2 {
		return link.Pair{}, "", fault.New("E0433", "a connection is between two subnetworks, not %d", len(names))
	}
	if slices.Contains(names, "") {
		return link.Pair{}, "", fault.New("E0433", "a subnetwork must have a name")
	}
	switch d := link.Direction(direction); d {
	case "", link.Both, link.Forward, link.Backward:
		return link.Pair{names[0], names[1]}, d, nil
	}
	return link.Pair{}, "", fault.New("E0433", "%q is no direction: both, forward or backward", direction)
}
