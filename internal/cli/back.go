//go:build !front

package cli

import "os"

// This file is what front.go does where this program is all of lepto.

func (d *deps) handOver([]string) error { return nil }

func (d *deps) engineProgram() (string, error) { return os.Executable() }
