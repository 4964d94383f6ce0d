package main

import (
	"bytes"
	"debug/elf"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// wanted are the kernel modules that the product and its tests use. What a
// kernel has built in is no module of it, and is left out.
var wanted = strings.Fields(`
	overlay loop
	veth bridge br_netfilter tun dummy
	nf_tables nft_masq nft_nat nft_chain_nat nft_ct nft_fib nft_fib_inet nft_reject_inet nft_compat nf_conntrack
	ip_tables iptable_nat iptable_filter xt_MASQUERADE xt_conntrack xt_comment
	inet_diag tcp_diag udp_diag unix_diag netlink_diag
	sch_netem sch_htb sch_tbf sch_prio sch_fq sch_ingress
	cls_u32 cls_bpf cls_matchall cls_flower act_mirred act_gact
`)

// A module is a kernel module's file.
type module struct {
	name string
	data []byte
}

// orderModules gives the wanted modules and those they depend on, in an order
// in which they can be inserted.
func orderModules(dir string) ([]module, error) {
	files, err := moduleFiles(dir)
	if err != nil {
		return nil, err
	}
	var out []module
	seen := map[string]bool{}
	var add func(name string) error
	add = func(name string) error {
		path, there := files[name]
		if seen[name] || !there {
			return nil
		}
		seen[name] = true
		data, err := readModule(path)
		if err != nil {
			return fmt.Errorf("module %s: %w", name, err)
		}
		needs, err := dependencies(data)
		if err != nil {
			return fmt.Errorf("module %s: %w", name, err)
		}
		for _, n := range needs {
			if err := add(n); err != nil {
				return err
			}
		}
		out = append(out, module{name, data})
		return nil
	}
	for _, name := range wanted {
		if err := add(name); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// moduleFiles finds the files by module name: "-" and "_" are one there.
func moduleFiles(dir string) (map[string]string, error) {
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if name, suffix, ok := strings.Cut(filepath.Base(path), ".ko"); ok && (suffix == "" || suffix == ".xz") {
			files[strings.ReplaceAll(name, "-", "_")] = path
		}
		return err
	})
	return files, err
}

func readModule(path string) ([]byte, error) {
	if strings.HasSuffix(path, ".xz") {
		return exec.Command("xz", "-dc", path).Output()
	}
	return os.ReadFile(path)
}

// dependencies reads which modules must be there before: "depends=a,b" in the
// section .modinfo, which holds strings that end with a zero.
func dependencies(ko []byte) ([]string, error) {
	file, err := elf.NewFile(bytes.NewReader(ko))
	if err != nil {
		return nil, err
	}
	section := file.Section(".modinfo")
	if section == nil {
		return nil, nil
	}
	data, err := section.Data()
	if err != nil {
		return nil, err
	}
	for _, entry := range strings.Split(string(data), "\x00") {
		if list, ok := strings.CutPrefix(entry, "depends="); ok && list != "" {
			return strings.Split(strings.ReplaceAll(list, "-", "_"), ","), nil
		}
	}
	return nil, nil
}
