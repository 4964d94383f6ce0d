package supervisor

import (
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// stopSignal reads an image's stop signal; SIGTERM if it names none we know.
func stopSignal(name string) unix.Signal {
	if n, err := strconv.Atoi(name); err == nil && n > 0 && n < 65 {
		return unix.Signal(n)
	}
	name = strings.ToUpper(name)
	if !strings.HasPrefix(name, "SIG") {
		name = "SIG" + name
	}
	if rest, ok := strings.CutPrefix(name, "SIGRTMIN"); ok { // systemd's images: SIGRTMIN+3
		if n, err := strconv.Atoi(strings.TrimPrefix(rest, "+")); err == nil && n >= 0 && n <= 30 {
			return unix.Signal(34 + n)
		}
	}
	if s := unix.SignalNum(name); s != 0 {
		return s
	}
	return unix.SIGTERM
}
