package e2e

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
)

// This file takes stock of the host, so that a test can say: as it was before.

// snapshot is all of a host that lepto may touch, as sorted lines by topic.
type snapshot map[string][]string

func takeSnapshot(t *testing.T) snapshot {
	t.Helper()
	s := snapshot{
		"mounts":    mounts(t),
		"links":     links(t),
		"routes":    routes(t),
		"nft":       tables(t),
		"cgroups":   cgroups(t),
		"processes": processes(t),
		"sysctl":    {"ip_forward=" + read(t, "/proc/sys/net/ipv4/ip_forward")},
		"netns":     list("/run/netns"),
		"run":       list("/run/lepto"),
		"temp":      temporary(),
	}
	for _, lines := range s {
		slices.Sort(lines)
	}
	return s
}

// diff names what is in one snapshot and not in the other.
func (s snapshot) diff(after snapshot) string {
	var out strings.Builder
	for topic, before := range s {
		for _, line := range after[topic] {
			if !slices.Contains(before, line) {
				fmt.Fprintf(&out, "%s: new: %s\n", topic, line)
			}
		}
		for _, line := range before {
			if !slices.Contains(after[topic], line) {
				fmt.Fprintf(&out, "%s: gone: %s\n", topic, line)
			}
		}
	}
	return out.String()
}

func mounts(t *testing.T) []string {
	var out []string
	for _, line := range strings.Split(read(t, "/proc/self/mountinfo"), "\n") {
		if fields := strings.Fields(line); len(fields) > 5 {
			out = append(out, fields[3]+" on "+fields[4]) // ids differ from run to run
		}
	}
	return out
}

func links(t *testing.T) []string {
	all, err := netlink.LinkList()
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

// foreign says that a link belongs to a Docker Engine on the same machine.
func foreign(name string) bool {
	return name == "docker0" || strings.HasPrefix(name, "veth")
}

func routes(t *testing.T) []string {
	all, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	must(t, err)
	var out []string
	for _, route := range all {
		out = append(out, route.String())
	}
	return out
}

func tables(t *testing.T) []string {
	conn, err := nftables.New()
	must(t, err)
	all, err := conn.ListTables()
	must(t, err)
	var out []string
	for _, table := range all {
		out = append(out, fmt.Sprintf("%d %s", table.Family, table.Name))
	}
	chains, err := conn.ListChains()
	must(t, err)
	for _, chain := range chains {
		rules, err := conn.GetRules(chain.Table, chain)
		must(t, err)
		out = append(out, fmt.Sprintf("%s/%s: %d rules", chain.Table.Name, chain.Name, len(rules)))
	}
	return out
}

// cgroups lists our directories in every hierarchy.
func cgroups(t *testing.T) []string {
	var out []string
	_ = filepath.WalkDir("/sys/fs/cgroup", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && strings.Contains(path, "/lepto/") {
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
		if strings.Contains(text, " engine run") {
			continue
		}
		if strings.Contains(text, "lepto-supervisor") || strings.Contains(text, "lepto-init") || strings.HasPrefix(text, "/lab ") {
			out = append(out, text)
		}
	}
	return out
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
