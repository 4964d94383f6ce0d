package relay

import "math/bits"

const (
	// tick is the wheel's resolution, in nanoseconds. A packet's time is rounded
	// to it, so that its error is at most half of this.
	tick = 64 << 10 // 65.5 µs
	// slots make one turn take 1.07 s. What is due later stays for another turn.
	slots = 16 << 10
	// maxWaiting bounds the packets that wait: no more than there are blocks.
	maxWaiting = arenaBlocks
)

// wheel holds packets until they are due: a hashed timing wheel. Packets of one
// tick keep the order in which they came. Adding and removing take the same time
// however many wait.
type wheel struct {
	waiting []packet
	free    int32
	count   int
	head    [slots]int32
	tail    [slots]int32
	used    [slots / 64]uint64 // a bit for each slot that holds packets
	done    int64              // the tick up to which all has been delivered
}

// packet is one that waits.
type packet struct {
	due   int64 // tick
	next  int32
	first int32 // block in the arena
	size  int32
}

func newWheel(now int64) *wheel {
	w := &wheel{waiting: make([]packet, maxWaiting), done: now / tick}
	for i := range w.waiting {
		w.waiting[i].next = int32(i) + 1
	}
	w.waiting[maxWaiting-1].next = none
	for i := range slots {
		w.head[i], w.tail[i] = none, none
	}
	return w
}

// add holds a packet until at; false if too many wait.
func (w *wheel) add(at int64, first int32, size int) bool {
	i := w.free
	if i == none {
		return false
	}
	w.free = w.waiting[i].next
	due := max((at+tick/2)/tick, w.done+1)
	w.waiting[i] = packet{due: due, next: none, first: first, size: int32(size)}
	slot := due % slots
	if w.tail[slot] == none {
		w.head[slot] = i
		w.used[slot/64] |= 1 << (slot % 64)
	} else {
		w.waiting[w.tail[slot]].next = i
	}
	w.tail[slot] = i
	w.count++
	return true
}

// advance delivers what is due, in order.
func (w *wheel) advance(now int64, deliver func(packet)) {
	until := now / tick
	if w.count == 0 {
		w.done = max(w.done, until)
		return
	}
	for w.done < until {
		step := w.nextUsed(w.done + 1)
		if step == none || w.done+1+step > until {
			w.done = until
			return
		}
		w.done += 1 + step
		w.empty(w.done, deliver)
	}
}

// empty delivers what is due in a slot; the rest stays for another turn.
func (w *wheel) empty(now int64, deliver func(packet)) {
	slot := now % slots
	i := w.head[slot]
	w.head[slot], w.tail[slot] = none, none
	w.used[slot/64] &^= 1 << (slot % 64)
	for i != none {
		p := w.waiting[i]
		if p.due > now {
			w.keep(slot, i)
		} else {
			w.waiting[i].next = w.free
			w.free = i
			w.count--
			deliver(p)
		}
		i = p.next
	}
}

func (w *wheel) keep(slot int64, i int32) {
	w.waiting[i].next = none
	if w.tail[slot] == none {
		w.head[slot] = i
		w.used[slot/64] |= 1 << (slot % 64)
	} else {
		w.waiting[w.tail[slot]].next = i
	}
	w.tail[slot] = i
}

// nextUsed gives how many slots after the one of a tick the next used one is.
func (w *wheel) nextUsed(from int64) int64 {
	slot := from % slots
	word, bit := slot/64, slot%64
	if masked := w.used[word] >> bit; masked != 0 {
		return int64(bits.TrailingZeros64(masked))
	}
	for i := int64(1); i <= slots/64; i++ {
		if found := w.used[(word+i)%(slots/64)]; found != 0 {
			return i*64 - bit + int64(bits.TrailingZeros64(found))
		}
	}
	return none
}

// next gives when something may be due; false if nothing waits.
func (w *wheel) next() (at int64, ok bool) {
	if w.count == 0 {
		return 0, false
	}
	return (w.done + 1 + w.nextUsed(w.done+1)) * tick, true
}
