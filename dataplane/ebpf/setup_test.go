package ebpf

import (
	"cmp"
	"fmt"
	"log/slog"
	"net"
	"os"
	"testing"

	"github.com/vishvananda/netns"

	"github.com/opennlb/opennlb/dataplane"
	"github.com/opennlb/opennlb/dataplane/enginetest"
	"github.com/opennlb/opennlb/portrules"
	"github.com/opennlb/opennlb/portrules/frames"
)

const (
	testInterface = "nlbt0" // its peer is nlbt1
	testPeer      = "nlbt1"
)

var (
	// testCluster names the pins of this run: the tests may run twice at a time.
	testCluster = cmp.Or(os.Getenv(childCluster), fmt.Sprintf("nlb.test-%d", os.Getpid()))

	testSourceMAC = net.HardwareAddr{0x02, 0x01, 192, 0, 2, 10}
	own           = map[int]portrules.Flags{
		frames.DefaultTable: portrules.Own, frames.WebTable: portrules.Own,
		frames.DNSTable: portrules.Own, frames.SSHTable: portrules.Own,
	}
)

func TestMain(m *testing.M) {
	if member := os.Getenv(childMember); member != "" {
		runChild(member)
		return
	}
	os.Exit(m.Run())
}

// enterNamespace moves the test to a network namespace of its own, which has a
// veth pair.
func enterNamespace(t testing.TB) netns.NsHandle {
	t.Helper()
	ns := enginetest.EnterNamespace(t)
	enginetest.AddVeth(t, testInterface, testPeer)
	return ns
}

func testSetup(t testing.TB, kind string) dataplane.Setup {
	return dataplane.Setup{
		Cluster:    testCluster,
		Member:     t.Name(),
		Interface:  testInterface,
		Kind:       kind,
		SourceMAC:  testSourceMAC,
		ClusterMAC: frames.ClusterMAC[:],
		Priority:   frames.Self,
		BeaconKey:  frames.BeaconKey,
	}
}

// openEngine opens an engine on the veth pair, to be closed with the test.
func openEngine(t testing.TB, kind string, opts options) *Engine {
	t.Helper()
	return openSetup(t, testSetup(t, kind), opts)
}

func openSetup(t testing.TB, setup dataplane.Setup, opts options) *Engine {
	t.Helper()
	e, err := open(setup, slog.New(slog.NewTextHandler(t.Output(), nil)), opts)
	if err != nil {
		t.Fatal(err)
	}
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
	install(t, e, p)
	if err := e.Renew(dataplane.Now().Add(longLease)); err != nil {
		t.Fatal(err)
	}
}

func install(t testing.TB, e *Engine, p *portrules.Policy) {
	t.Helper()
	if err := e.Install(clone(p), nil); err != nil {
		t.Fatal(err)
	}
}

// clone lets a test change a policy after it was installed.
func clone(p *portrules.Policy) *portrules.Policy {
	c := *p
	return &c
}
