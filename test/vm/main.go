// Command vm runs this module's tests in a virtual machine of its own: with
// another kernel, the cgroup layout of one's choice, every network scheduler
// that Linux has, and nothing around that could help or hinder. Most hosts have
// cgroup v2 alone and netem; where the one at hand has not, this is how their
// paths are run. It needs no KVM: QEMU translates, some ten times slower.
//
//	go run ./test/vm [-run REGEXP] [-cgroup LAYOUT] [flags] [PACKAGES]
//	make test-vm PACKAGES=./internal/backend/native/supervise RUN=TestPause CGROUP=v2
//
// or, for links shaped by netem:
//
//	make test-netem
//
// The machine gets each package's test binary, compiled here, with its testdata;
// the product's own programs, and the probe of backendtest, in the directory
// that LEPTO_TEST_PROGRAMS names; busybox, nft and ip. It has no network but lo,
// no disk, and ends with the tests. Its modules (see modules.go) are all loaded
// before the tests: sch_netem, sch_htb, sch_tbf, clsact, u32 and mirred filters,
// tun, veth, bridge, nf_tables. LEPTO_TEST_PATIENCE is set, which makes the
// tests' bounds of time wider, and nothing else.
//
// Layouts of cgroups, with -cgroup:
//
//	v2         v2 alone; the tests run in its root, as services of old inits do
//	scope      v2 alone; the tests run in user.slice/session-1.scope, as a login does
//	container  v2 alone, in a cgroup namespace: as in a privileged container
//	hybrid     v1, and v2 without controllers beside it
//	v1         v1 alone
//
// The tests of test/e2e get bin/lepto and examples/quickstart. The program prints
// tests as they end, what the failing ones wrote, and a line for each package; -v
// prints everything, -console FILE keeps what the kernel says. The exit code is 1
// if any test failed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

// options are the command line.
type options struct {
	run, skip string
	cgroup    string
	kernel    string
	timeout   time.Duration
	memory    int // MiB
	verbose   bool
	keep      string
	packages  []string
}

// layouts are those that init.sh knows.
var layouts = map[string]bool{"v2": true, "scope": true, "container": true, "hybrid": true, "v1": true}

var errTests = errors.New("tests failed")

func main() {
	var o options
	flag.StringVar(&o.run, "run", "", "run the tests that match `REGEXP`, as with go test")
	flag.StringVar(&o.skip, "skip", "", "leave out the tests that match `REGEXP`")
	flag.StringVar(&o.cgroup, "cgroup", "v2", "cgroup `LAYOUT`: v2, scope, container, hybrid, v1")
	flag.StringVar(&o.kernel, "kernel", "linux-image-cloud-amd64", "Debian `PACKAGE` of the kernel")
	flag.DurationVar(&o.timeout, "timeout", 20*time.Minute, "bound of each package's tests")
	flag.IntVar(&o.memory, "memory", 2048, "the machine's memory in `MiB`")
	flag.BoolVar(&o.verbose, "v", false, "print all output of the tests")
	flag.StringVar(&o.keep, "console", "", "keep the kernel's messages in `FILE`")
	flag.Parse()
	if o.packages = flag.Args(); len(o.packages) == 0 {
		o.packages = []string{"./internal/backend/native/...", "./test/e2e"}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := test(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "vm:", err)
		os.Exit(1)
	}
}

// test builds the machine, boots it, and tells how the tests went.
func test(ctx context.Context, o options) error {
	if !layouts[o.cgroup] {
		return fmt.Errorf("no cgroup layout %q: see go doc ./test/vm", o.cgroup)
	}
	dir, err := os.MkdirTemp("", "lepto-vm-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	kernel, err := findKernel(ctx, o.kernel)
	if err != nil {
		return err
	}
	tests, err := compile(ctx, dir, o.packages)
	if err != nil {
		return err
	}
	image := filepath.Join(dir, "initramfs")
	if err := writeImage(ctx, image, kernel, tests, o); err != nil {
		return err
	}
	console := filepath.Join(dir, "console")
	if o.keep != "" {
		console = o.keep
	}
	fmt.Printf("Linux %s, cgroups %s, in a virtual machine\n", kernel.release, o.cgroup)
	return boot(ctx, machine{kernel: kernel.image, initramfs: image, console: console}, o, newReport(o.verbose, tests))
}
