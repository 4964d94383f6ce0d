package relay

import (
	"fmt"

	"golang.org/x/sys/unix"
)

const (
	// blockSize fits a small packet, and a third of a full Ethernet frame.
	blockSize = 512
	// arenaBlocks bound what waits in the relay: 32 MiB. At 50 ms that is 5 Gbit/s
	// of large packets, or 1.3 million small ones a second.
	arenaBlocks = 64 << 10
	none        = -1
)

// arena is the memory of packets that wait, in blocks that are chained. Pages are
// taken from the system when they are first used.
type arena struct {
	memory []byte
	next   []int32 // of each block, the next of its packet or of the free ones
	free   int32
	left   int
}

func newArena() (*arena, error) {
	memory, err := unix.Mmap(-1, 0, arenaBlocks*blockSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		return nil, fmt.Errorf("memory for packets: %w", err)
	}
	a := &arena{memory: memory, next: make([]int32, arenaBlocks), left: arenaBlocks}
	for i := range a.next {
		a.next[i] = int32(i) + 1
	}
	a.next[arenaBlocks-1] = none
	return a, nil
}

// put copies a packet in and gives its first block; false if there is no room.
func (a *arena) put(data []byte) (int32, bool) {
	blocks := (len(data) + blockSize - 1) / blockSize
	if blocks > a.left || blocks == 0 {
		return none, false
	}
	a.left -= blocks
	first := a.free
	last := first
	for i := range blocks {
		last = a.free
		copy(a.block(last), data[i*blockSize:])
		a.free = a.next[last]
	}
	a.next[last] = none
	return first, true
}

func (a *arena) block(i int32) []byte {
	at := int(i) * blockSize
	return a.memory[at : at+blockSize : at+blockSize]
}

// vector gives a packet's parts for a gathering write.
func (a *arena) vector(into [][]byte, first int32, size int) [][]byte {
	for i := first; i != none && size > 0; i = a.next[i] {
		part := a.block(i)[:min(size, blockSize)]
		into = append(into, part)
		size -= len(part)
	}
	return into
}

// release frees a packet's blocks.
func (a *arena) release(first int32) {
	for i := first; i != none; {
		next := a.next[i]
		a.next[i] = a.free
		a.free = i
		a.left++
		i = next
	}
}
