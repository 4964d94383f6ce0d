package ui

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/lepto-dev/lepto/internal/plan"
)

func plan3(i int) plan.StepID { return plan.StepID(fmt.Sprintf("%03d", i)) }

var sequence = regexp.MustCompile(`^\x1b\[(\??)([0-9]*)([A-Za-z])`)

// shown gives what a terminal shows after the bytes: a tiny terminal that knows
// the sequences the painter uses.
func shown(stream string) string {
	lines := []string{""}
	row := 0
	for len(stream) > 0 {
		if m := sequence.FindStringSubmatch(stream); m != nil {
			stream = stream[len(m[0]):]
			switch n, _ := strconv.Atoi(m[2]); m[3] {
			case "F":
				row -= n
			case "J":
				lines = append(lines[:row], "")
			}
			continue
		}
		r, rest := stream[:1], stream[1:]
		stream = rest
		switch r {
		case "\r":
		case "\n":
			if row++; row == len(lines) {
				lines = append(lines, "")
			}
		default:
			lines[row] += r
		}
	}
	return strings.Join(lines, "\n")
}
