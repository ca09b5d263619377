package ebpf

import (
	"fmt"
	"math/bits"
	"os"
	"slices"
	"sync/atomic"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/opennlb/opennlb/nlbhash"
)

// layout is the version of what programs, pages and pins look like. Raise it with
// any change to bpf/maps.h that an older or newer engine would misread when it
// takes over.
const layout = 7

// control is the map of the words that the programs read while the agent writes
// them, seen as memory: a store is atomic and needs no system call.
type control struct {
	memory []byte
}

func mapControl(m *ebpf.Map) (*control, error) {
	memory, err := unix.Mmap(m.FD(), 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map control words into memory: %w", err)
	}
	return &control{memory}, nil
}

func (c *control) words() *nlbControl {
	return (*nlbControl)(unsafe.Pointer(&c.memory[0]))
}

// setLease lets the programs answer until deadline, CLOCK_MONOTONIC ns.
func (c *control) setLease(deadline uint64) { atomic.StoreUint64(&c.words().Lease, deadline) }

// fence is the highest epoch that left this member out. Only programs write it.
func (c *control) fence() uint64 { return atomic.LoadUint64(&c.words().Fence) }

// slots says which policies count. The programs change it too, see bpf/beacon.h.
func (c *control) slots() slotWord { return slotWord(atomic.LoadUint64(&c.words().Slots)) }

// setSlots points the programs to other policies, all at one instant.
func (c *control) setSlots(active, prepared uint32) {
	for {
		word := c.slots()
		next := uint64(active) | uint64(prepared)<<8 | (uint64(word)>>16+1)<<16
		if atomic.CompareAndSwapUint64(&c.words().Slots, uint64(word), next) {
			return
		}
	}
}

// slotWord is control.slots of bpf/maps.h.
type slotWord uint64

func (w slotWord) active() uint32   { return uint32(w & 0xff) }
func (w slotWord) prepared() uint32 { return uint32(w >> 8 & 0xff) }

// setBeaconKeys makes one or two keys those that count. A key that counts before and after
// stays where it is, so that no beacon is refused in between; one that is new is written
// to a place that does not count yet.
func (c *control) setBeaconKeys(keys []nlbhash.Key) {
	w := c.words()
	counting := atomic.LoadUint32(&w.BeaconKeys)
	var next uint32
	var fresh []nlbhash.Key
	for _, k := range keys {
		if i := slices.Index(w.BeaconKey[:], keyWords(k)); i >= 0 && counting>>i&1 == 1 {
			next |= 1 << i
		} else {
			fresh = append(fresh, k)
		}
	}
	atomic.StoreUint32(&w.BeaconKeys, next)
	for _, k := range fresh {
		i := bits.TrailingZeros32(^next)
		w.BeaconKey[i] = keyWords(k)
		next |= 1 << i
	}
	atomic.StoreUint32(&w.BeaconKeys, next)
}

func (c *control) close() error {
	if c.memory == nil {
		return nil
	}
	memory := c.memory
	c.memory = nil
	return unix.Munmap(memory)
}
