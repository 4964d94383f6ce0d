package plan

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// acting is a step with given effects.
type acting struct{ effects Effects }

func (acting) Call() Call                 { return Call{Name: "do"} }
func (a acting) Effects() Effects         { return a.effects }
func (acting) Validate(*Forecast) []error { return nil }
func (acting) Execute(context.Context, *Execution) (Outcome, error) {
	return Outcome{}, nil
}

func reads(keys ...Key) Effects   { return Effects{Reads: keys} }
func writes(keys ...Key) Effects  { return Effects{Writes: keys} }
func touches(keys ...Key) Effects { return Effects{Touches: keys} }

// service is an addition: its value slot is value/<name>.
func service(name string, e Effects) Effects {
	value := ValueKey(name)
	e.Writes = append(e.Writes, ServiceKey(name), value)
	e.Addresses = map[Key]Key{value: ServiceKey(name)}
	return e
}

func graphOf(effects ...Effects) *Graph {
	steps := make([]Step, len(effects))
	for i, e := range effects {
		steps[i] = acting{e}
	}
	return NewGraph(steps)
}

// shape writes the links of a graph as "2<1 3<1,2", steps counted from 1.
func shape(links [][]Link) string {
	var out []string
	for i, after := range links {
		var numbers []string
		for _, l := range after {
			numbers = append(numbers, fmt.Sprint(l.Step+1))
		}
		if len(numbers) > 0 {
			out = append(out, fmt.Sprintf("%d<%s", i+1, strings.Join(numbers, ",")))
		}
	}
	return strings.Join(out, " ")
}

