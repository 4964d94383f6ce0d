package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// A kernel is one of Debian's, unpacked: nothing of it is installed, so that
// this machine's boot stays as it is.
type kernel struct {
	release string // such as "6.1.0-56-cloud-amd64"
	image   string // vmlinuz
	modules string // lib/modules/RELEASE
}

// findKernel gives the kernel of a Debian package: from the user's cache, or
// downloaded into it.
func findKernel(ctx context.Context, name string) (kernel, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return kernel{}, err
	}
	dir := filepath.Join(cache, "lepto-tools", "vm", name)
	if k, err := kernelIn(dir); err == nil {
		return k, nil
	}
	if err := download(ctx, name, dir); err != nil {
		return kernel{}, fmt.Errorf("kernel %s: %w", name, err)
	}
	return kernelIn(dir)
}

func kernelIn(dir string) (kernel, error) {
	images, _ := filepath.Glob(filepath.Join(dir, "boot/vmlinuz-*"))
	if len(images) != 1 {
		return kernel{}, fmt.Errorf("%d kernels in %s", len(images), dir)
	}
	release := strings.TrimPrefix(filepath.Base(images[0]), "vmlinuz-")
	modules := filepath.Join(dir, "lib/modules", release)
	if _, err := os.Stat(modules); errors.Is(err, os.ErrNotExist) {
		modules = filepath.Join(dir, "usr/lib/modules", release)
	}
	return kernel{release, images[0], modules}, nil
}

// versioned is the dependency by which "linux-image-amd64" and the like name
// the kernel they stand for.
var versioned = regexp.MustCompile(`(?m)^\s*Depends: (linux-image-\d\S*)$`)

// download fetches a package and unpacks it into dir, which is there with all
// of it or not at all.
func download(ctx context.Context, name, dir string) error {
	depends, err := output(ctx, "", "apt-cache", "depends", name)
	if err != nil || depends == "" {
		if _, err = output(ctx, "", "apt-get", "update"); err == nil {
			depends, err = output(ctx, "", "apt-cache", "depends", name)
		}
	}
	if err != nil {
		return err
	}
	if m := versioned.FindStringSubmatch(depends); m != nil {
		name = m[1]
	}
	fmt.Fprintln(os.Stderr, "downloading", name)
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dir), ".download-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	if err := getPackage(ctx, tmp, name); err != nil {
		return err
	}
	debs, _ := filepath.Glob(filepath.Join(tmp, "*.deb"))
	if len(debs) != 1 {
		return fmt.Errorf("apt-get downloaded %q", debs)
	}
	unpacked := filepath.Join(tmp, "unpacked")
	if _, err := output(ctx, tmp, "dpkg-deb", "-x", debs[0], unpacked); err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	return os.Rename(unpacked, dir)
}

// getPackage downloads a package into dir. The lists may name what the mirror has no
// longer: then they are brought up to date.
func getPackage(ctx context.Context, dir, name string) error {
	get := func() error {
		_, err := output(ctx, dir, "apt-get", "-q", "-o", "APT::Sandbox::User=root", "-o", "Acquire::Retries=3", "download", name)
		return err
	}
	if get() == nil {
		return nil
	}
	if _, err := output(ctx, "", "apt-get", "update"); err != nil {
		return err
	}
	return get()
}

// output runs a program and gives what it wrote; what went wrong is in the error.
func output(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w: %s", err, strings.TrimSpace(string(exit.Stderr)))
		}
		return "", fmt.Errorf("%s %s: %w", name, strings.Join(args, " "), err)
	}
	return string(out), nil
}
