package afpacket

import (
	"fmt"
	"log/slog"
	"net"
	"os"
	"testing"
	"time"

	"github.com/opennlb/opennlb/dataplane"
	"github.com/opennlb/opennlb/dataplane/enginetest"
	"github.com/opennlb/opennlb/portrules"
	"github.com/opennlb/opennlb/portrules/frames"
)

const (
	testInterface = "nlbt0" // its peer is nlbt1
	testPeer      = "nlbt1"
	longLease     = time.Hour
)

var (
	testSourceMAC = net.HardwareAddr{0x02, 0x01, 192, 0, 2, 10}
	own           = map[int]portrules.Flags{
		frames.DefaultTable: portrules.Own, frames.WebTable: portrules.Own,
		frames.DNSTable: portrules.Own, frames.SSHTable: portrules.Own,
	}
)

// enterNamespace moves the test to a network namespace of its own, which has a
// veth pair.
func enterNamespace(t testing.TB) {
	t.Helper()
	enginetest.EnterNamespace(t)
	enginetest.Must(t, os.WriteFile("/proc/sys/net/ipv6/conf/default/accept_dad", []byte("0"), 0))
	enginetest.AddVeth(t, testInterface, testPeer)
}

func testSetup(t testing.TB) dataplane.Setup {
	return dataplane.Setup{
		Cluster:    fmt.Sprintf("test-%d", os.Getpid()),
		Member:     t.Name(),
		Interface:  testInterface,
		Kind:       "afpacket",
		SourceMAC:  testSourceMAC,
		ClusterMAC: frames.ClusterMAC[:],
		Priority:   frames.Self,
		BeaconKey:  frames.BeaconKey,
	}
}

// openEngine opens an engine on the veth pair, to be closed with the test.
func openEngine(t testing.TB) *Engine {
	t.Helper()
	e, err := Open(testSetup(t), slog.New(slog.NewTextHandler(t.Output(), nil)))
	enginetest.Must(t, err)
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return e
}

// serve installs a policy and lets the engine answer for longer than any test.
func serve(t testing.TB, e *Engine, p *portrules.Policy) {
	t.Helper()
	enginetest.Must(t, e.Install(p, nil))
	enginetest.Must(t, e.Renew(dataplane.Now().Add(longLease)))
}
