package cli

import (
	"fmt"
	"net"
	"strconv"

	"github.com/lepto-dev/lepto/internal/api/client"
)

// This file puts ports in words.

// portText gives "id: 8080/tcp -> http://127.0.0.1:32769". The address is one
// that terminals make clickable.
func portText(p client.Port) string {
	text := fmt.Sprintf("%s: %d/%s", p.ID, p.Number, p.Transport)
	if p.HostPort == 0 {
		return text
	}
	return text + " -> " + portURL(p)
}

// portURL gives where the host reaches a port, with its protocol if known.
func portURL(p client.Port) string {
	address := net.JoinHostPort(p.HostIP, strconv.Itoa(int(p.HostPort)))
	if p.Application == "" {
		return address
	}
	return p.Application + "://" + address
}
