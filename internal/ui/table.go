package ui

import (
	"encoding/json"
	"io"
	"strings"
)

// This file defines the two shapes of a result: a table and a key-value block.
// Scripts cut them at runs of spaces, so the layout is fixed: columns are as
// wide as their widest cell plus three spaces, the last one is not padded.

// columnGap is the space between two columns.
const columnGap = 3

// A Table has a header and rows. Cells may be coloured; their text must have
// been cleaned.
type Table struct {
	Header []string
	Rows   [][]string
}

// Add adds a row.
func (t *Table) Add(cells ...string) { t.Rows = append(t.Rows, cells) }

// Write renders the table. An empty one is its header.
func (t *Table) Write(w io.Writer, s Style) error {
	rows := make([][]string, 0, len(t.Rows)+1)
	header := make([]string, len(t.Header))
	for i, cell := range t.Header {
		header[i] = s.Bold(cell)
	}
	return writeColumns(w, append(append(rows, header), t.Rows...))
}

// writeColumns aligns rows of equal length.
func writeColumns(w io.Writer, rows [][]string) error {
	var widths []int
	for _, row := range rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], Width(cell))
		}
	}
	var out strings.Builder
	for _, row := range rows {
		for i, cell := range row {
			if i < len(row)-1 {
				cell = pad(cell, widths[i]+columnGap)
			}
			out.WriteString(cell)
		}
		out.WriteByte('\n')
	}
	_, err := io.WriteString(w, out.String())
	return err
}

// A Pair is a line of a key-value block.
type Pair struct{ Key, Value string }

// WritePairs renders "Key:   value" lines, values aligned.
func WritePairs(w io.Writer, s Style, pairs ...Pair) error {
	rows := make([][]string, len(pairs))
	for i, p := range pairs {
		rows[i] = []string{s.Bold(p.Key + ":"), p.Value}
	}
	return writeColumns(w, rows)
}

// Section renders a header line about a hundred cells wide.
func Section(s Style, title string) string {
	side := strings.Repeat("=", max(0, (100-len(title)-2)/2))
	return side + " " + s.Bold(title) + " " + side
}

// Spotlight frames one line, for the one thing to notice in the talk.
func Spotlight(text string) string {
	middle := "||          " + text + "          ||"
	frame := strings.Repeat("=", Width(middle))
	return frame + "\n" + middle + "\n" + frame + "\n"
}

// WriteJSON renders a value as indented JSON, for -o json.
func WriteJSON(w io.Writer, value any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(value)
}
