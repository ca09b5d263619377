package agent

import (
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/opennlb/opennlb/control"
)

// A host that goes on claiming a VIP is one event, not one every ten seconds.
func TestClaimIsToldOnce(t *testing.T) {
	l, now := alone(t)
	l.log, l.events, l.foreign = slog.New(slog.DiscardHandler), control.NewEventLog(10), make(map[netip.Addr]conflict)
	claim := func(vip int, mac byte, told bool) {
		t.Helper()
		before, _ := l.events.After(0)
		if err := l.onForeignOwner(conflict{l.cluster.VIPs[vip], net.HardwareAddr{2, 0, 0, 0, 0, mac}, now}); err != nil {
			t.Fatal(err)
		}
		if after, _ := l.events.After(0); told != (len(after) > len(before)) {
			t.Errorf("told %t, want %t", !told, told)
		}
	}
	claim(0, 1, true)
	for range 100 {
		now = now.Add(10 * time.Second)
		claim(0, 1, false)
	}
	claim(1, 1, true)
	claim(0, 2, true)
	now = now.Add(conflictFor)
	claim(0, 2, true) // again
}
