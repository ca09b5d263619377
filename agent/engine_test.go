package agent

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"testing"

	"github.com/google/nftables"

	"github.com/opennlb/opennlb/dataplane"
	"github.com/opennlb/opennlb/dataplane/enginetest"
	"github.com/opennlb/opennlb/portrules"
)

// TestOtherEngineGoesLast: the table that a predecessor left keeps the VIPs from the kernel,
// and so stays until the programs know them.
func TestOtherEngineGoesLast(t *testing.T) {
	enginetest.EnterNamespace(t)
	enginetest.AddVeth(t, "nlbt0", "nlbt1")
	nft, err := nftables.New()
	enginetest.Must(t, err)
	setup := dataplane.Setup{
		Cluster: fmt.Sprintf("agent-test-%d", os.Getpid()), Member: "n1", Interface: "nlbt0", Kind: "tc",
		SourceMAC: net.HardwareAddr{2, 1, 192, 0, 2, 10}, ClusterMAC: net.HardwareAddr{2, 0xbf, 192, 0, 2, 10},
	}
	left := nft.AddTable(&nftables.Table{Name: "nlb/" + setup.Cluster + "/" + setup.Member, Family: nftables.TableFamilyNetdev})
	enginetest.Must(t, nft.Flush())
	isThere := func() bool {
		_, err := nft.ListTableOfFamily(left.Name, left.Family)
		return err == nil
	}

	p := &portrules.Policy{
		VIPs: []netip.Addr{netip.MustParseAddr("192.0.2.10")}, Tables: make([]portrules.Buckets, 1),
		Rules: []portrules.Rule{{Name: "a", ID: 1}, {Name: "b", ID: 1}}, RuleTable: []int{0, 0},
	}
	if _, err := openEngine(setup, p, slog.New(slog.DiscardHandler)); err == nil {
		t.Fatal("two rules of one ID are installed")
	}
	if !isThere() {
		t.Error("what a predecessor left is removed before the VIPs are known")
	}
	p.Rules[1].ID = 2
	engine, err := openEngine(setup, p, slog.New(slog.DiscardHandler))
	enginetest.Must(t, err)
	if isThere() {
		t.Error("what a predecessor left goes on dropping")
	}
	enginetest.Must(t, engine.Close())
}
