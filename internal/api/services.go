package api

import (
	"maps"
	"slices"

	wire "github.com/kurtosis-tech/kurtosis/api/golang/core/kurtosis_core_rpc_api_bindings"

	"github.com/lepto-dev/lepto/internal/api/view"
	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/enclave"
)

// This file describes services, to the wire API and to our own clients.

// serviceInfo describes a service to the wire API.
func serviceInfo(s *enclave.Service) *wire.ServiceInfo {
	c := s.Config
	init, tty := !c.NoInit, c.TTY
	info := &wire.ServiceInfo{
		ServiceUuid: s.UUID, ShortenedUuid: s.ShortUUID(), Name: s.Name,
		PrivateIpAddr: s.IP, PrivatePorts: map[string]*wire.Port{}, MaybePublicPorts: map[string]*wire.Port{},
		Container:    containerInfo(s),
		MaxMillicpus: uint32(c.MaxCPU), MinMillicpus: uint32(c.MinCPU),
		MaxMemoryMegabytes: uint32(c.MaxMemory), MinMemoryMegabytes: uint32(c.MinMemory),
		NodeSelectors: c.NodeSelectors, Labels: c.Labels, TiniEnabled: &init, TtyEnabled: &tty,
		Capabilities: c.Capabilities, Privileged: c.Privileged, BindMounts: c.BindMounts, HostPidNamespace: c.HostPID,
	}
	switch s.Status {
	case enclave.ServiceRunning:
		info.ServiceStatus, info.Container.Status = wire.ServiceStatus_RUNNING, wire.Container_RUNNING
	case enclave.ServiceStopped:
		info.ServiceStatus, info.Container.Status = wire.ServiceStatus_STOPPED, wire.Container_STOPPED
	default:
		info.ServiceStatus, info.Container.Status = wire.ServiceStatus_UNKNOWN, wire.Container_UNKNOWN
	}
	for _, p := range ports(s) {
		info.PrivatePorts[p.ID] = wirePort(p, p.Number)
		if p.HostPort != 0 && s.Status == enclave.ServiceRunning {
			info.MaybePublicIpAddr = p.HostIP
			info.MaybePublicPorts[p.ID] = wirePort(p, p.HostPort)
		}
	}
	addExtras(info, c)
	return info
}

func containerInfo(s *enclave.Service) *wire.Container {
	v := processView(s)
	return &wire.Container{ImageName: v.Image, EntrypointArgs: v.Entrypoint, CmdArgs: v.Cmd, EnvVars: v.Env}
}

func addExtras(info *wire.ServiceInfo, c enclave.ServiceConfig) {
	for _, mount := range c.Files {
		if len(mount.Artifacts) == 0 {
			continue
		}
		if info.ServiceDirPathsToFilesArtifactsList == nil {
			info.ServiceDirPathsToFilesArtifactsList = map[string]*wire.FilesArtifactsList{}
		}
		info.ServiceDirPathsToFilesArtifactsList[mount.Path] = &wire.FilesArtifactsList{FilesArtifactsIdentifiers: mount.Artifacts}
	}
	if c.User != nil {
		info.User = &wire.User{Uid: uint32(c.User.UID)}
		if c.User.GID != nil {
			info.User.Gid = uint32(*c.User.GID)
		}
	}
	for _, t := range c.Tolerations {
		toleration := &wire.Toleration{Key: t.Key, Operator: t.Operator, Value: t.Value, Effect: t.Effect}
		if t.Seconds != nil {
			toleration.TolerationSeconds = *t.Seconds
		}
		info.Tolerations = append(info.Tolerations, toleration)
	}
	if c.GPUs != 0 || c.ShmMB != 0 || len(c.Ulimits) > 0 {
		info.GpuConfig = &wire.GpuConfig{Count: int64(c.GPUs), ShmSizeMegabytes: c.ShmMB, Ulimits: c.Ulimits}
	}
}

var wireTransports = map[backend.Transport]wire.Port_TransportProtocol{
	backend.TCP: wire.Port_TCP, backend.UDP: wire.Port_UDP, backend.SCTP: wire.Port_SCTP,
}

func wirePort(p view.Port, number uint16) *wire.Port {
	port := &wire.Port{Number: uint32(number), TransportProtocol: wireTransports[p.Transport], MaybeApplicationProtocol: p.Application}
	if p.Wait > 0 {
		port.MaybeWaitTimeout = p.Wait.String()
	}
	return port
}

// ports gives the declared ports, by id, with where the host reaches them.
func ports(s *enclave.Service) []view.Port {
	list := []view.Port{}
	for _, id := range slices.Sorted(maps.Keys(s.Config.Ports)) {
		p := s.Config.Ports[id]
		port := view.Port{ID: id, Number: p.Number, Transport: p.Transport, Application: p.Application, Wait: p.Wait, URL: p.URL}
		for _, published := range s.Published {
			if published.ID == id {
				port.HostIP, port.HostPort = published.Host.Addr().String(), published.Host.Port()
			}
		}
		list = append(list, port)
	}
	return list
}

// processView tells what runs: what the backend says, or before it says
// anything what was asked for.
func processView(s *enclave.Service) view.Service {
	if s.Status == enclave.ServiceUnknown {
		return view.Service{Image: s.Config.Image.Ref, Entrypoint: s.Config.Entrypoint, Cmd: s.Config.Cmd, Env: s.Config.Env}
	}
	p := s.Process
	return view.Service{Image: p.Image, Entrypoint: p.Entrypoint, Cmd: p.Cmd, Env: p.Env}
}

// serviceView describes a service to our own clients.
func serviceView(s *enclave.Service) view.Service {
	v := processView(s)
	v.UUID, v.ShortUUID, v.Name, v.Status, v.IP = s.UUID, s.ShortUUID(), s.Name, string(s.Status), s.IP
	v.Ports, v.Config, v.Starting, v.Failure = ports(s), s.Config, s.Starting, s.Failure
	p := s.Process
	v.Paused = p.State == backend.StatePaused
	v.StartedAt, v.Restarts, v.PID, v.Listening = p.StartedAt, p.Restarts, p.PID, p.Listening
	if !p.Exit.At.IsZero() {
		v.Exit = &p.Exit
	}
	return v
}
