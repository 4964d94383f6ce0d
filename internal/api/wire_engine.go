package api

import (
	"cmp"
	"context"
	"slices"
	"strconv"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	wire "github.com/kurtosis-tech/kurtosis/api/golang/engine/kurtosis_engine_rpc_api_bindings"

	"github.com/lepto-dev/lepto/internal/api/client"
	"github.com/lepto-dev/lepto/internal/enclave"
	"github.com/lepto-dev/lepto/internal/engine"
)

// engineService is the wire API's engine_api.EngineService.
type engineService struct{ engine *engine.Engine }

// GetEngineInfo tells the version of the wire API, which SDKs compare with theirs.
func (s *engineService) GetEngineInfo(context.Context, *connect.Request[emptypb.Empty]) (*connect.Response[wire.GetEngineInfoResponse], error) {
	return answer(&wire.GetEngineInfoResponse{EngineVersion: s.engine.Config().APIVersion}, nil)
}

// CreateEnclave answers when the enclave and its API are there.
func (s *engineService) CreateEnclave(ctx context.Context, req *connect.Request[wire.CreateEnclaveArgs]) (*connect.Response[wire.CreateEnclaveResponse], error) {
	seed, _ := strconv.ParseUint(req.Header().Get(client.LinkSeedHeader), 10, 64) // 0: none was asked for
	made, err := s.engine.CreateEnclave(ctx, enclave.CreateSpec{
		Name:       req.Msg.GetEnclaveName(),
		Production: req.Msg.GetMode() == wire.EnclaveMode_PRODUCTION,
		LinkSeed:   seed,
	})
	if err != nil {
		return nil, err
	}
	return answer(&wire.CreateEnclaveResponse{EnclaveInfo: s.info(made)}, nil)
}

// GetEnclaves gives all live enclaves by uuid.
func (s *engineService) GetEnclaves(context.Context, *connect.Request[emptypb.Empty]) (*connect.Response[wire.GetEnclavesResponse], error) {
	return answer(s.list(nil), nil)
}

// GetEnclavesByUuids gives those that live of the full uuids asked for; all if
// none are.
func (s *engineService) GetEnclavesByUuids(_ context.Context, req *connect.Request[wire.GetEnclavesByUuidsArgs]) (*connect.Response[wire.GetEnclavesResponse], error) {
	return answer(s.list(req.Msg.GetEnclaveUuids()), nil)
}

func (s *engineService) list(uuids []string) *wire.GetEnclavesResponse {
	res := &wire.GetEnclavesResponse{EnclaveInfo: map[string]*wire.EnclaveInfo{}}
	for _, one := range s.engine.Enclaves().List() {
		if len(uuids) == 0 || slices.Contains(uuids, one.UUID()) {
			res.EnclaveInfo[one.UUID()] = s.info(one)
		}
	}
	return res
}

// GetExistingAndHistoricalEnclaveIdentifiers names every enclave there ever was.
func (s *engineService) GetExistingAndHistoricalEnclaveIdentifiers(context.Context, *connect.Request[emptypb.Empty]) (*connect.Response[wire.GetExistingAndHistoricalEnclaveIdentifiersResponse], error) {
	history, err := s.engine.Enclaves().History()
	if err != nil {
		return nil, err
	}
	res := &wire.GetExistingAndHistoricalEnclaveIdentifiersResponse{}
	for _, id := range history {
		res.AllIdentifiers = append(res.AllIdentifiers, &wire.EnclaveIdentifiers{
			EnclaveUuid: id.UUID, Name: id.Name, ShortenedUuid: id.Short(),
		})
	}
	return answer(res, nil)
}

// StopEnclave stops an enclave with its services.
func (s *engineService) StopEnclave(ctx context.Context, req *connect.Request[wire.StopEnclaveArgs]) (*connect.Response[emptypb.Empty], error) {
	return answer(&emptypb.Empty{}, s.engine.StopEnclave(ctx, req.Msg.GetEnclaveIdentifier()))
}

// DestroyEnclave removes an enclave, running or not.
func (s *engineService) DestroyEnclave(ctx context.Context, req *connect.Request[wire.DestroyEnclaveArgs]) (*connect.Response[emptypb.Empty], error) {
	return answer(&emptypb.Empty{}, s.engine.DestroyEnclave(ctx, req.Msg.GetEnclaveIdentifier()))
}

// Clean removes stopped and empty enclaves, or all.
func (s *engineService) Clean(ctx context.Context, req *connect.Request[wire.CleanArgs]) (*connect.Response[wire.CleanResponse], error) {
	removed, err := s.engine.Clean(ctx, req.Msg.GetShouldCleanAll())
	if err != nil {
		return nil, err
	}
	slices.SortFunc(removed, func(a, b enclave.Identifier) int { return cmp.Compare(a.UUID, b.UUID) })
	res := &wire.CleanResponse{}
	for _, id := range removed {
		res.RemovedEnclaveNameAndUuids = append(res.RemovedEnclaveNameAndUuids, &wire.EnclaveNameAndUuid{Name: id.Name, Uuid: id.UUID})
	}
	return answer(res, nil)
}

// info describes an enclave. SDKs open one whose containers and API are running
// and whose API has an address.
func (s *engineService) info(one *enclave.Enclave) *wire.EnclaveInfo {
	i := one.Info()
	info := &wire.EnclaveInfo{
		EnclaveUuid: i.UUID, Name: i.Name, ShortenedUuid: i.ShortUUID,
		ContainersStatus:   wire.EnclaveContainersStatus_EnclaveContainersStatus_RUNNING,
		ApiContainerStatus: wire.EnclaveAPIContainerStatus_EnclaveAPIContainerStatus_RUNNING,
		CreationTime:       timestamppb.New(i.Created),
	}
	if i.Production {
		info.Mode = wire.EnclaveMode_PRODUCTION
	}
	switch i.Status {
	case enclave.Stopped:
		info.ContainersStatus = wire.EnclaveContainersStatus_EnclaveContainersStatus_STOPPED
		info.ApiContainerStatus = wire.EnclaveAPIContainerStatus_EnclaveAPIContainerStatus_STOPPED
	case enclave.Empty:
		info.ContainersStatus = wire.EnclaveContainersStatus_EnclaveContainersStatus_EMPTY
	}
	if addr, ok := s.engine.EnclaveAddress(i.UUID); ok {
		info.ApiContainerInfo = &wire.EnclaveAPIContainerInfo{
			IpInsideEnclave: addr.IP.String(), GrpcPortInsideEnclave: uint32(addr.Port), BridgeIpAddress: addr.IP.String(),
		}
		info.ApiContainerHostMachineInfo = &wire.EnclaveAPIContainerHostMachineInfo{
			IpOnHostMachine: addr.IP.String(), GrpcPortOnHostMachine: uint32(addr.Port),
		}
	}
	return info
}
