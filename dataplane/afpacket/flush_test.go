package afpacket

import (
	"os/exec"
	"testing"
	"time"

	"github.com/opennlb/opennlb/dataplane"
	"github.com/opennlb/opennlb/dataplane/enginetest"
	"github.com/opennlb/opennlb/portrules/frames"
)

// `nft flush ruleset` takes the guard away, and it comes back: the engine serves on, and the
// kernel gets nothing by itself.
func TestFlushedRuleset(t *testing.T) {
	enterNamespace(t)
	w := newWire(t)
	e := openEngine(t)
	serve(t, e, frames.Policy(own))
	for range 3 {
		out, err := exec.Command("nft", "flush", "ruleset").CombinedOutput()
		if err != nil {
			t.Fatalf("flush: %v: %s", err, out)
		}
		untilGuarded(t, e)
		if w.dedicated(); !w.answers() {
			t.Fatal("does not answer after a flush")
		}
	}
	enginetest.Must(t, e.Renew(dataplane.Now()))
	if w.hears(w.send(frames.VIP4, w.mac), 300*time.Millisecond) {
		t.Error("the kernel gets frames to a VIP after a flush")
	}
	w.dedicated()
	enginetest.Must(t, e.Close())
	checkNothingLeft(t)
}

// untilGuarded waits until the table is there and whole, as it is in one transaction.
func untilGuarded(t *testing.T, e *Engine) {
	t.Helper()
	for began := time.Now(); time.Since(began) < 2*time.Second; time.Sleep(time.Millisecond) {
		e.mu.Lock()
		found, err := e.guard.exists()
		e.mu.Unlock()
		if enginetest.Must(t, err); found {
			return
		}
	}
	t.Fatal("the guard does not come back")
}
