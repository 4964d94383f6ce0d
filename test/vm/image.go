package main

import (
	"bufio"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// initScript is the machine's first process.
//
//go:embed init.sh
var initScript []byte

// patience is how many times longer than on a plain machine the tests wait for
// what must come (package bounds). Translated code takes some ten times longer
// than native, but the bounds have room.
const patience = 4

// A suite is a package's tests.
type suite struct {
	Path   string `json:"ImportPath"`
	Dir    string
	Tests  []string `json:"TestGoFiles"`
	XTests []string `json:"XTestGoFiles"`
	binary string
}

// compile builds the test binaries of packages, and the programs that they need.
func compile(ctx context.Context, dir string, patterns []string) ([]suite, error) {
	list, err := output(ctx, "", "go", append([]string{"list", "-json=ImportPath,Dir,TestGoFiles,XTestGoFiles"}, patterns...)...)
	if err != nil {
		return nil, err
	}
	var out []suite
	for decoder := json.NewDecoder(strings.NewReader(list)); ; {
		var s suite
		if err := decoder.Decode(&s); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, err
		}
		if len(s.Tests)+len(s.XTests) == 0 {
			continue
		}
		s.binary = filepath.Join(dir, strings.ReplaceAll(s.Path, "/", "+")+".test")
		if err := build(ctx, "test", "-c", "-o", s.binary, s.Path); err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("no tests in %s", strings.Join(patterns, " "))
	}
	return out, nil
}

