package plan

import (
	"cmp"
	"maps"
	"slices"
	"strings"
)

// This file makes the graph of a plan, in one walk over the steps.

// The reasons of links that are no resource keys.
const (
	whyGate  = "gate"
	whyWait  = "wait"
	whyPrint = "print"
)

// NewGraph makes the graph of the steps of a plan.
func NewGraph(steps []Step) *Graph {
	b := &graphBuilder{keys: map[Key]*keyState{}, world: -1, gate: -1, told: -1, talk: newTalk()}
	g := &Graph{steps: steps, after: make([][]Link, len(steps))}
	effects := make([]Effects, len(steps))
	for i, step := range steps {
		effects[i] = step.Effects()
	}
	b.talk.named = namedServices(effects)
	for i, e := range effects {
		g.after[i] = b.add(i, e)
		b.talk.note(e, partsOf(steps[i])...)
	}
	return g
}

// namedServices gives the services that steps of a plan do something to.
func namedServices(effects []Effects) map[Key]bool {
	named := map[Key]bool{}
	for _, e := range effects {
		for _, k := range slices.Concat(e.Writes, e.Touches) {
			if isService(k) {
				named[k] = true
			}
		}
	}
	return named
}

// partsOf gives the effects of the parts of a step.
func partsOf(step Step) []Effects {
	var effects []Effects
	if composite, ok := step.(Composite); ok {
		for _, part := range composite.Parts() {
			effects = append(effects, part.Effects)
		}
	}
	return effects
}

func not[T any](is func(T) bool) func(T) bool { return func(t T) bool { return !is(t) } }

// keyState is who used a resource last.
type keyState struct {
	writer  int   // -1: none
	readers []int // since then
	seen    int   // readers of the world that the writer comes after
}

// graphBuilder is the state of the walk.
type graphBuilder struct {
	keys         map[Key]*keyState
	world        int   // the last step that writes the world; -1: none
	worldReaders []int // since then
	gate         int
	told         int
	waits        []int // waits that no other wait comes after
	talk         *talk

	links map[int][]string // of the step that is being added
}

// live reports whether what a key names is there for all to see, and so part of
// the world. Values and files artifacts are used by those that name them.
func live(k Key) bool {
	return !strings.HasPrefix(string(k), "value/") && !strings.HasPrefix(string(k), "artifact/") && !strings.HasPrefix(string(k), "image/")
}

// use is what a step uses, as the graph sees it.
type use struct{ reads, writes []Key }

func (b *graphBuilder) use(e Effects) use {
	u := use{reads: slices.Clone(e.Reads), writes: slices.Concat(e.Writes, e.Touches)}
	services := b.talk.services(e)
	if e.Acts {
		u.writes = append(u.writes, services...)
	} else {
		u.reads = append(u.reads, services...)
	}
	far := b.talk.beyond(distinct(append(slices.DeleteFunc(slices.Concat(e.Writes, e.Touches), not(isService)), services...)), false)
	if e.Acts && !e.looks() {
		u.writes = append(u.writes, far...)
	} else {
		u.reads = append(u.reads, far...)
	}
	if b.talk.unsure(e) || e.Acts && b.talk.stranger(e) {
		u.reads = append(u.reads, World)
	}
	return u
}

// add gives the links of the next step, and notes what it does for those after it.
func (b *graphBuilder) add(step int, e Effects) []Link {
	b.links = map[int][]string{}
	u := b.use(e)
	for _, k := range u.reads {
		b.read(k)
	}
	for _, k := range u.writes {
		b.write(k, step)
	}
	if e.Order == Tell {
		b.link(step-1, whyPrint)
		b.link(b.told, whyPrint)
	}
	if len(b.links) > 0 {
		for _, wait := range b.waits {
			b.link(wait, whyWait)
		}
	}
	b.link(b.world, string(World))
	b.link(b.gate, whyGate)
	b.note(step, e, u)
	return b.sorted()
}

func (b *graphBuilder) link(to int, why string) {
	if to >= 0 && !slices.Contains(b.links[to], why) {
		b.links[to] = append(b.links[to], why)
	}
}

func (b *graphBuilder) sorted() []Link {
	links := make([]Link, 0, len(b.links))
	for to, why := range b.links {
		slices.Sort(why)
		links = append(links, Link{to, why})
	}
	slices.SortFunc(links, func(x, y Link) int { return cmp.Compare(x.Step, y.Step) })
	return links
}

func (b *graphBuilder) key(k Key) *keyState {
	if b.keys[k] == nil {
		b.keys[k] = &keyState{writer: -1}
	}
	return b.keys[k]
}

// read links to who wrote a key last.
func (b *graphBuilder) read(k Key) {
	if k != World {
		b.link(b.key(k).writer, string(k))
		return
	}
	for key, state := range b.keys {
		if live(key) {
			b.link(state.writer, string(key))
		}
	}
}

// write links to who wrote a key last and to all who read it since.
func (b *graphBuilder) write(k Key, step int) {
	if k == World {
		for i := max(b.world, 0); i < step; i++ {
			b.link(i, string(World))
		}
		return
	}
	state := b.key(k)
	b.link(state.writer, string(k))
	for _, reader := range state.readers {
		b.link(reader, string(k))
	}
	if live(k) {
		for _, reader := range b.worldReaders[min(state.seen, len(b.worldReaders)):] {
			b.link(reader, string(World))
		}
	}
}

// note makes the step what later ones come after.
func (b *graphBuilder) note(step int, e Effects, u use) {
	for _, k := range u.reads {
		if k == World {
			b.worldReaders = append(b.worldReaders, step)
		} else if state := b.key(k); !slices.Contains(u.writes, k) {
			state.readers = append(state.readers, step)
		}
	}
	for _, k := range u.writes {
		if k == World {
			b.world, b.worldReaders = step, nil
			continue
		}
		state := b.key(k)
		state.writer, state.readers, state.seen = step, nil, len(b.worldReaders)
	}
	switch e.Order {
	case Gate:
		b.gate = step
	case Tell:
		b.told = step
	case Hold:
		covered := b.links
		b.waits = slices.DeleteFunc(b.waits, func(w int) bool { return slices.Contains(slices.Collect(maps.Keys(covered)), w) })
		b.waits = append(b.waits, step)
	}
}
