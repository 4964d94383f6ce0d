package plan

import (
	"fmt"
	"strings"

	"github.com/lepto-dev/lepto/internal/enclave"
)

// This file imagines runs: what a re-run would do can be asked without an
// enclave, and without executing anything.

// Imagined is an enclave in which plans were executed, all of it with success.
type Imagined struct {
	records  map[string]enclave.StepRecord
	versions map[Key]string
	services map[Key]Condition
	runs     uint64
	number   uint64
}

// NewImagined gives an enclave that has nothing yet.
func NewImagined() *Imagined {
	return &Imagined{records: map[string]enclave.StepRecord{}, versions: map[Key]string{}, services: map[Key]Condition{}}
}

// Past gives the enclave as Compare takes it.
func (m *Imagined) Past() Past {
	past := Past{
		Version: func(k Key) string { return m.versions[k] },
		Service: func(k Key) Condition {
			if is, known := m.services[k]; known {
				return is
			}
			return Gone
		},
	}
	for _, r := range m.records {
		past.Records = append(past.Records, r)
	}
	return past
}

// Run executes a plan, and gives what that did about each step. A step of parts
// is kept if all of them are.
func (m *Imagined) Run(steps []Step) []Status {
	m.runs++
	nodes := Nodes(steps)
	statuses := make([]Status, len(steps))
	for i, v := range Compare(nodes, m.Past()) {
		n := &nodes[i]
		if s := &statuses[n.Step]; *s == "" || *s == Keep {
			*s = v.Status
		}
		if v.Status != Keep {
			m.execute(n, v.Record)
		} else {
			record := *v.Record
			record.Seen = m.runs
			m.records[record.ID] = record
		}
	}
	return statuses
}

func (m *Imagined) execute(n *Node, old *enclave.StepRecord) {
	m.number++
	record := enclave.StepRecord{
		ID: n.ID, About: n.About, Number: m.number, Ran: m.runs, Seen: m.runs, Values: n.Values(),
		Uses: map[string]string{}, Makes: map[string]string{},
	}
	record.Said, record.Refs = n.Said("")
	for _, k := range n.Uses() {
		record.Uses[string(k)] = m.versions[k]
	}
	made, _ := n.creates()
	for _, k := range n.Effects.Writes {
		switch {
		case k == made && made != "":
			m.versions[k] = fmt.Sprintf("made %d", m.number)
		case IsValue(k):
			m.versions[k] = "filled"
		case IsArtifact(k):
			m.versions[k] = Digest(fmt.Sprint(record.Said), strings.Join(record.Refs, " "))
		}
		record.Makes[string(k)] = m.versions[k]
	}
	for k, is := range n.Effects.Leaves {
		m.services[k] = is
		if is == Gone {
			delete(m.versions, k)
			record.Makes[string(k)] = ""
		}
	}
	if old != nil {
		delete(m.records, old.ID)
	}
	m.records[record.ID] = record
}
