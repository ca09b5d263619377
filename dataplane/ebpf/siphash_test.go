package ebpf

//go:generate go tool bpf2go -target bpfel,bpfeb siphash bpf/siphash_vectors.c -- -O2 -mcpu=v3 -Wall -Werror -I/usr/include/x86_64-linux-gnu -I/usr/include/aarch64-linux-gnu

import (
	"encoding/binary"
	"fmt"
	"os"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/dchest/siphash"

	"github.com/opennlb/opennlb/nlbhash"
)

// The C of the hash, run by the kernel, agrees with the Go, and at 2-4 rounds with
// another implementation, for all lengths that fit the programs' words.
func TestSipHash(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: run with sudo")
	}
	spec, err := loadSiphash()
	if err != nil {
		t.Fatal(err)
	}
	collection, err := ebpf.NewCollection(spec)
	if err != nil {
		t.Fatal(err)
	}
	defer collection.Close()

	// The reference vectors: key 00 01 02…, message 00 01 02….
	var key nlbhash.Key
	msg := make([]byte, 23)
	for i := range msg {
		msg[i] = byte(i)
	}
	copy(key[:], msg)
	for n := range len(msg) + 1 {
		for _, rounds := range [][2]int{{1, 3}, {2, 4}} {
			got := hashInKernel(t, collection, rounds, key, msg[:n])
			if want := nlbhash.SipHash(rounds[0], rounds[1], key, msg[:n]); got != want {
				t.Errorf("SipHash-%d-%d of %d bytes: C %x, Go %x", rounds[0], rounds[1], n, got, want)
			}
		}
		k0, k1 := binary.LittleEndian.Uint64(key[:8]), binary.LittleEndian.Uint64(key[8:])
		if got, want := hashInKernel(t, collection, [2]int{2, 4}, key, msg[:n]), siphash.Hash(k0, k1, msg[:n]); got != want {
			t.Errorf("SipHash-2-4 of %d bytes: C %x, dchest/siphash %x", n, got, want)
		}
	}
	// The last line of appendix A of the paper.
	if got := hashInKernel(t, collection, [2]int{2, 4}, key, msg[:15]); got != 0xa129ca6149be45e5 {
		t.Errorf("SipHash-2-4 of the paper's example: %x", got)
	}
}

func hashInKernel(t *testing.T, c *ebpf.Collection, rounds [2]int, key nlbhash.Key, msg []byte) uint64 {
	t.Helper()
	blocks := make([]byte, (len(msg)/8+1)*8)
	copy(blocks, msg)
	blocks[len(blocks)-1] = byte(len(msg))
	data := append(key[:], blocks...)
	opts := ebpf.RunOptions{Data: data, DataOut: make([]byte, len(data)+256)}
	name := fmt.Sprintf("sip%d%d_%d", rounds[0], rounds[1], len(blocks)/8)
	if code, err := c.Programs[name].Run(&opts); err != nil || code != xdpPass {
		t.Fatalf("%s: %d, %v", name, code, err)
	}
	return binary.LittleEndian.Uint64(opts.DataOut)
}
