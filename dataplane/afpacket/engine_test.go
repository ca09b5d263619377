package afpacket

import (
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/opennlb/opennlb/dataplane"
	"github.com/opennlb/opennlb/dataplane/enginetest"
	"github.com/opennlb/opennlb/portrules/frames"
)

// The kernel gets frames to a VIP while there is a lease, those to its own address
// always, and after Close everything.
func TestServe(t *testing.T) {
	enterNamespace(t)
	w := newWire(t)
	e := openEngine(t)
	if w.dedicated(); w.answers() {
		t.Error("answers before Install")
	}
	serve(t, e, frames.Policy(own))
	if w.dedicated(); !w.answers() {
		t.Error("does not answer")
	}
	enginetest.Must(t, e.Renew(dataplane.Now()))
	if w.dedicated(); w.answers() {
		t.Error("answers when its lease is over")
	}
	enginetest.Must(t, e.Renew(dataplane.Now().Add(longLease)))
	enginetest.Must(t, e.Install(frames.Policy(nil), nil))
	if w.dedicated(); w.answers() {
		t.Error("answers for another member")
	}
	enginetest.Must(t, e.Close())
	w.dedicated()
	checkNothingLeft(t)
	if err := e.Install(frames.Policy(own), nil); err == nil {
		t.Error("installs when closed")
	}
}

// A VIP that a policy does not name any more is the kernel's own affair again.
func TestVIPsChange(t *testing.T) {
	enterNamespace(t)
	w := newWire(t)
	e := openEngine(t)
	p := frames.Policy(nil)
	enginetest.Must(t, e.Install(p, nil))
	toVIP := func() bool { return w.hears(w.send(frames.VIP4, w.mac), 300*time.Millisecond) }
	if toVIP() {
		t.Error("the kernel gets frames to a VIP")
	}
	fewer := *p
	fewer.VIPs = p.VIPs[1:]
	enginetest.Must(t, e.Install(&fewer, nil))
	if !toVIP() {
		t.Error("the kernel does not get frames to a former VIP")
	}
	enginetest.Must(t, e.Install(p, nil))
	if toVIP() {
		t.Error("the kernel gets frames to a VIP that came back")
	}
}

// An agent that is killed leaves the guard behind: the member is silent at once, and
// a successor takes over without an instant in which VIP traffic passes.
func TestKilled(t *testing.T) {
	enterNamespace(t)
	w := newWire(t)
	if sent, arrived := w.flood(func() { time.Sleep(50 * time.Millisecond) }); arrived == 0 {
		t.Fatalf("without an engine none of %d frames arrives: the test would see no leak", sent)
	}
	child := startChild(t)
	if _, err := Open(testSetup(t), nil); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("second engine for one member: %v", err)
	}
	if err := Remove(testSetup(t).Cluster, t.Name()); err == nil {
		t.Error("removes the guard of a living agent")
	}
	enginetest.Must(t, child.Process.Kill())
	child.Wait()
	if w.dedicated(); w.answers() {
		t.Error("answers after its death")
	}

	var e *Engine
	sent, arrived := w.flood(func() {
		e = openEngine(t)
		enginetest.Must(t, e.Renew(dataplane.Now().Add(longLease)))
		enginetest.Must(t, e.Install(frames.Policy(nil), nil))
	})
	if arrived != 0 || sent < 10 {
		t.Errorf("%d of %d frames to the VIP reached the kernel while the successor took over", arrived, sent)
	}
	serve(t, e, frames.Policy(own))
	if !w.answers() {
		t.Error("the successor does not answer")
	}
	enginetest.Must(t, e.Close())
	checkNothingLeft(t)
}

// An agent that stands still is silent when its lease is over, also on waking, when it
// finds what arrived meanwhile.
func TestFrozen(t *testing.T) {
	enterNamespace(t)
	w := newWire(t)
	child := startChild(t)
	if !w.answers() {
		t.Fatal("does not answer")
	}
	enginetest.Must(t, child.Process.Signal(syscall.SIGSTOP))
	var status unix.WaitStatus
	if _, err := unix.Wait4(child.Process.Pid, &status, unix.WUNTRACED, nil); err != nil || !status.Stopped() {
		t.Fatalf("the child does not stop: %v, %v", status, err)
	}
	if w.answers() { // 300 ms, the lease
		t.Error("answers while it stands still")
	}
	number := w.send(frames.VIP4, frames.ClusterMAC[:])
	enginetest.Must(t, child.Process.Signal(syscall.SIGCONT))
	if w.hears(number, 300*time.Millisecond) {
		t.Error("answers on waking what arrived before, though its lease is over")
	}
	w.dedicated()
}

// Neither a cable that was out nor an interface that was made anew keeps a member, or
// its successor, silent or lets the kernel answer.
func TestInterfaceReturns(t *testing.T) {
	enterNamespace(t)
	w := newWire(t)
	e := openEngine(t)
	serve(t, e, frames.Policy(own))
	l, err := netlink.LinkByName(testInterface)
	enginetest.Must(t, err)
	enginetest.Must(t, netlink.LinkSetDown(l))
	enginetest.Must(t, netlink.LinkSetUp(l))
	enginetest.Must(t, netlink.RouteReplace(w.route))
	deadline := time.Now().Add(3 * time.Second) // the kernel takes up to a second over a carrier
	for !w.answers() {
		if time.Now().After(deadline) {
			t.Fatal("does not answer when the link is up again")
		}
	}
	enginetest.Must(t, e.Close())

	child := startChild(t)
	enginetest.Must(t, child.Process.Kill())
	child.Wait()
	enginetest.Must(t, netlink.LinkDel(l))
	enginetest.AddVeth(t, testInterface, testPeer)
	w.close()
	w = newWire(t)
	e = openEngine(t)
	if w.answers() || w.hears(w.send(frames.VIP4, w.mac), 100*time.Millisecond) {
		t.Error("answers at a new interface before Install")
	}
	serve(t, e, frames.Policy(own))
	if !w.answers() {
		t.Error("does not answer at a new interface")
	}
}

