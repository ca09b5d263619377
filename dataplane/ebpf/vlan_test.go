package ebpf

import (
	"bytes"
	"slices"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"

	"github.com/opennlb/opennlb/portrules"
	"github.com/opennlb/opennlb/portrules/frames"
)

// A frame that is tagged for a VLAN belongs to another segment, whose own interface may
// have an engine: it passes, uncounted. One that is tagged only for its priority
// (IEEE 802.1Q, VLAN 0) is decided like an untagged one.
func TestVLANTags(t *testing.T) {
	enterNamespace(t)
	w := newWire(t)
	for _, kind := range []string{"tc", "xdp"} {
		e := openEngine(t, kind, options{})
		serve(t, e, frames.Policy(own))
		plain := frames.UDPFrame(testClient, vipPort(probePort))
		for _, tt := range []struct {
			name    string
			tag     []byte
			decided bool
		}{
			{"no tag", nil, true},
			{"vlan 7", []byte{0x81, 0, 0, 7}, false},
			{"vlan 4094, priority 5", []byte{0x81, 0, 0xaf, 0xfe}, false},
			{"priority 5", []byte{0x81, 0, 0xa0, 0}, true},
		} {
			want := make(tally)
			if tt.decided {
				want.add(frames.Policy(own), portrules.Decision{Reason: portrules.Owner, Rule: frames.DNS})
			}
			before := counters(t, e)
			w.put(slices.Insert(bytes.Clone(plain), 12, tt.tag...))
			if err := want.compare(before, counters(t, e)); err != nil {
				t.Errorf("%s, %s: %v", kind, tt.name, err)
			}
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// The kernel takes off as many tags of VLAN 0 as there are, but only the first before the
// programs: what has two must not get past them.
func TestPriorityTagTwice(t *testing.T) {
	enterNamespace(t)
	w := newWire(t)
	for _, kind := range []string{"tc", "xdp"} {
		e := openEngine(t, kind, options{})
		install(t, e, frames.Policy(own)) // and no lease
		for _, tags := range [][]byte{
			{0x81, 0, 0, 0, 0x81, 0, 0, 0},
			{0x88, 0xa8, 0xa0, 0, 0x81, 0, 0xa0, 0},
			{0x81, 0, 0, 0, 0x88, 0xa8, 0, 0},
			{0x81, 0, 0, 0, 0x81, 0, 0, 0, 0x81, 0, 0, 0},
		} {
			if w.hears(w.send(frames.VIP4, w.mac, tags...)) {
				t.Errorf("%s: the kernel gets a frame with tags % x", kind, tags)
			}
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// Where the card has taken the tag off, tc still passes a frame of another segment, and XDP drops it as
// another member's. That is why checkVLANs keeps XDP from interfaces with VLANs on them; should
// this test fail, it may not be needed any more.
func TestVLANTagTakenOff(t *testing.T) {
	enterNamespace(t)
	w := newWire(t)
	push, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SchedCLS, License: "Dual BSD/GPL", Instructions: asm.Instructions{
		asm.Mov.Imm(asm.R2, 0x0081), asm.Mov.Imm(asm.R3, 7), asm.FnSkbVlanPush.Call(), // beside the frame, as a card does
		asm.Mov.Imm(asm.R0, 0), asm.Return(),
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer push.Close()
	l, err := link.AttachTCX(link.TCXOptions{Program: push, Interface: w.ifindex, Attach: ebpf.AttachTCXEgress})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, kind := range []string{"tc", "xdp"} {
		e := openEngine(t, kind, options{})
		serve(t, e, frames.Policy(nil))
		want := make(tally)
		if kind == "xdp" {
			want.add(frames.Policy(nil), portrules.Decision{Reason: portrules.NotOwner, Rule: frames.DNS})
		}
		before := counters(t, e)
		w.put(frames.UDPFrame(testClient, vipPort(probePort)))
		if err := want.compare(before, counters(t, e)); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestVLANOn(t *testing.T) {
	vlan := func(name string, parent int) netlink.Link {
		return &netlink.Vlan{LinkAttrs: netlink.LinkAttrs{Name: name, ParentIndex: parent}}
	}
	macvlan := &netlink.Macvlan{LinkAttrs: netlink.LinkAttrs{Name: "mv", ParentIndex: 4}}
	if got := vlanOn([]netlink.Link{macvlan, vlan("eth1.7", 3), vlan("eth0.7", 4)}, 4); got != "eth0.7" {
		t.Errorf("got %q, want eth0.7", got)
	}
	if got := vlanOn([]netlink.Link{macvlan, vlan("eth1.7", 3)}, 4); got != "" {
		t.Errorf("got %q, want none", got)
	}
}
