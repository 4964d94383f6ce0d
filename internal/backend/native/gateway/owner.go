package gateway

import (
	"bufio"
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/lepto-dev/lepto/internal/backend"
)

// This file finds out which process holds a port, for an error's text.

// portOwner names the process that holds a port of the host; empty if it can't
// be known. It reads all of /proc, so it is for errors only.
func portOwner(proto backend.Transport, addr netip.AddrPort) string {
	inode := ""
	for _, table := range []string{string(proto), string(proto) + "6"} {
		if inode == "" {
			inode = socketInode("/proc/net/"+table, proto, addr.Port())
		}
	}
	if inode == "" {
		return ""
	}
	fds, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	want := "socket:[" + inode + "]"
	for _, fd := range fds {
		if target, err := os.Readlink(fd); err == nil && target == want {
			return describeProcess(strings.Split(fd, "/")[2])
		}
	}
	return ""
}

// socketInode finds a bound socket by its port in a table of proc(5).
func socketInode(table string, proto backend.Transport, port uint16) string {
	f, err := os.Open(table)
	if err != nil {
		return ""
	}
	defer f.Close()
	const listening = "0A" // TCP_LISTEN; UDP sockets have no such state
	suffix := fmt.Sprintf(":%04X", port)
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Fields(lines.Text()) // sl local remote state queues timer retransmits uid timeout inode
		if len(fields) < 10 || !strings.HasSuffix(fields[1], suffix) {
			continue
		}
		if proto == backend.UDP || fields[3] == listening {
			return fields[9]
		}
	}
	return ""
}

// describeProcess names a process: by its enclave if it is another one's
// gateway process, else by its command.
func describeProcess(pid string) string {
	cmdline, err := os.ReadFile("/proc/" + pid + "/cmdline")
	if err != nil {
		return "process " + pid
	}
	args := strings.Split(string(bytes.TrimRight(cmdline, "\x00")), "\x00")
	if len(args) == 3 && args[1] == kind.Verb && filepath.Base(args[2]) == "net" {
		enclave := filepath.Base(filepath.Dir(args[2]))
		return fmt.Sprintf("a service of enclave %s", enclave[:min(len(enclave), 12)])
	}
	if args[0] == "" {
		return "process " + pid
	}
	return strconv.Quote(filepath.Base(args[0])) + ", process " + pid
}
