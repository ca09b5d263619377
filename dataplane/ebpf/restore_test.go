package ebpf

import (
	"errors"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/opennlb/opennlb/dataplane"
	"github.com/opennlb/opennlb/dataplane/enginetest"
	"github.com/opennlb/opennlb/portrules/frames"
)

// Somebody removes the qdisc, and with it the filters of an engine without links. They come back.
func TestFiltersComeBack(t *testing.T) {
	enterNamespace(t)
	w := newWire(t)
	e := openEngine(t, "tc", options{clsact: true})
	serve(t, e, frames.Policy(own))
	c := clsactOf(e.device.index, e.pins)
	for range 3 {
		enginetest.Must(t, netlink.QdiscDel(c.qdisc()))
		whole := func() bool {
			in, err1 := c.attached(tcIn)
			out, err2 := c.attached(tcOut)
			enginetest.Must(t, errors.Join(err1, err2))
			return in && out
		}
		for began := time.Now(); !whole(); time.Sleep(time.Millisecond) {
			if time.Since(began) > 5*time.Second {
				t.Fatal("the filters do not come back")
			}
		}
		if !w.answers() {
			t.Fatal("does not answer any more")
		}
	}
	enginetest.Must(t, e.Renew(dataplane.Now()))
	if w.answers() {
		t.Error("the kernel gets frames to a VIP")
	}
	enginetest.Must(t, e.Close())
	checkNothingLeft(t)
}
