package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/lepto-dev/lepto/internal/backend/native/network/netspace"
)

// This file takes stock of the host, so that a test can say: as it was before.

// snapshot is all of a host that lepto may touch.
type snapshot struct {
	lines map[string][]string // by topic, sorted
	homes map[string]string   // the enclaves that processes or mounts are of, and their homes
}

// enclavePath finds an enclave's folder in a command line or a mount.
var enclavePath = regexp.MustCompile(`(/\S*)/native/([0-9a-f]{32})`)

func takeSnapshot(t *testing.T) snapshot {
	t.Helper()
	lines := map[string][]string{
		"mounts":    mounts(t),
		"links":     links(t),
		"routes":    routes(t),
		"nft":       tables(t),
		"cgroups":   cgroups(t),
		"processes": processes(t),
		"sysctl":    sysctls(t),
		"netns":     list("/run/netns"),
		"run":       list("/run/lepto"),
		"temp":      temporary(),
	}
	s := snapshot{lines: lines, homes: map[string]string{}}
	for _, topic := range lines {
		slices.Sort(topic)
		for _, line := range topic {
			for _, found := range enclavePath.FindAllStringSubmatch(line, -1) {
				s.homes[found[2]] = found[1]
			}
		}
	}
	return s
}

// diff names what is in one snapshot and not in the other, but for what plainly
// belongs to an enclave of another home: another engine may be at work here.
func (s snapshot) diff(after snapshot, home string) string {
	var others []string
	for _, homes := range []map[string]string{s.homes, after.homes} {
		for id, of := range homes {
			if of != home {
				others = append(others, id[:10])
			}
		}
	}
	foreign := func(line string) bool {
		return slices.ContainsFunc(others, func(id string) bool { return strings.Contains(line, id) })
	}
	var out strings.Builder
	compare := func(topic, word string, from, to []string) {
		for _, line := range to {
			if !slices.Contains(from, line) && !foreign(line) {
				fmt.Fprintf(&out, "%s: %s: %s\n", topic, word, line)
			}
		}
	}
	for topic, before := range s.lines {
		compare(topic, "new", before, after.lines[topic])
		if topic != "temp" { // where other programs tidy up after themselves
			compare(topic, "gone", after.lines[topic], before)
		}
	}
	return out.String()
}

func mounts(t *testing.T) []string {
	var out []string
	for _, line := range strings.Split(read(t, "/proc/self/mountinfo"), "\n") {
		if fields := strings.Fields(line); len(fields) > 5 {
			if point := fields[4]; !theirs.MatchString(point) {
				out = append(out, fields[3]+" on "+point) // ids differ from run to run
			}
		}
	}
	return out
}

// theirs are the places where others mount on a machine that is in use: who logs
// in, services that start by a timer, container engines.
var theirs = regexp.MustCompile(`^(/run/(user|credentials|systemd|docker|containerd|snapd)|/var/lib/(docker|containerd|containers)|/snap|/media|/proc/sys/fs/binfmt_misc)(/|$)`)

func links(t *testing.T) []string {
	all, err := netspace.Whole(netlink.LinkList)
	must(t, err)
	var out []string
	for _, link := range all {
		if foreign(link.Attrs().Name) {
			continue
		}
		out = append(out, link.Type()+" "+link.Attrs().Name)
	}
	return out
}

// foreign says that a link belongs to a Docker Engine, a virtual machine or a VPN
// on the same machine.
func foreign(name string) bool {
	return name == "docker0" || slices.ContainsFunc([]string{"veth", "br-", "virbr", "vnet", "tap", "tun", "wg"}, func(prefix string) bool {
		return strings.HasPrefix(name, prefix)
	})
}

