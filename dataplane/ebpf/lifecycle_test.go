package ebpf

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"

	"github.com/opennlb/opennlb/dataplane"
	"github.com/opennlb/opennlb/dataplane/enginetest"
	"github.com/opennlb/opennlb/portrules"
	"github.com/opennlb/opennlb/portrules/frames"
)

var kinds = []struct {
	name, kind string
	opts       options
}{
	{"xdp", "xdp", options{}},
	{"tc", "tc", options{}},
	{"clsact", "tc", options{clsact: true}},
	{"xdp and clsact", "auto", options{clsact: true}},
}

// An agent that is killed leaves its programs behind. When the lease is over they
// answer nothing, and a successor takes over without an instant in which VIP
// traffic passes.
func TestKilled(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			enterNamespace(t)
			w := newWire(t)
			end := w.background()
			if w.answers() {
				t.Error("the kernel takes frames to the cluster MAC without us")
			}
			if sent, arrived := end(); arrived == 0 {
				t.Fatalf("without an engine none of %d frames arrives: the test would see no leak", sent)
			}

			kill := startChild(t, k.kind, k.opts)
			kill()
			untilSilent(t, w)
			counted, _, err := ReadPinnedCounters(testCluster, t.Name())
			if err != nil {
				t.Fatal(err)
			}
			checkCounted(t, counted)

			end = w.background()
			e := openEngine(t, k.kind, k.opts)
			if w.answers() {
				t.Error("the successor answers before its first Install")
			}
			e.Renew(dataplane.Now().Add(longLease))
			if w.answers() {
				t.Error("the successor answers before its first Install, with a lease")
			}
			e.Renew(0)
			if sent, arrived := end(); arrived != 0 || sent == 0 {
				t.Errorf("%d of %d frames to the VIP reached the kernel while the successor took over", arrived, sent)
			}

			serve(t, e, frames.Policy(own))
			if !w.answers() {
				t.Error("the successor does not answer")
			}
			if err := e.Close(); err != nil {
				t.Error(err)
			}
			checkNothingLeft(t)
		})
	}
}

// A member moves between links and filters when its kernel does.
func TestTakeoverOfOtherKind(t *testing.T) {
	for _, from := range kinds {
		for _, to := range kinds {
			t.Run(from.name+" to "+to.name, func(t *testing.T) {
				enterNamespace(t)
				startChild(t, from.kind, from.opts)()
				e := openEngine(t, to.kind, to.opts)
				if err := e.Close(); err != nil {
					t.Error(err)
				}
				checkNothingLeft(t)
			})
		}
	}
}

// The pins of an agent whose interface is gone do not keep a successor from the
// interface of the same name.
func TestTakeoverOfGoneInterface(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			enterNamespace(t)
			startChild(t, k.kind, k.opts)()
			l, err := netlink.LinkByName(testInterface)
			if err == nil {
				err = netlink.LinkDel(l)
			}
			if err != nil {
				t.Fatal(err)
			}
			enginetest.AddVeth(t, testInterface, testPeer)
			w := newWire(t)
			e := openEngine(t, k.kind, k.opts)
			if w.answers() {
				t.Error("answers before the first Install")
			}
			serve(t, e, frames.Policy(own))
			if !w.answers() {
				t.Error("does not answer")
			}
		})
	}
}

// Pins that belong to an interface of the same name and number in another network
// namespace are not mistaken for this one's.
func TestTakeoverInOtherNamespace(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			enterNamespace(t)
			startChild(t, k.kind, k.opts)()
			enterNamespace(t)
			w := newWire(t)
			serve(t, openEngine(t, k.kind, k.opts), frames.Policy(own))
			if !w.answers() {
				t.Error("does not answer")
			}
		})
	}
}

