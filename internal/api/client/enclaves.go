package client

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"strconv"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/emptypb"

	wire "github.com/kurtosis-tech/kurtosis/api/golang/engine/kurtosis_engine_rpc_api_bindings"

	"github.com/lepto-dev/lepto/internal/api/errwire"
	"github.com/lepto-dev/lepto/internal/api/leptov1"
	"github.com/lepto-dev/lepto/internal/api/view"
)

// This file holds the calls about enclaves and services.

// Info tells what engine answers and how it is doing.
func (c *Client) Info(ctx context.Context) (Info, error) {
	return c.ask(ctx, &leptov1.InfoRequest{})
}

func (c *Client) ask(ctx context.Context, req *leptov1.InfoRequest) (Info, error) {
	res, err := c.own.Info(ctx, connect.NewRequest(req))
	if err != nil {
		return Info{}, errwire.Decode(err)
	}
	return decode[Info](res.Msg.GetInfoJson())
}

// CreateEnclave makes an enclave; a blank name is replaced by a generated one.
// A name in use is fault.ErrExists.
func (c *Client) CreateEnclave(ctx context.Context, name string, production bool) (Enclave, error) {
	return c.Create(ctx, CreateSpec{Name: name, Production: production})
}

// Enclaves lists the enclaves, oldest first.
func (c *Client) Enclaves(ctx context.Context) ([]Enclave, error) {
	res, err := c.engine.GetEnclaves(ctx, connect.NewRequest(&emptypb.Empty{}))
	if err != nil {
		return nil, errwire.Decode(err)
	}
	list := make([]Enclave, 0, len(res.Msg.GetEnclaveInfo()))
	for _, info := range res.Msg.GetEnclaveInfo() {
		list = append(list, enclaveOf(info))
	}
	slices.SortFunc(list, func(a, b Enclave) int {
		return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.UUID, b.UUID))
	})
	return list, nil
}

// Enclave tells all about one enclave: uuid, short uuid or name.
// fault.ErrNotFound if there is none.
func (c *Client) Enclave(ctx context.Context, identifier string) (EnclaveDetail, error) {
	res, err := c.own.InspectEnclave(ctx, connect.NewRequest(&leptov1.InspectEnclaveRequest{Enclave: identifier}))
	if err != nil {
		return EnclaveDetail{}, errwire.Decode(err)
	}
	return decode[EnclaveDetail](res.Msg.GetEnclaveJson())
}

// StopEnclave stops an enclave with its services; their files stay.
func (c *Client) StopEnclave(ctx context.Context, identifier string) error {
	_, err := c.engine.StopEnclave(ctx, connect.NewRequest(&wire.StopEnclaveArgs{EnclaveIdentifier: identifier}))
	return errwire.Decode(err)
}

// StartEnclave starts a stopped enclave with the services that ran in it.
func (c *Client) StartEnclave(ctx context.Context, identifier string) error {
	_, err := c.own.StartEnclave(ctx, connect.NewRequest(&leptov1.StartEnclaveRequest{Enclave: identifier}))
	return errwire.Decode(err)
}

// DestroyEnclave removes an enclave, running or not, and all of it.
func (c *Client) DestroyEnclave(ctx context.Context, identifier string) error {
	_, err := c.engine.DestroyEnclave(ctx, connect.NewRequest(&wire.DestroyEnclaveArgs{EnclaveIdentifier: identifier}))
	return errwire.Decode(err)
}

// Clean removes stopped and empty enclaves, and running ones too with all. It
// gives what it removed, sorted by uuid.
func (c *Client) Clean(ctx context.Context, all bool) ([]Removed, error) {
	res, err := c.engine.Clean(ctx, connect.NewRequest(&wire.CleanArgs{ShouldCleanAll: &all}))
	if err != nil {
		return nil, errwire.Decode(err)
	}
	var removed []Removed
	for _, r := range res.Msg.GetRemovedEnclaveNameAndUuids() {
		removed = append(removed, Removed{UUID: r.GetUuid(), Name: r.GetName()})
	}
	return removed, nil
}

// Services lists the services of an enclave, sorted by name.
func (c *Client) Services(ctx context.Context, enclave string) ([]Service, error) {
	res, err := c.own.ListServices(ctx, connect.NewRequest(&leptov1.ListServicesRequest{Enclave: enclave}))
	if err != nil {
		return nil, errwire.Decode(err)
	}
	return decode[[]Service](res.Msg.GetServicesJson())
}

// StartService starts a stopped service again.
func (c *Client) StartService(ctx context.Context, enclave, service string) error {
	_, err := c.own.StartService(ctx, serviceRequest(enclave, service))
	return errwire.Decode(err)
}

// StopService stops a service; its files, logs and address stay.
func (c *Client) StopService(ctx context.Context, enclave, service string) error {
	_, err := c.own.StopService(ctx, serviceRequest(enclave, service))
	return errwire.Decode(err)
}

// RemoveService removes a service and all of it.
func (c *Client) RemoveService(ctx context.Context, enclave, service string) error {
	_, err := c.own.RemoveService(ctx, serviceRequest(enclave, service))
	return errwire.Decode(err)
}

// Shutdown asks the engine to end and returns when it has agreed; StopEngine
// waits until it is gone.
func (c *Client) Shutdown(ctx context.Context) error {
	_, err := c.own.Shutdown(ctx, connect.NewRequest(&leptov1.ShutdownRequest{}))
	return errwire.Decode(err)
}

func serviceRequest(enclave, service string) *connect.Request[leptov1.ServiceRequest] {
	return connect.NewRequest(&leptov1.ServiceRequest{Enclave: enclave, Service: service})
}

// enclaveOf reads the wire's form of an enclave.
func enclaveOf(info *wire.EnclaveInfo) Enclave {
	e := Enclave{
		UUID:       info.GetEnclaveUuid(),
		ShortUUID:  info.GetShortenedUuid(),
		Name:       info.GetName(),
		Status:     view.Running,
		Created:    info.GetCreationTime().AsTime(),
		Production: info.GetMode() == wire.EnclaveMode_PRODUCTION,
	}
	switch info.GetContainersStatus() {
	case wire.EnclaveContainersStatus_EnclaveContainersStatus_EMPTY:
		e.Status = view.Empty
	case wire.EnclaveContainersStatus_EnclaveContainersStatus_STOPPED:
		e.Status = view.Stopped
	}
	if host := info.GetApiContainerHostMachineInfo(); host.GetGrpcPortOnHostMachine() != 0 {
		e.API = net.JoinHostPort(host.GetIpOnHostMachine(), strconv.FormatUint(uint64(host.GetGrpcPortOnHostMachine()), 10))
	}
	return e
}

// decode reads a JSON document out of an answer.
func decode[T any](doc []byte) (T, error) {
	var v T
	if err := json.Unmarshal(doc, &v); err != nil {
		return v, fmt.Errorf("engine's answer: %w", err)
	}
	return v, nil
}