// Accepted frames arrive at the interface itself: strict rp_filter and a socket that is
// bound to the interface take them.
func TestArrivesAtInterface(t *testing.T) {
	enterNamespace(t)
	w := newWire(t)
	enginetest.Must(t, os.WriteFile("/proc/sys/net/ipv4/conf/all/rp_filter", []byte("1"), 0))
	raw, err := w.received.SyscallConn()
	enginetest.Must(t, err)
	enginetest.Must(t, raw.Control(func(fd uintptr) { err = unix.BindToDevice(int(fd), testInterface) }))
	enginetest.Must(t, err)
	e := openEngine(t)
	serve(t, e, frames.Policy(own))
	if w.dedicated(); !w.answers() {
		t.Error("does not answer")
	}
}

// Losses are told, but not all the time.
func TestLosses(t *testing.T) {
	var out strings.Builder
	log, now := slog.New(slog.NewTextHandler(&out, nil)), time.Unix(1000, 0)
	var l losses
	for i := range 25 {
		l.full += 2
		l.tell(log, now.Add(time.Duration(i)*time.Second))
	}
	l.tell(log, now.Add(time.Hour))
	l.tell(log, now.Add(2*time.Hour)) // nothing since
	for i, want := range []string{"ring_full=2 ", "ring_full=20 ", "ring_full=20 ", "ring_full=8 ", ""} {
		line, rest, _ := strings.Cut(out.String(), "\n")
		if !strings.Contains(line, want) || want == "" && line != "" {
			t.Errorf("line %d is %q, want %q", i, line, want)
		}
		out.Reset()
		out.WriteString(rest)
	}
}

// A large frame of which the queue had no room for the end is a loss, too.
func TestLosesLargeFrames(t *testing.T) {
	var out strings.Builder
	e := &Engine{log: slog.New(slog.NewTextHandler(&out, nil)), judge: newJudge(0, frames.BeaconKey, nil), now: dataplane.Now}
	e.judge.install(frames.Policy(own), nil, moment{})
	e.judge.lease.Store(int64(dataplane.Now().Add(longLease)))
	e.take(captured{vnet: append(make([]byte, vnetLength), frames.UDPFrame(testClient, netip.AddrPortFrom(frames.VIP4, 53))...)})
	if !strings.Contains(out.String(), "ring_full=1 ") {
		t.Errorf("the log tells %q", out.String())
	}
}

// Members of two clusters share an interface; each lets the other's frames alone.
func TestTwoClusters(t *testing.T) {
	enterNamespace(t)
	w := newWire(t)
	p, q := frames.Policy(own), frames.Policy(own)
	p.VIPs, q.VIPs = p.VIPs[:1], q.VIPs[1:]
	enginetest.Must(t, netlink.AddrAdd(w.lo, &netlink.Addr{IPNet: netlink.NewIPNet(frames.VIP4b.AsSlice())}))
	e := openEngine(t)
	setup := testSetup(t)
	setup.Cluster += "-other"
	other, err := Open(setup, slog.New(slog.NewTextHandler(t.Output(), nil)))
	enginetest.Must(t, err)
	defer other.Close()
	serve(t, e, p)
	serve(t, other, q)
	for _, vip := range []netip.Addr{frames.VIP4, frames.VIP4b} {
		if !w.hears(w.send(vip, frames.ClusterMAC[:]), 300*time.Millisecond) {
			t.Errorf("nobody answers for %s", vip)
		}
	}
}

func TestRemove(t *testing.T) {
	enterNamespace(t)
	w := newWire(t)
	child := startChild(t)
	enginetest.Must(t, child.Process.Kill())
	child.Wait()
	for range 2 { // the second time there is nothing
		enginetest.Must(t, Remove(testSetup(t).Cluster, t.Name()))
	}
	checkNothingLeft(t)
	if !w.hears(w.send(frames.VIP4, w.mac), time.Second) {
		t.Error("the kernel does not get its frames back")
	}
}

func checkNothingLeft(t *testing.T) {
	t.Helper()
	out, err := exec.Command("sh", "-c", "nft list ruleset; ip -o link | grep ': nlb[0-9a-f]\\{8\\}[io]@'; ss -x -l -H | grep '@nlb/test.*"+t.Name()+"'").CombinedOutput()
	if len(out) != 0 {
		t.Errorf("left behind: %s%v", out, err)
	}
}

// What others send into the passage, such as a host's multicast, goes nowhere.
func TestSeal(t *testing.T) {
	enterNamespace(t)
	w := newWire(t)
	e := openEngine(t)
	serve(t, e, frames.Policy(own))
	intruder := packetSocket(t, e.guard.way.outer, 0)
	for _, vip := range []netip.Addr{frames.VIP4, frames.Own4} {
		w.sequence++
		frame := w.datagram(vip, w.mac)
		_, _ = unix.Write(intruder, frame) // an error will do
		if w.hears(w.sequence, 100*time.Millisecond) {
			t.Errorf("a frame to %s from the passage reaches the kernel", vip)
		}
	}
}
