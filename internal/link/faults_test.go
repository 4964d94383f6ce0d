package link

import (
	"fmt"
	"testing"
	"time"
)

func TestFaultsApply(t *testing.T) {
	topology := Topology{}
	for _, c := range []struct {
		fault Fault
		want  string // a-b, a-c, b-c
	}{
		{Fault{Action: Partition, Subnetworks: []string{"a", "b", "c"}}, "blocked blocked blocked"},
		{Fault{Action: Heal, Subnetworks: []string{"c", "a"}}, "blocked allowed blocked"},
		{Fault{Action: SetLink, Subnetworks: []string{"a", "c"}, Connection: Connection{Loss: 5}}, "blocked loss 5% blocked"},
		{Fault{Action: SetLink, Connection: Connection{Loss: 9}}, "blocked loss 5% blocked"},
		{Fault{Action: Heal, Subnetworks: []string{"a", "b", "c"}}, "loss 9% loss 9% loss 9%"},
		{Fault{Action: Heal}, "allowed allowed allowed"},
	} {
		if err := c.fault.Validate(); err != nil {
			t.Error(err)
		}
		topology = c.fault.Apply(topology)
		got := fmt.Sprint(topology.Connection("a", "b"), " ", topology.Connection("c", "a"), " ", topology.Connection("b", "c"))
		if got != c.want {
			t.Errorf("%s: %s, want %s", c.fault, got, c.want)
		}
	}
}

func TestFaultsAreChecked(t *testing.T) {
	for _, f := range []Fault{
		{Action: "explode"}, {Action: Kill}, {Action: Pause, Services: []string{"a"}, Subnetworks: []string{"b"}},
		{Action: Partition, Subnetworks: []string{"a"}}, {Action: SetLink, Subnetworks: []string{"a"}}, {Action: Heal, Subnetworks: []string{"a"}},
		{Action: Heal, Services: []string{"a"}}, {Action: SetLink, Connection: Connection{Loss: 200}}, {Action: Heal, After: -1},
		{Action: SetLink, Direction: Forward}, {Action: Partition, Subnetworks: []string{"a", "b"}, Direction: Backward},
		{Action: Partition, Subnetworks: []string{"a", "b", "a"}}, {Action: Heal, Subnetworks: []string{"a", "a"}},
	} {
		if f.Validate() == nil {
			t.Errorf("%+v passes", f)
		}
	}
}

func TestFaultsResolve(t *testing.T) {
	faults := []Fault{
		{After: 10 * time.Second, Action: Heal},
		{After: time.Second, Jitter: 5 * time.Second, Action: Kill, Services: []string{"a", "b", "c"}},
		{After: 2 * time.Second, Jitter: 5 * time.Second, Action: Pause, Services: []string{"a", "b", "c"}},
	}
	seen := map[string]bool{}
	for seed := range uint64(50) {
		one, two := Resolve(faults, seed), Resolve(faults, seed)
		if fmt.Sprint(one) != fmt.Sprint(two) {
			t.Fatal("the same seed gives other faults")
		}
		for i, f := range one {
			if f.Jitter != 0 || len(f.Services) > 1 || i > 0 && f.After < one[i-1].After {
				t.Fatalf("resolved %+v", one)
			}
		}
		seen[fmt.Sprint(one)] = true
	}
	if len(seen) < 10 || faults[1].Jitter == 0 {
		t.Errorf("%d kinds of schedule in 50 seeds", len(seen))
	}
}

func TestFaultText(t *testing.T) {
	for want, f := range map[string]Fault{
		"partition a | b":                     {Action: Partition, Subnetworks: []string{"a", "b"}},
		"set a | b, forward: blocked":         {Action: SetLink, Subnetworks: []string{"a", "b"}, Direction: Forward, Connection: Blocked},
		"set the default connection: loss 1%": {Action: SetLink, Connection: Connection{Loss: 1}},
		"heal everything":                     {Action: Heal},
		"kill a or b":                         {Action: Kill, Services: []string{"a", "b"}},
	} {
		if f.String() != want {
			t.Errorf("%q, want %q", f, want)
		}
	}
}
