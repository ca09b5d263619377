package ebpf

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/opennlb/opennlb/dataplane"
	"github.com/opennlb/opennlb/portrules"
	"github.com/opennlb/opennlb/portrules/frames"
)

// Return values of the programs (linux/pkt_cls.h, linux/bpf.h).
const (
	tcNext  = ^uint32(0) // TC_ACT_UNSPEC: nobody objects
	tcShot  = uint32(2)
	xdpDrop = 1
	xdpPass = 2
)

// testable reports whether BPF_PROG_TEST_RUN takes a frame for a tc program: one
// without a network header it refuses.
func testable(frame []byte) bool {
	if len(frame) < 15 {
		return false
	}
	header := 1
	switch binary.BigEndian.Uint16(frame[12:]) {
	case portrules.EtherTypeIPv4:
		header = 20
	case portrules.EtherTypeIPv6:
		header = 40
	}
	return len(frame) >= 14+header
}

// tally counts what engines should have counted.
type tally map[dataplane.Counter]uint64 // Packets is zero in the keys

func (t tally) add(p *portrules.Policy, d portrules.Decision) {
	t[dataplane.Counter{Rule: p.RuleID(d.Rule), Reason: d.Reason}]++
}

// uncovered counts packets that no rule covers.
func uncovered(reason portrules.Reason) dataplane.Counter {
	return dataplane.Counter{Rule: portrules.NumRuleIDs, Reason: reason}
}

// compare checks that the engine counted exactly this since before.
func (t tally) compare(before, after []dataplane.Counter) error {
	got := make(tally)
	for _, c := range after {
		got[dataplane.Counter{Rule: c.Rule, Reason: c.Reason}] += c.Packets
	}
	for _, c := range before {
		key := dataplane.Counter{Rule: c.Rule, Reason: c.Reason}
		if got[key] -= c.Packets; got[key] == 0 {
			delete(got, key)
		}
	}
	if !maps.Equal(got, t) {
		return fmt.Errorf("counted %v, want %v", got, t)
	}
	return nil
}

func counters(t testing.TB, e *Engine) []dataplane.Counter {
	t.Helper()
	c, err := e.Counters()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// runTC gives a frame to the tc ingress program and checks what comes back.
func (e *Engine) runTC(frame []byte, want portrules.Verdict) error {
	code, out, err := e.run(tcIn.name, frame)
	if err != nil {
		return err
	}
	wantCode, wantOut := tcNext, frame
	switch want {
	case portrules.Drop:
		wantCode = tcShot
	case portrules.Accept:
		if bytes.Equal(frame[:6], []byte{255, 255, 255, 255, 255, 255}) {
			break
		}
		wantOut = append(bytes.Clone(e.device.mac), frame[6:]...)
	}
	if code != wantCode || !bytes.Equal(out, wantOut) {
		return fmt.Errorf("tc returned %d and frame\n%x, want %d and\n%x", int32(code), out, int32(wantCode), wantOut)
	}
	return nil
}

// runXDP gives a frame to the XDP program, which drops where it may and otherwise
// leaves all to tc.
func (e *Engine) runXDP(frame []byte, d portrules.Decision) error {
	code, out, err := e.run(xdp.name, frame)
	if err != nil {
		return err
	}
	want := uint32(xdpPass)
	if xdpDrops(d) {
		want = xdpDrop
	}
	if code != want || !bytes.Equal(out, frame) {
		return fmt.Errorf("XDP returned %d and frame\n%x, want %d and\n%x", code, out, want, frame)
	}
	return nil
}

func xdpDrops(d portrules.Decision) bool {
	return d.Verdict == portrules.Drop && d.Reason != portrules.Neighbor && d.Reason != portrules.Rejected
}

func (e *Engine) run(program string, frame []byte) (uint32, []byte, error) {
	opts := ebpf.RunOptions{Data: frame, DataOut: make([]byte, len(frame)+256)}
	code, err := e.objects.collection.Programs[program].Run(&opts)
	return code, opts.DataOut, err
}

// setListener makes the engine know this of beacons.
func setListener(t testing.TB, e *Engine, l *portrules.Listener) {
	t.Helper()
	var heard nlbHeard
	for i, s := range l.Last {
		heard.Last[i].Instance, heard.Last[i].Seq = s.Instance, s.Seq
	}
	if err := e.objects.heard.Put(uint32(0), &heard); err != nil {
		t.Fatal(err)
	}
	e.control.words().Fence = l.Fence
	if err := e.SetBeaconKeys(l.Keys()); err != nil {
		t.Fatal(err)
	}
}

// listenerOf reads what the engine knows of beacons.
func listenerOf(t testing.TB, e *Engine) portrules.Listener {
	t.Helper()
	var heard nlbHeard
	if err := e.objects.heard.Lookup(uint32(0), &heard); err != nil {
		t.Fatal(err)
	}
	l := portrules.Listener{Self: frames.Self, Key: frames.BeaconKey, Fence: e.Fence()}
	for i, last := range heard.Last {
		l.Last[i] = portrules.Sequence{Instance: last.Instance, Seq: last.Seq}
	}
	return l
}

func kernelFragment(k portrules.FragmentKey) nlbFragment {
	return nlbFragment{Src: vipAddr(k.Src), Dst: vipAddr(k.Dst), Id: k.ID, Protocol: uint32(k.Protocol)}
}

// setFragments makes these the only entries of the fragment table, with whether the
// first fragment was accepted.
func setFragments(t testing.TB, e *Engine, entries map[portrules.FragmentKey]bool) {
	t.Helper()
	var all []nlbFragment
	var key nlbFragment
	var value uint8
	for it := e.objects.fragments.Iterate(); it.Next(&key, &value); {
		all = append(all, key)
	}
	for _, key := range all {
		if err := e.objects.fragments.Delete(key); err != nil {
			t.Fatal(err)
		}
	}
	for k, accepted := range entries {
		value := uint8(0)
		if accepted {
			value = 1
		}
		if err := e.objects.fragments.Put(kernelFragment(k), value); err != nil {
			t.Fatal(err)
		}
	}
}

// hasFragment reports whether the fragment table says this of a datagram.
func hasFragment(e *Engine, k portrules.FragmentKey, accepted bool) bool {
	var value uint8
	return e.objects.fragments.Lookup(kernelFragment(k), &value) == nil && (value == 1) == accepted
}

// setClients makes these the only clients that are remembered.
func setClients(t testing.TB, e *Engine, clients ...dataplane.Client) {
	t.Helper()
	if err := e.ForgetClients(); err != nil {
		t.Fatal(err)
	}
	now := dataplane.Now()
	for _, c := range clients {
		value := knownOf(c.Client, now)
		if err := e.objects.clients.Put(clientKey(c.Key), &value); err != nil {
			t.Fatal(err)
		}
	}
}

// clientsOf returns who is remembered.
func clientsOf(t testing.TB, e *Engine) map[portrules.ClientKey]portrules.Client {
	t.Helper()
	list, err := e.Clients()
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[portrules.ClientKey]portrules.Client)
	for _, c := range list {
		all[c.Key] = c.Client
	}
	return all
}