func routes(t *testing.T) []string {
	all, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	must(t, err)
	var out []string
	for _, route := range all {
		link := strconv.Itoa(route.LinkIndex)
		if l, err := netlink.LinkByIndex(route.LinkIndex); err == nil {
			if foreign(l.Attrs().Name) {
				continue
			}
			link = l.Attrs().Name // numbers differ from run to run
		}
		out = append(out, fmt.Sprintf("%v via %v on %s", route.Dst, route.Gw, link))
	}
	return out
}

// tables lists our tables, and our rules in every chain: others may change theirs
// at any time. Ours have a name or a comment that says so.
func tables(t *testing.T) []string {
	conn, err := nftables.New()
	must(t, err)
	all, err := conn.ListTables()
	must(t, err)
	var out []string
	for _, table := range all {
		if strings.HasPrefix(table.Name, "lepto") {
			out = append(out, fmt.Sprintf("%d %s", table.Family, table.Name))
		}
	}
	chains, err := conn.ListChains()
	must(t, err)
	for _, chain := range chains {
		rules, err := conn.GetRules(chain.Table, chain)
		if errors.Is(err, unix.ENOENT) { // it has gone meanwhile
			continue
		}
		must(t, err)
		if ours := slices.DeleteFunc(rules, func(r *nftables.Rule) bool {
			return !strings.HasPrefix(chain.Table.Name, "lepto") && !bytes.Contains(r.UserData, []byte("lepto"))
		}); len(ours) > 0 {
			out = append(out, fmt.Sprintf("%s/%s: %d rules", chain.Table.Name, chain.Name, len(ours)))
		}
	}
	return out
}

// cgroups lists our directories in every hierarchy, but for those of engines,
// which go with them (TestWhoStartedItMayBeEnded).
func cgroups(t *testing.T) []string {
	var out []string
	_ = filepath.WalkDir("/sys/fs/cgroup", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && strings.Contains(path, "/lepto/") && !strings.Contains(path, "/lepto/test") &&
			!strings.Contains(path, "/lepto/engine-") {
			out = append(out, path)
		}
		return nil
	})
	return out
}

// processes lists ours, and what runs in their containers, except the engine of
// the test itself, which stays on purpose.
func processes(t *testing.T) []string {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	must(t, err)
	var out []string
	for _, dir := range dirs {
		line, err := os.ReadFile(filepath.Join(dir, "cmdline"))
		if err != nil || len(line) == 0 {
			continue
		}
		text := strings.ReplaceAll(strings.TrimRight(string(line), "\x00"), "\x00", " ")
		switch program, _, _ := strings.Cut(text, " "); {
		case filepath.Base(program) == "lepto-supervisor" && strings.Contains(text, "/native/"):
			out = append(out, text)
		case program == "/dev/.lepto-init", program == "/lab":
			if group := cgroupOf(dir); !strings.Contains(group, "/lepto/test") { // some package's own tests
				out = append(out, text+" in "+group)
			}
		}
	}
	return out
}

// cgroupOf gives the cgroup of ours that a process is in, which names its enclave.
func cgroupOf(dir string) string {
	lines, _ := os.ReadFile(filepath.Join(dir, "cgroup")) // it may be gone
	for line := range strings.Lines(string(lines)) {
		if _, path, ok := strings.Cut(line, ":/lepto/"); ok {
			return "/lepto/" + strings.TrimSpace(path)
		}
	}
	return ""
}

func temporary() []string {
	found, _ := filepath.Glob(filepath.Join(os.TempDir(), "lepto*"))
	return found
}

func list(dir string) []string {
	entries, _ := os.ReadDir(dir)
	var out []string
	for _, entry := range entries {
		out = append(out, entry.Name())
	}
	return out
}

// sysctls gives the settings of the host that enclaves change.
func sysctls(t *testing.T) []string {
	var out []string
	for _, name := range []string{"ip_forward", "neigh/default/gc_thresh2", "neigh/default/gc_thresh3"} {
		out = append(out, name+"="+read(t, "/proc/sys/net/ipv4/"+name))
	}
	return out
}

func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	must(t, err)
	return strings.TrimSpace(string(content))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
