package ui

import (
	"strings"

	"github.com/clipperhouse/displaywidth"
)

// This file measures text in terminal cells.

// Width gives the cells that text takes; colours (SGR sequences) take none.
func Width(s string) int { return displaywidth.Options{ControlSequences: true}.String(s) }

// Cut shortens text to a number of cells, with "…" where something was cut.
func Cut(s string, cells int) string {
	if cells <= 0 {
		return ""
	}
	return displaywidth.Options{ControlSequences: true}.TruncateString(s, cells, "…")
}

// pad fills text with spaces up to a number of cells.
func pad(s string, cells int) string {
	if n := cells - Width(s); n > 0 {
		return s + strings.Repeat(" ", n)
	}
	return s
}