// A successor that cannot start leaves the VIP filtered, and the way free for the
// next one.
func TestFailedTakeover(t *testing.T) {
	enterNamespace(t)
	w := newWire(t)
	startChild(t, "tc", options{})()
	untilSilent(t, w)
	dev, err := findDevice(testInterface)
	if err != nil {
		t.Fatal(err)
	}
	other, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.XDP, Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, xdpPass), asm.Return()}})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	l, err := link.AttachXDP(link.XDPOptions{Program: other, Interface: dev.index})
	if err != nil {
		t.Fatal(err)
	}
	end := w.background()
	for range 2 {
		if _, err := Open(testSetup(t, "xdp"), slog.Default()); err == nil || !strings.Contains(err.Error(), "another XDP program") {
			t.Errorf("open besides another XDP program: %v", err)
		}
	}
	if w.answers() {
		t.Error("answers")
	}
	if sent, arrived := end(); arrived != 0 || sent == 0 {
		t.Errorf("%d of %d frames to the VIP reached the kernel", arrived, sent)
	}
	l.Close()
	serve(t, openEngine(t, "xdp", options{}), frames.Policy(own))
	if !w.answers() {
		t.Error("does not answer")
	}
}

func TestRemove(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			enterNamespace(t)
			kill := startChild(t, k.kind, k.opts)
			if err := Remove(testCluster, t.Name()); err == nil || !strings.Contains(err.Error(), "in use") {
				t.Errorf("remove the pins of a live agent: %v", err)
			}
			if _, err := Open(testSetup(t, k.kind), slog.Default()); err == nil || !strings.Contains(err.Error(), "in use") {
				t.Errorf("open an engine besides a live one: %v", err)
			}
			kill()
			for range 2 {
				if err := Remove(testCluster, t.Name()); err != nil {
					t.Fatal(err)
				}
			}
			checkNothingLeft(t)
			if _, _, err := ReadPinnedCounters(testCluster, t.Name()); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("read counters that are not there: %v", err)
			}
		})
	}
}

// A lease ends on time, and one that has passed grants nothing.
func TestLease(t *testing.T) {
	enterNamespace(t)
	e := openEngine(t, "tc", options{})
	frame := frames.TCPFrame(testClient, vipPort(80), frames.SYN)
	accepted := func() bool {
		code, _, err := e.run(tcIn.name, frame)
		if err != nil {
			t.Fatal(err)
		}
		return code == tcNext
	}
	renew := func(until dataplane.Instant) {
		if err := e.Renew(until); err != nil {
			t.Fatal(err)
		}
	}

	if !accepted() {
		t.Error("a frame is not passed before there is a policy")
	}
	renew(dataplane.Now().Add(longLease))
	install(t, e, frames.Policy(own))
	if accepted() {
		t.Error("a lease from before the first policy counts")
	}
	for _, over := range []dataplane.Instant{dataplane.Now().Add(-time.Nanosecond), 1, 0, -1} {
		renew(over)
		if accepted() {
			t.Errorf("answers with a lease until %d", over)
		}
	}
	until := dataplane.Now().Add(50 * time.Millisecond)
	renew(until)
	if !accepted() {
		t.Error("does not answer with a lease")
	}
	for accepted() {
		if before := dataplane.Now(); before >= until && accepted() {
			t.Fatalf("answers %v after the end of the lease", time.Duration(before-until))
		}
	}
	if early := time.Duration(until - dataplane.Now()); early > time.Millisecond {
		t.Errorf("silent %v before the end of the lease", early)
	}
}

// Engines of two namespaces have nothing in common but the file system.
func TestTwoNamespaces(t *testing.T) {
	enterNamespace(t)
	w := newWire(t)
	e := openEngine(t, "auto", options{})
	serve(t, e, frames.Policy(own))
	t.Run("other", func(t *testing.T) {
		enterNamespace(t)
		w := newWire(t)
		e := openEngine(t, "auto", options{})
		install(t, e, frames.Policy(own))
		if w.answers() {
			t.Error("answers on the lease of another")
		}
	})
	if !w.answers() {
		t.Error("does not answer any more")
	}
}

