package relay

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// TestWheelKeepsTime compares the wheel with a sorted list.
func TestWheelKeepsTime(t *testing.T) {
	for seed := range uint64(30) {
		r := rand.New(rand.NewPCG(seed, 2))
		now := r.Int64N(1 << 40)
		w := newWheel(now)
		type waiting struct {
			due int64
			id  int32
		}
		var model []waiting
		id := int32(0)
		for range 400 {
			switch r.IntN(3) {
			case 0, 1:
				at := now + r.Int64N([]int64{tick, 100 * tick, 3 * slots * tick}[r.IntN(3)])
				if !w.add(at, id, 1) {
					t.Fatal("it is full")
				}
				model = append(model, waiting{max((at+tick/2)/tick, w.done+1), id})
				id++
			case 2:
				now += r.Int64N([]int64{tick / 2, 50 * tick, slots * tick}[r.IntN(3)])
				var got, want []int32
				w.advance(now, func(p packet) { got = append(got, p.first) })
				slices.SortStableFunc(model, func(a, b waiting) int { return int(a.due - b.due) })
				for len(model) > 0 && model[0].due <= now/tick {
					want = append(want, model[0].id)
					model = model[1:]
				}
				if !slices.Equal(got, want) {
					t.Fatalf("seed %d: delivered %v, want %v", seed, got, want)
				}
			}
			if at, ok := w.next(); ok != (len(model) > 0) || ok && at > slices.MinFunc(model, func(a, b waiting) int { return int(a.due - b.due) }).due*tick {
				t.Fatalf("next is %d, %v", at, ok)
			}
		}
	}
}

func TestWheelIsBounded(t *testing.T) {
	w := newWheel(0)
	for i := range maxWaiting {
		if !w.add(int64(i), 0, 1) {
			t.Fatalf("full at %d", i)
		}
	}
	if w.add(0, 0, 1) {
		t.Error("it holds more than it may")
	}
	n := 0
	w.advance(1<<40, func(packet) { n++ })
	if n != maxWaiting || w.count != 0 || !w.add(1<<41, 0, 1) {
		t.Errorf("delivered %d", n)
	}
}

func TestArenaGivesBackWhatItGot(t *testing.T) {
	a, err := newArena()
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 1))
	type held struct {
		first int32
		data  []byte
	}
	var all []held
	noise := make([]byte, 1<<17) // of which packets are parts
	for i := range noise {
		noise[i] = byte(r.Uint32())
	}
	for range 3000 {
		if r.IntN(3) == 0 && len(all) > 0 {
			i := r.IntN(len(all))
			var got []byte
			for _, part := range a.vector(nil, all[i].first, len(all[i].data)) {
				got = append(got, part...)
			}
			if !slices.Equal(got, all[i].data) {
				t.Fatal("a packet has changed")
			}
			a.release(all[i].first)
			all = slices.Delete(all, i, i+1)
			continue
		}
		from := r.IntN(1 << 16)
		data := noise[from : from+1+r.IntN(65000)]
		first, ok := a.put(data)
		if !ok {
			if a.left*blockSize >= len(data)+blockSize {
				t.Fatalf("refused %d bytes with %d blocks left", len(data), a.left)
			}
			continue
		}
		all = append(all, held{first, data})
	}
	for _, h := range all {
		a.release(h.first)
	}
	if a.left != arenaBlocks {
		t.Errorf("%d blocks are lost", arenaBlocks-a.left)
	}
}

func BenchmarkWheel(b *testing.B) {
	w := newWheel(0)
	now := int64(0)
	for b.Loop() {
		w.add(now+50_000_000, 0, 1)
		now += 10_000
		w.advance(now, func(packet) {})
	}
}
