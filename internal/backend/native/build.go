package native

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/vishvananda/netlink"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/backend/native/network/netspace"
	"github.com/lepto-dev/lepto/internal/backend/native/supervise"
	"github.com/lepto-dev/lepto/internal/image/build"
)

// This file builds images: package image/build does, and has this package run
// the commands.

// BuildImage builds and tags an image.
func (b *Backend) BuildImage(ctx context.Context, spec backend.BuildSpec, progress backend.ProgressFunc) (backend.ImageInfo, error) {
	b.seat.await()
	return build.Build(ctx, b.images, stepRunner{b}, spec, progress)
}

// buildCgroup is the parent of the cgroups of all build steps of this home.
func (b *Backend) buildCgroup() string {
	sum := sha256.Sum256([]byte(b.cfg.Home))
	return "lepto/build-" + hex.EncodeToString(sum[:6])
}

// buildSpaces is the folder of the network namespaces of steps that have no
// network. It is not the step's own: a mount in there would keep the image store
// from deleting what a dead process left.
func (b *Backend) buildSpaces() string { return filepath.Join(b.root(), buildDir) }

const buildDir = "build"

// endBuildSteps ends the steps of a process that died while it was building.
func (b *Backend) endBuildSteps(ctx context.Context) error {
	if err := sweepCgroups(ctx, b.buildCgroup()); err != nil {
		return fmt.Errorf("end what a build left running: %w", err)
	}
	for _, space := range b.found(buildDir + "/*") {
		if err := netspace.Remove(space); err != nil {
			return fmt.Errorf("end what a build left running: %w", err)
		}
	}
	return nil
}

// stepRunner runs the commands of Dockerfiles, each in a container of its own.
type stepRunner struct{ b *Backend }

// RunStep runs one command.
func (r stepRunner) RunStep(ctx context.Context, step build.Step) (err error) {
	raw := make([]byte, 6)
	rand.Read(raw)
	id := "build-" + hex.EncodeToString(raw)
	spec := supervise.Spec{
		ID: id, Dir: step.Dir, CgroupName: r.b.buildCgroup() + "/" + id,
		Layers: step.Layers, Args: step.Args, Env: step.Env, Cwd: step.WorkDir, User: step.User, Hostname: "build",
		ResolvConf: hostText("/etc/resolv.conf"), Hosts: hostText("/etc/hosts"),
	}
	for _, m := range step.Mounts {
		spec.Mounts = append(spec.Mounts, supervise.Mount{
			Path: m.Target, Bind: m.Source, Lower: m.Layers, ReadOnly: m.ReadOnly,
		})
	}
	if step.NoNetwork {
		if err := os.MkdirAll(r.b.buildSpaces(), 0o700); err != nil {
			return diskFault("network of a build step", err)
		}
		spec.NetNS = filepath.Join(r.b.buildSpaces(), id)
		if err := netspace.Create(spec.NetNS, loopbackUp); err != nil {
			return fmt.Errorf("network of a build step: %w", err)
		}
		defer func() { err = errors.Join(err, netspace.Remove(spec.NetNS)) }()
	}
	code, err := supervise.RunStep(ctx, r.b.launcher, spec, step.Stdout, step.Stderr)
	if err != nil || code == 0 {
		return err
	}
	state, unread := supervise.ReadState(step.Dir)
	return &build.ExitError{Code: code, OOM: unread == nil && state.Exit.OOM}
}

// loopbackUp is all the network that a step without one has.
func loopbackUp() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	return netlink.LinkSetUp(lo)
}

// hostText gives a file of the host, for a step in the host's network.
func hostText(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return string(data)
}
