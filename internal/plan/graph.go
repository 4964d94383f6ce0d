package plan

import (
	"math/rand/v2"
	"slices"
	"time"
)

// A Graph says which steps of a plan have to be done before which. It is made of
// the steps' effects alone (docs/parallel.md has the rules); every order that
// keeps to it gives what the script's own order gives. Steps are named by their
// index in the plan, and only ever come after steps of a lower one.
type Graph struct {
	steps []Step
	after [][]Link
}

// A Link says that a step comes after another one, and why.
type Link struct {
	Step int
	Why  []string // resource keys, or the words gate, wait and print; sorted
}

// Len gives the number of steps.
func (g *Graph) Len() int { return len(g.after) }

// After gives what a step has to come after, in the script's order.
func (g *Graph) After(step int) []Link { return g.after[step] }

// Reduced gives, for each step, the links that no other links imply.
func (g *Graph) Reduced() [][]Link {
	out := make([][]Link, g.Len())
	before := make([]bits, g.Len()) // all that come before, directly or not
	for i, links := range g.after {
		for _, link := range slices.Backward(links) { // nearest first: it implies most
			if !before[i].has(link.Step) {
				out[i] = append(out[i], link)
				before[i].join(&before[link.Step]) // first, to share its pages
				before[i].set(link.Step)
			}
		}
		slices.Reverse(out[i])
	}
	return out
}

// Critical gives the chain of steps that takes longest, and how long it takes:
// no number of workers makes a run faster.
func (g *Graph) Critical(cost func(step int) time.Duration) (chain []int, total time.Duration) {
	ends := make([]time.Duration, g.Len())
	from := make([]int, g.Len())
	last := -1
	for i, links := range g.after {
		from[i] = -1
		for _, link := range links {
			if from[i] < 0 || ends[link.Step] > ends[from[i]] {
				from[i] = link.Step
			}
		}
		ends[i] = cost(i)
		if from[i] >= 0 {
			ends[i] += ends[from[i]]
		}
		if last < 0 || ends[i] > ends[last] {
			last = i
		}
	}
	for i := last; i >= 0; i = from[i] {
		chain = append(chain, i)
	}
	slices.Reverse(chain)
	if last >= 0 {
		total = ends[last]
	}
	return chain, total
}

// Shuffled gives a random order that keeps to the graph, the same for a seed.
func (g *Graph) Shuffled(seed uint64) []int {
	random := rand.New(rand.NewPCG(seed, 0))
	return g.order(func(ready []int) int { return random.IntN(len(ready)) })
}

// order gives an order that keeps to the graph; pick chooses among the steps
// that are ready.
func (g *Graph) order(pick func(ready []int) int) []int {
	waitsFor := make([]int, g.Len())
	next := make([][]int, g.Len())
	var ready, out []int
	for i, links := range g.after {
		waitsFor[i] = len(links)
		for _, link := range links {
			next[link.Step] = append(next[link.Step], i)
		}
		if len(links) == 0 {
			ready = append(ready, i)
		}
	}
	for len(ready) > 0 {
		n := pick(ready)
		step := ready[n]
		ready = slices.Delete(ready, n, n+1)
		out = append(out, step)
		for _, after := range next[step] {
			if waitsFor[after]--; waitsFor[after] == 0 {
				ready = append(ready, after)
			}
		}
	}
	return out
}

// bits is a set of small numbers, in pages. Pages are never changed once another
// set may have them: what comes before a step is mostly what comes before the
// step that it follows, so that the sets of a long plan share almost all.
type bits struct {
	pages []*bitPage
	own   []bool // the page is this set's alone
}

// bitPage holds 512 numbers.
type bitPage [8]uint64

const pageBits = 512

func (b *bits) has(n int) bool {
	page := n / pageBits
	return page < len(b.pages) && b.pages[page] != nil && b.pages[page][n%pageBits/64]&(1<<(n%64)) != 0
}

func (b *bits) set(n int) {
	page := b.change(n / pageBits)
	page[n%pageBits/64] |= 1 << (n % 64)
}

// join adds what is in another set, which is not changed from then on.
func (b *bits) join(other *bits) {
	for i, theirs := range other.pages {
		switch {
		case theirs == nil:
		case i >= len(b.pages) || b.pages[i] == nil:
			b.grow(i)
			b.pages[i], b.own[i] = theirs, false
		case b.pages[i] != theirs && !b.pages[i].contains(theirs):
			page := b.change(i)
			for word := range page {
				page[word] |= theirs[word]
			}
		}
	}
}

// change gives a page that may be written to.
func (b *bits) change(i int) *bitPage {
	b.grow(i)
	if !b.own[i] {
		page := bitPage{}
		if b.pages[i] != nil {
			page = *b.pages[i]
		}
		b.pages[i], b.own[i] = &page, true
	}
	return b.pages[i]
}

func (b *bits) grow(i int) {
	for len(b.pages) <= i {
		b.pages, b.own = append(b.pages, nil), append(b.own, false)
	}
}

func (p *bitPage) contains(other *bitPage) bool {
	for word := range p {
		if other[word]&^p[word] != 0 {
			return false
		}
	}
	return true
}