func TestOpenErrors(t *testing.T) {
	enterNamespace(t)
	err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "nlbtbr"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		change func(*dataplane.Setup)
		want   string
	}{
		{func(s *dataplane.Setup) { s.Interface = "nlbtnone" }, "does not exist in this network namespace"},
		{func(s *dataplane.Setup) { s.Interface = "lo" }, "not Ethernet"},
		{func(s *dataplane.Setup) { s.Interface = "nlbtbr" }, "write `dataplane: auto`"}, // bridges have no native XDP
		{func(s *dataplane.Setup) { s.Kind = "afpacket" }, "write auto, xdp or tc"},
		{func(s *dataplane.Setup) { s.SourceMAC = nil }, "source MAC"},
		{func(s *dataplane.Setup) { s.ClusterMAC = nil }, "cluster MAC"},
		{func(s *dataplane.Setup) { s.Member = "" }, "need a name"},
		{func(s *dataplane.Setup) { s.Priority = 33 }, "above 32"},
	} {
		setup := testSetup(t, "xdp")
		tt.change(&setup)
		if e, err := Open(setup, slog.Default()); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: %v, want error with %q", setup, err, tt.want)
			if e != nil {
				e.Close()
			}
		}
		checkNothingLeft(t)
	}

	setup := testSetup(t, "auto")
	setup.Interface = "nlbtbr"
	e, err := Open(setup, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	if e.Kind() != "tc" {
		t.Errorf("kind %s on a bridge", e.Kind())
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
}

func TestClosed(t *testing.T) {
	enterNamespace(t)
	e := openEngine(t, "auto", options{})
	for range 2 {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, ok := <-e.Beacons(); ok || e.Fence() != 0 {
		t.Errorf("beacons are open: %t, fence %d", ok, e.Fence())
	}
	_, err := e.Counters()
	for _, err := range []error{err, e.Renew(1), e.Install(frames.Policy(nil), nil)} {
		if !errors.Is(err, errClosed) {
			t.Errorf("closed engine: %v", err)
		}
	}
}

func untilSilent(t *testing.T, w *wire) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); w.answers(); {
		if time.Now().After(end) {
			t.Fatal("a dead agent's programs still answer")
		}
	}
}

// checkCounted expects what untilSilent leads to.
func checkCounted(t *testing.T, counted []dataplane.Counter) {
	t.Helper()
	var over uint64
	for _, c := range counted {
		if c.Reason == portrules.LeaseOver && c.Rule == portrules.NumRuleIDs {
			over += c.Packets
		}
		if c.Rule != portrules.NumRuleIDs && c.Rule != frames.Policy(nil).RuleID(frames.DNS) {
			t.Errorf("counted %+v of a rule that was not used", c)
		}
	}
	if over == 0 {
		t.Errorf("pinned counters %v count no %v", counted, portrules.LeaseOver)
	}
}

// checkNothingLeft looks for programs, qdiscs and pins.
func checkNothingLeft(t *testing.T) {
	t.Helper()
	dev, err := findDevice(testInterface)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range []hook{tcIn, tcOut} {
		there, err := link.QueryPrograms(link.QueryOptions{Target: dev.index, Attach: h.at})
		if err != nil || len(there.Programs) != 0 {
			t.Errorf("%s: %v, %v", h.name, there, err)
		}
	}
	if id, err := dev.xdpProgram(); id != 0 || err != nil {
		t.Errorf("XDP program %d, %v", id, err)
	}
	l, err := netlink.LinkByIndex(dev.index)
	if err != nil {
		t.Fatal(err)
	}
	qdiscs, err := netlink.QdiscList(l)
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range qdiscs {
		if q.Type() == "clsact" {
			t.Errorf("qdisc %v", q)
		}
	}
	if _, err := os.Stat(string(pinsOf(testCluster, t.Name()))); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("pins: %v", err)
	}
}
