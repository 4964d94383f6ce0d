package fault

import "testing"

func TestNearest(t *testing.T) {
	for _, c := range []struct {
		name string
		from []string
		want string
	}{
		{"mgs", []string{"msg", "description"}, "msg"},
		{"recpie", []string{"recipe", "description"}, "recipe"},
		{"TPC", []string{"TCP", "SCTP", "UDP"}, "TCP"},
		{"tcp", []string{"TCP"}, "TCP"},
		{"a", []string{"b"}, ""},
		{"ab", []string{"ac"}, "ac"},
		{"database", []string{"cache", "web"}, ""},
		{"", []string{"a"}, ""},
		{"web", nil, ""},
	} {
		if got := Nearest(c.name, c.from); got != c.want {
			t.Errorf("%q: got %q, want %q", c.name, got, c.want)
		}
	}
}
