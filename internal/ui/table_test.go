package ui

import (
	"strings"
	"testing"
)

func TestTable(t *testing.T) {
	table := Table{Header: []string{"UUID", "Name", "Ports", "Status"}}
	table.Add("39cbe546b1e2", "db", "adm: 8080/tcp -> http://127.0.0.1:32769", "RUNNING")
	table.Add("", "", "pg: 5432/tcp -> postgresql://127.0.0.1:32768", "")
	want := "" +
		"UUID           Name   Ports                                          Status\n" +
		"39cbe546b1e2   db     adm: 8080/tcp -> http://127.0.0.1:32769        RUNNING\n" +
		"                      pg: 5432/tcp -> postgresql://127.0.0.1:32768   \n"
	var out strings.Builder
	if err := table.Write(&out, Style{}); err != nil || out.String() != want {
		t.Errorf("got (%v)\n%s\nwant\n%s", err, out.String(), want)
	}
	out.Reset()
	if err := table.Write(&out, Coloured); err != nil || Clean(out.String()) != want {
		t.Errorf("colours move columns:\n%s", out.String())
	}
}

func TestTableAlignsWideRunes(t *testing.T) {
	table := Table{Header: []string{"Name", "X"}}
	table.Add("世界", "1")
	table.Add("e\u0301", "2")
	var out strings.Builder
	table.Write(&out, Style{})
	if want := "Name   X\n世界   1\ne\u0301      2\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}

func TestPairsSectionSpotlight(t *testing.T) {
	var out strings.Builder
	WritePairs(&out, Style{}, Pair{"Name", "foo"}, Pair{"Creation Time", "now"}, Pair{"Flags", ""})
	out.WriteString(Section(Style{}, "Files Artifacts") + "\n" + Spotlight("Created enclave: winter-forest"))
	golden(t, "blocks.txt", out.String())
}
