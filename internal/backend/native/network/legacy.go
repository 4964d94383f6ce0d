package network

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"time"
)

// This file gets enclaves' traffic past the legacy iptables, another part of the
// kernel than nftables: its own program, iptables-legacy, is asked to accept what
// comes from our uplink and what goes to it. Only where the legacy filter table
// is there already; to look does not make it.

// legacyTables lists the legacy tables of this namespace.
const legacyTables = "/proc/net/ip_tables_names"

// legacyBound bounds one call: others may hold the lock of iptables.
const legacyBound = 5 * time.Second

// legacyClosed matches the policy, or a last rule, that lets nothing else pass.
var legacyClosed = regexp.MustCompile(`^(-P FORWARD DROP|-A FORWARD -j (DROP|REJECT)\b.*)$`)

// passLegacy makes the rules where they are missing.
func passLegacy(names names) error {
	program, rules, err := legacyForward()
	if program == "" || err != nil {
		return err
	}
	if !legacyClosed.MatchString(rules[0]) && !legacyClosed.MatchString(rules[len(rules)-1]) {
		return nil
	}
	for _, rule := range legacyOwn(names) {
		if slices.Contains(rules, "-A FORWARD "+rule) {
			continue
		}
		if _, err := legacy(program, "-I FORWARD "+rule); err != nil {
			return err
		}
	}
	return nil
}

// leaveLegacy removes exactly the rules that passLegacy made.
func leaveLegacy(names names) error {
	program, rules, err := legacyForward()
	if program == "" || err != nil {
		return err
	}
	for _, rule := range legacyOwn(names) {
		if slices.Contains(rules, "-A FORWARD "+rule) {
			_, failed := legacy(program, "-D FORWARD "+rule)
			err = errors.Join(err, failed)
		}
	}
	return err
}

// legacyOwn are our rules, as iptables shows them. The name of the uplink, which
// is the enclave's alone, is how they are found again.
func legacyOwn(names names) []string {
	return []string{"-i " + names.uplink + " -j ACCEPT", "-o " + names.uplink + " -j ACCEPT"}
}

// legacyProgram finds the program where there is a legacy filter table; "" where
// there is none, or no program for it.
func legacyProgram() string {
	tables, err := os.ReadFile(legacyTables)
	if err != nil || !slices.Contains(strings.Fields(string(tables)), "filter") {
		return ""
	}
	for _, name := range []string{"iptables-legacy", "/usr/sbin/iptables-legacy", "/sbin/iptables-legacy"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	path, err := exec.LookPath("iptables") // the only one, before there was another
	if err != nil {
		return ""
	}
	if version, err := legacy(path, "--version"); err != nil || strings.Contains(version, "nf_tables") {
		return ""
	}
	return path
}

// legacyForward gives the program, "" if there is nothing for it to do, and the
// chain's policy and rules, a line each.
func legacyForward() (program string, rules []string, err error) {
	if program = legacyProgram(); program == "" {
		return "", nil, nil
	}
	out, err := legacy(program, "-S FORWARD")
	return program, strings.Split(strings.TrimSpace(out), "\n"), err
}

// legacy runs the program; no argument has spaces in it.
func legacy(program, args string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), legacyBound)
	defer cancel()
	out, err := exec.CommandContext(ctx, program, append([]string{"-w"}, strings.Fields(args)...)...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", program, args, err, strings.TrimSpace(string(out)))
	}
	return string(out), nil
}
