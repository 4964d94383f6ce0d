package probe

import (
	"bufio"
	"fmt"
	"io"
	"strings"
)

// Exchange sends one message over a connection to a probe that serves, and
// gives its answer: a line over TCP, a datagram over UDP.
func Exchange(c io.ReadWriter, proto, message string) (string, error) {
	if proto == "udp" {
		if _, err := io.WriteString(c, message); err != nil {
			return "", err
		}
		buf := make([]byte, 64<<10)
		n, err := c.Read(buf)
		return string(buf[:n]), err
	}
	if _, err := fmt.Fprintln(c, message); err != nil {
		return "", err
	}
	line, err := bufio.NewReader(c).ReadString('\n')
	return strings.TrimSuffix(line, "\n"), err
}