// build runs the compiler as the Makefile does: static programs.
func build(ctx context.Context, verb string, args ...string) error {
	cmd := exec.CommandContext(ctx, "go", append([]string{verb, "-trimpath", "-tags", "grpcnotrace", "-ldflags", "-s -w"}, args...)...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

// Where things are in the machine.
const (
	programsDir = "/usr/lib/lepto-test"
	suitesDir   = "/suites"
)

// writeImage writes the machine's root file system.
func writeImage(ctx context.Context, file string, k kernel, tests []suite, o options) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close()
	buffered := bufio.NewWriterSize(f, 1<<20)
	a := newArchive(buffered)
	a.file("/init", 0o755, initScript)
	a.file("/settings", 0o644, []byte(settings(tests, o)))
	for _, d := range []string{"/proc", "/sys", "/dev", "/run", "/root", "/new"} {
		a.dir(d)
	}
	for name, text := range map[string]string{
		"passwd": "root:x:0:0:root:/root:/bin/sh\n", "group": "root:x:0:\n",
		"hosts": "127.0.0.1 localhost\n", "resolv.conf": "nameserver 192.0.2.53\n",
	} {
		a.file("/etc/"+name, 0o644, []byte(text))
	}
	if err := errors.Join(addModules(a, k), addPrograms(ctx, a), addProducts(ctx, a, filepath.Dir(file), tests), addSuites(a, tests)); err != nil {
		return err
	}
	return errors.Join(a.close(), buffered.Flush(), f.Close())
}

// settings is what init.sh reads.
func settings(tests []suite, o options) string {
	var b strings.Builder
	flags := []string{"-test.v=test2json", "-test.parallel=4", "-test.timeout=" + o.timeout.String()}
	if o.run != "" {
		flags = append(flags, "-test.run="+o.run)
	}
	if o.skip != "" {
		flags = append(flags, "-test.skip="+o.skip)
	}
	fmt.Fprintf(&b, "cgroup=%s\n", o.cgroup)
	fmt.Fprintf(&b, "bound=%d\n", int(o.timeout.Seconds())+30)
	fmt.Fprintf(&b, "flags() { \"$@\"")
	for _, f := range flags {
		fmt.Fprintf(&b, " %s", quote(f))
	}
	fmt.Fprintf(&b, "; }\nexport LEPTO_TEST_PROGRAMS=%s LEPTO_TEST_PATIENCE=%d\n", programsDir, patience)
	fmt.Fprintf(&b, "suites='")
	for _, s := range tests {
		fmt.Fprintf(&b, "%s ", s.Path)
	}
	fmt.Fprintf(&b, "'\n")
	return b.String()
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

func addModules(a *archive, k kernel) error {
	modules, err := orderModules(k.modules)
	if err != nil {
		return err
	}
	var order strings.Builder
	for _, m := range modules {
		name := "/modules/" + m.name + ".ko"
		a.file(name, 0o644, m.data)
		fmt.Fprintln(&order, name)
	}
	a.file("/modules/order", 0o644, []byte(order.String()))
	return nil
}

// tools are the programs that tests run, and the package that has each.
var tools = map[string]string{"nft": "nftables", "ip": "iproute2", "unshare": "util-linux"}

// library is a line of ldd(1): the path is the first that begins with "/".
var library = regexp.MustCompile(`(/\S+) \(0x`)

// addPrograms copies busybox and the tools, with their shared libraries.
func addPrograms(ctx context.Context, a *archive) error {
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		return fmt.Errorf("busybox: %w (install busybox-static)", err)
	}
	if err := copyFile(a, "/usr/bin/busybox", busybox); err != nil {
		return err
	}
	a.symlink("/bin/busybox", "../usr/bin/busybox")
	have := map[string]bool{}
	for name, pkg := range tools {
		path, err := exec.LookPath(name)
		if err != nil {
			return fmt.Errorf("%w (install %s)", err, pkg)
		}
		if err := copyFile(a, "/usr/sbin/"+name, path); err != nil {
			return err
		}
		libraries, err := output(ctx, "", "ldd", path)
		if err != nil {
			return err
		}
		for _, m := range library.FindAllStringSubmatch(libraries, -1) {
			if have[m[1]] {
				continue
			}
			have[m[1]] = true
			if err := copyFile(a, m[1], m[1]); err != nil {
				return err
			}
		}
	}
	return nil
}

// endToEnd are the tests that need the binary that users have, and examples.
const endToEnd = "github.com/lepto-dev/lepto/test/e2e"

// addProducts builds the product's programs, and those that tests run.
func addProducts(ctx context.Context, a *archive, dir string, tests []suite) error {
	programs := filepath.Join(dir, "programs")
	if _, err := output(ctx, "", "./scripts/build-supervisor.sh", programs); err != nil {
		return err
	}
	packages := map[string]string{"probe": "./internal/backend/backendtest/probe/cmd"}
	if slices.ContainsFunc(tests, func(s suite) bool { return s.Path == endToEnd }) {
		packages["lab"], packages["links"] = "./test/e2e/lab", "./test/links/lab"
		if _, err := output(ctx, "", "make", "bin/lepto", "examples"); err != nil {
			return err
		}
		if err := errors.Join(copyFile(a, programsDir+"/lepto", "bin/lepto"), addExamples(a)); err != nil {
			return err
		}
	}
	for name, pkg := range packages {
		if err := build(ctx, "build", "-o", filepath.Join(programs, name), pkg); err != nil {
			return err
		}
	}
	entries, err := os.ReadDir(programs)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := copyFile(a, programsDir+"/"+e.Name(), filepath.Join(programs, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// addExamples puts those that need nothing from elsewhere where tests of test/e2e
// look for them.
func addExamples(a *archive) error {
	const quickstart = "examples/quickstart"
	return addTree(a, path.Join(suitesDir, path.Dir(path.Dir(endToEnd)), quickstart), quickstart)
}

// addSuites puts each test binary into a directory of its own, with the
// package's testdata, as it is run by go test.
func addSuites(a *archive, tests []suite) error {
	for _, s := range tests {
		to := suitesDir + "/" + s.Path
		if err := copyFile(a, to+"/suite.test", s.binary); err != nil {
			return err
		}
		err := addTree(a, to+"/testdata", filepath.Join(s.Dir, "testdata"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// addTree copies the files of a directory and of those below it.
func addTree(a *archive, to, from string) error {
	return filepath.WalkDir(from, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		return copyFile(a, to+strings.TrimPrefix(path, from), path)
	})
}

func copyFile(a *archive, to, from string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	a.file(to, uint32(info.Mode().Perm()), data)
	return nil
}