func TestGraphRules(t *testing.T) {
	db, api := ServiceKey("db"), ServiceKey("api")
	command := func(text string, e Effects) Effects { e.Texts, e.Acts = []string{text}, true; return e }
	says := func(text string, e Effects) Effects { e.Texts = []string{text}; return e }
	script := func(text string, e Effects) Effects { e.Texts, e.Acts, e.Script = []string{text}, true, true; return e }
	unread := func(e Effects) Effects { e.Unread = true; return e }
	ordered := func(o Order, e Effects) Effects { e.Order = o; return e }
	for name, c := range map[string]struct {
		steps []Effects
		want  string
	}{
		"a value is read after it is written":            {[]Effects{writes("value/1"), writes("value/2"), reads("value/1", "value/2")}, "3<1,2"},
		"readers are free of one another":                {[]Effects{writes(db), reads(db), reads(db)}, "2<1 3<1"},
		"what is read is not written before":             {[]Effects{writes(db), reads(db), reads(db), writes(db)}, "2<1 3<1 4<2,3"},
		"writes keep their order":                        {[]Effects{writes(db), writes(db), writes(db)}, "2<1 3<2"},
		"touches keep their order":                       {[]Effects{writes(db), touches(db), touches(db), writes(db)}, "2<1 3<2 4<3"},
		"the world comes after all and before all":       {[]Effects{writes("value/1"), writes(db), writes(World), writes("value/2"), reads(db)}, "3<1,2 4<3 5<3"},
		"who reads the world sees what is there":         {[]Effects{service("db", Effects{}), writes("artifact/a"), reads(World), reads(World), writes(db)}, "3<1 4<1 5<3,4"},
		"who reads the world leaves files alone":         {[]Effects{reads(World), writes("artifact/a"), reads("artifact/a")}, "3<2"},
		"an address is a use":                            {[]Effects{service("db", Effects{}), writes(db), service("api", reads("value/db")), writes(db)}, "2<1 3<2 4<3"},
		"a name is a use":                                {[]Effects{service("db", Effects{}), writes(db), service("api", says("host=db", Effects{})), writes(db)}, "2<1 3<2 4<3"},
		"a name that is not there yet is none":           {[]Effects{service("api", says("db", Effects{})), service("db", Effects{})}, ""},
		"a name within a word is none":                   {[]Effects{service("db", Effects{}), service("api", says("mydb db-1 db_2", Effects{}))}, ""},
		"two services may use a third at once":           {[]Effects{service("db", Effects{}), service("a", says("db", Effects{})), service("b", says("db", Effects{}))}, "2<1 3<1"},
		"commands that name a service keep order":        {[]Effects{service("db", Effects{}), service("a", Effects{}), service("b", Effects{}), command("curl db", writes("service/a")), command("curl db", writes("service/b"))}, "4<1,2 5<3,4"},
		"files carry what their maker names":             {[]Effects{says("http://db", writes("artifact/conf")), service("db", Effects{}), writes(db), service("api", reads("artifact/conf"))}, "3<2 4<1,3"},
		"making files talks to nobody":                   {[]Effects{service("db", Effects{}), says("http://db", writes("artifact/conf"))}, ""},
		"a gate holds back all that follows":             {[]Effects{writes("value/1"), writes(db), ordered(Gate, reads("value/1")), writes(api)}, "3<1 4<3"},
		"a gate does not wait for what is before it":     {[]Effects{writes(db), ordered(Gate, Effects{}), writes(db)}, "3<1,2"},
		"a wait holds back what depends on anything":     {[]Effects{service("db", Effects{}), ordered(Hold, touches(db)), writes("artifact/a"), service("x", Effects{}), service("y", reads("artifact/a"))}, "2<1 5<2,3"},
		"a second wait comes after the first":            {[]Effects{service("a", Effects{}), service("b", Effects{}), ordered(Hold, touches("service/a")), ordered(Hold, touches("service/b")), reads("service/b")}, "3<1 4<2,3 5<4"},
		"prints keep their order and their place":        {[]Effects{writes(db), ordered(Tell, Effects{}), writes(api), ordered(Tell, Effects{}), writes("service/z")}, "2<1 4<2,3"},
		"removal comes after all use":                    {[]Effects{service("db", Effects{}), service("api", reads("value/db")), writes(db), service("db", Effects{})}, "2<1 3<2 4<3"},
		"a script uses what it names, and nothing else":  {[]Effects{service("db", Effects{}), service("api", Effects{}), script("curl db", writes("value/1")), writes(api), writes(db)}, "3<1 4<2 5<3"},
		"a script that refers to an address":             {[]Effects{service("db", Effects{}), service("api", Effects{}), script("curl", Effects{Reads: []Key{"value/db"}, Writes: []Key{"value/1"}}), writes(api), writes(db)}, "3<1 4<2 5<3"},
		"a script that makes files is free":              {[]Effects{service("db", Effects{}), script("keygen", writes("artifact/a")), service("x", reads("artifact/a"))}, "3<2"},
		"a script that leaves nothing keeps its place":   {[]Effects{service("db", Effects{}), script("sleep 10", writes("value/1")), service("x", Effects{})}, "2<1 3<2"},
		"a script that may name any service":             {[]Effects{service("db", Effects{}), service("api", Effects{}), unread(Effects{Reads: []Key{db}, Writes: []Key{"artifact/a"}}), script("sh", Effects{Reads: []Key{"artifact/a"}, Writes: []Key{"artifact/b"}}), writes(api)}, "3<1 4<2,3 5<4"},
		"a script with files of an earlier run":          {[]Effects{service("db", Effects{}), script("sh", Effects{Reads: []Key{"artifact/old"}, Writes: []Key{"artifact/b"}}), writes(db)}, "2<1 3<2"},
		"a script with the output of a command":          {[]Effects{service("db", Effects{}), service("api", Effects{}), unread(writes("value/1", db)), script("sh", Effects{Reads: []Key{"value/1"}, Writes: []Key{"artifact/b"}}), writes(api)}, "3<1 4<2,3 5<4"},
		"what scripts make carries what they name":       {[]Effects{service("db", Effects{}), script("echo db", writes("value/1", "artifact/a")), script("sh", Effects{Reads: []Key{"artifact/a"}, Writes: []Key{"artifact/b"}}), script("sh", Effects{Reads: []Key{"artifact/b"}, Writes: []Key{"artifact/c"}}), writes(db)}, "2<1 3<2 4<3 5<4"},
		"a script and rendered files":                    {[]Effects{service("db", Effects{}), service("api", Effects{}), says("http://db", writes("artifact/conf")), script("sh", Effects{Reads: []Key{"artifact/conf"}, Writes: []Key{"artifact/b"}}), writes(api), writes(db)}, "4<1,3 5<2 6<4"},
		"a command that names a service before its step": {[]Effects{service("a", Effects{}), command("curl db", writes("service/a")), service("api", Effects{}), service("db", Effects{})}, "2<1 4<2"},
		"a command reaches what its service talks to":    {[]Effects{service("db", Effects{}), service("api", says("http://db", Effects{})), command("migrate", writes(api)), command("check", writes(db))}, "2<1 3<2 4<3"},
		"by an address, and by files":                    {[]Effects{service("db", Effects{}), says("http://db", writes("artifact/conf")), service("api", reads("artifact/conf")), service("web", reads("value/api")), command("post", writes("service/web")), command("check", writes(db))}, "3<1,2 4<3 5<4 6<5"},
		"what looks at services that share one is free":  {[]Effects{service("db", Effects{}), service("api", says("db", Effects{})), service("web", says("db", Effects{})), command("get", touches(api)), command("get", touches("service/web")), command("change", writes(db))}, "2<1 3<1 4<2 5<3 6<4,5"},
		"services that name each other":                  {[]Effects{service("a", says("b", Effects{})), service("b", says("a", Effects{})), command("x", writes("service/a")), command("y", writes("service/b"))}, "2<1 3<2 4<3"},
		"a command on a service of an earlier run":       {[]Effects{service("db", Effects{}), command("x", writes("service/old")), writes(db), writes("artifact/a")}, "2<1 3<2"},
		"a script that names a service before its step":  {[]Effects{script("curl db", writes("value/1")), service("api", Effects{}), service("db", Effects{})}, "3<1"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := shape(graphOf(c.steps...).Reduced()); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestCriticalChain(t *testing.T) {
	g := graphOf(writes("value/1"), writes("value/2"), reads("value/1"), reads("value/2"))
	costs := []time.Duration{1, 5, 3, 2}
	chain, total := g.Critical(func(i int) time.Duration { return costs[i] })
	if !slices.Equal(chain, []int{1, 3}) || total != 7 {
		t.Errorf("got %v, %d", chain, total)
	}
	if chain, total := graphOf().Critical(nil); chain != nil || total != 0 {
		t.Errorf("of an empty plan: %v, %d", chain, total)
	}
}

func TestShuffledKeepsToTheGraph(t *testing.T) {
	var effects []Effects
	for i := range 60 {
		effects = append(effects, Effects{Reads: []Key{Key(fmt.Sprintf("value/%d", i%7))}, Writes: []Key{Key(fmt.Sprintf("service/%d", i%5))}})
	}
	g := graphOf(effects...)
	orders := map[string]bool{}
	for seed := range uint64(20) {
		order := g.Shuffled(seed)
		orders[fmt.Sprint(order)] = true
		place := make([]int, len(order))
		for at, step := range order {
			place[step] = at
		}
		for i := range effects {
			for _, link := range g.After(i) {
				if place[link.Step] > place[i] {
					t.Fatalf("seed %d: step %d comes before %d", seed, i, link.Step)
				}
			}
		}
		if !slices.Equal(order, g.Shuffled(seed)) {
			t.Fatalf("seed %d gives two orders", seed)
		}
	}
	if len(orders) < 15 {
		t.Errorf("20 seeds give only %d orders", len(orders))
	}
}

func TestHosts(t *testing.T) {
	talk := newTalk()
	talk.note(service("db", Effects{}))
	for text, want := range map[string]bool{
		"db": true, "db:5432": true, "http://db/x": true, "postgres://u@db": true, "host=db port=1": true, "--peer=db": true,
		"-U db": false, "the db of": false, "db:x": false, "mydb:1": false,
	} {
		e := service("x", Effects{Texts: []string{text}})
		if got := len(talk.sure(e)) == 1; got != want {
			t.Errorf("%q: got %v", text, got)
		}
	}
	if e := (Effects{Texts: []string{"db"}, Acts: true}); len(talk.sure(e)) != 0 {
		t.Error("a word of a command is taken for a host")
	}
}

func BenchmarkGraph(b *testing.B) {
	var effects []Effects
	for i := range 2000 {
		name := fmt.Sprintf("s%d", i)
		effects = append(effects, service(name, reads(ValueKey(fmt.Sprintf("s%d", i/3)))))
	}
	for b.Loop() {
		graphOf(effects...).Reduced()
	}
}

// TestReducedImpliesAll compares with the definition: a link is left out exactly
// if its step comes before another one that is linked to.
func TestReducedImpliesAll(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 5 {
		const steps = 3*pageBits + 7
		g := &Graph{after: make([][]Link, steps)}
		before := make([]map[int]bool, steps)
		for i := range steps {
			before[i] = map[int]bool{}
			linked := map[int]bool{}
			for range min(i, random.IntN(5)) {
				linked[max(0, i-1-random.IntN(random.IntN(steps)+1))] = true
			}
			for _, step := range slices.Sorted(maps.Keys(linked)) {
				g.after[i] = append(g.after[i], Link{Step: step})
				before[i][step] = true
				maps.Copy(before[i], before[step])
			}
		}
		for i, links := range g.Reduced() {
			var want []Link
			for _, link := range g.after[i] {
				implied := slices.ContainsFunc(g.after[i], func(other Link) bool { return before[other.Step][link.Step] })
				if !implied {
					want = append(want, link)
				}
			}
			if shape([][]Link{links}) != shape([][]Link{want}) {
				t.Fatalf("step %d after %v: got %v, want %v", i, g.after[i], links, want)
			}
		}
	}
}
