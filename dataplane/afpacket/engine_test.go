package afpacket

import (
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opennlb/opennlb/dataplane"
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
	must(t, e.Renew(dataplane.Now()))
	if w.dedicated(); w.answers() {
		t.Error("answers when its lease is over")
	}
	must(t, e.Renew(dataplane.Now().Add(longLease)))
	must(t, e.Install(frames.Policy(nil)))
	if w.dedicated(); w.answers() {
		t.Error("answers for another member")
	}
	must(t, e.Close())
	w.dedicated()
	checkNothingLeft(t)
	if err := e.Install(frames.Policy(own)); err == nil {
		t.Error("installs when closed")
	}
}

// A VIP that a policy does not name any more is the kernel's own affair again.
func TestVIPsChange(t *testing.T) {
	enterNamespace(t)
	w := newWire(t)
	e := openEngine(t)
	p := frames.Policy(nil)
	must(t, e.Install(p))
	toVIP := func() bool { return w.hears(w.send(frames.VIP4, w.mac), 300*time.Millisecond) }
	if toVIP() {
		t.Error("the kernel gets frames to a VIP")
	}
	fewer := *p
	fewer.VIPs = p.VIPs[1:]
	must(t, e.Install(&fewer))
	if !toVIP() {
		t.Error("the kernel does not get frames to a former VIP")
	}
	must(t, e.Install(p))
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
	must(t, child.Process.Kill())
	child.Wait()
	if w.dedicated(); w.answers() {
		t.Error("answers after its death")
	}

	var e *Engine
	sent, arrived := w.flood(func() {
		e = openEngine(t)
		must(t, e.Renew(dataplane.Now().Add(longLease)))
		must(t, e.Install(frames.Policy(nil)))
	})
	if arrived != 0 || sent < 10 {
		t.Errorf("%d of %d frames to the VIP reached the kernel while the successor took over", arrived, sent)
	}
	serve(t, e, frames.Policy(own))
	if !w.answers() {
		t.Error("the successor does not answer")
	}
	must(t, e.Close())
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
	must(t, child.Process.Signal(syscall.SIGSTOP))
	if w.answers() { // 300 ms, the lease
		t.Error("answers while it stands still")
	}
	number := w.send(frames.VIP4, frames.ClusterMAC[:])
	must(t, child.Process.Signal(syscall.SIGCONT))
	if w.hears(number, 300*time.Millisecond) {
		t.Error("answers on waking what arrived before, though its lease is over")
	}
	w.dedicated()
}

func TestRemove(t *testing.T) {
	enterNamespace(t)
	w := newWire(t)
	child := startChild(t)
	must(t, child.Process.Kill())
	child.Wait()
	for range 2 { // the second time there is nothing
		must(t, Remove(testSetup(t).Cluster, t.Name()))
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
