package api

import (
	"context"
	"errors"
	"slices"
	"strings"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	wire "github.com/kurtosis-tech/kurtosis/api/golang/engine/kurtosis_engine_rpc_api_bindings"

	"github.com/lepto-dev/lepto/internal/enclave"
	"github.com/lepto-dev/lepto/internal/engine"
	"github.com/lepto-dev/lepto/internal/fault"
)

// This file streams the output of services over the wire API.

// GetServiceLogs streams the output of services, a line a message.
func (s *engineService) GetServiceLogs(ctx context.Context, req *connect.Request[wire.GetServiceLogsArgs], stream *connect.ServerStream[wire.GetServiceLogsResponse]) error {
	wanted := wantedServices(req.Msg)
	in, err := s.engine.Enclaves().Get(req.Msg.GetEnclaveIdentifier())
	if errors.Is(err, fault.ErrNotFound) {
		// Logs go with their enclave: of what was asked for, nothing is found.
		return stream.Send(logsMessage(nil, wanted))
	}
	if err != nil {
		return err
	}
	q := logQuery(req.Msg)
	var unknown []string
	if len(wanted) > 0 {
		if q.Services, unknown, err = engine.PickServices(in, wanted); err != nil {
			return err
		}
	}
	if len(unknown) > 0 {
		if err := stream.Send(logsMessage(q.Services, unknown)); err != nil {
			return err
		}
	}
	ctx, done := s.engine.Stream(ctx)
	defer done()
	for line, err := range s.engine.Logs(ctx, in, q) {
		if err != nil {
			return err
		}
		m := logsMessage(q.Services, unknown)
		m.ServiceLogsByServiceUuid[line.Service.UUID] = &wire.LogLine{
			Line: []string{strings.ToValidUTF8(line.Text, "\uFFFD")}, Timestamp: timestamppb.New(line.At)}
		if err := stream.Send(m); err != nil {
			return err
		}
	}
	return nil
}

func wantedServices(m *wire.GetServiceLogsArgs) []string {
	var wanted []string
	for uuid, yes := range m.GetServiceUuidSet() {
		if yes {
			wanted = append(wanted, uuid)
		}
	}
	slices.Sort(wanted)
	return wanted
}

func logQuery(m *wire.GetServiceLogsArgs) engine.LogQuery {
	q := engine.LogQuery{Follow: m.GetFollowLogs(), Tail: int(m.GetNumLogLines())}
	if m.GetReturnAllLogs() {
		q.Tail = -1
	}
	for _, f := range m.GetConjunctiveFilters() {
		q.Filters = append(q.Filters, logFilter(f))
	}
	return q
}

// logsMessage has an empty entry for every service: readers tell an idle service
// from an unknown one by it.
func logsMessage(services []*enclave.Service, unknown []string) *wire.GetServiceLogsResponse {
	m := &wire.GetServiceLogsResponse{ServiceLogsByServiceUuid: map[string]*wire.LogLine{}, NotFoundServiceUuidSet: map[string]bool{}}
	for _, service := range services {
		m.ServiceLogsByServiceUuid[service.UUID] = &wire.LogLine{}
	}
	for _, uuid := range unknown {
		m.NotFoundServiceUuidSet[uuid] = true
	}
	return m
}

func logFilter(f *wire.LogLineFilter) engine.LogFilter {
	op := f.GetOperator()
	return engine.LogFilter{
		Pattern: f.GetTextPattern(),
		Regex: op == wire.LogLineOperator_LogLineOperator_DOES_CONTAIN_MATCH_REGEX ||
			op == wire.LogLineOperator_LogLineOperator_DOES_NOT_CONTAIN_MATCH_REGEX,
		Invert: op == wire.LogLineOperator_LogLineOperator_DOES_NOT_CONTAIN_TEXT ||
			op == wire.LogLineOperator_LogLineOperator_DOES_NOT_CONTAIN_MATCH_REGEX,
	}
}
