package ebpf

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink/nl"

	"github.com/opennlb/opennlb/portrules"
	"github.com/opennlb/opennlb/portrules/frames"
)

// The programs let pass what is behind NAT, answered and alive, and nothing else that
// the connection table knows; Forwarded lists the same, and Kill ends it.
func TestConnectionTable(t *testing.T) {
	enterNamespace(t)
	ownEverything(t)
	e := openEngine(t, "auto", options{})
	if !e.FollowsNAT() {
		t.Fatal("the programs do not know NAT on this kernel")
	}
	serve(t, e, frames.Policy(map[int]portrules.Flags{frames.WebTable: portrules.Residual}))
	vips := []netip.Addr{frames.VIP4, frames.VIP6}
	flows := []portrules.Flow{
		{Src: netip.AddrPortFrom(frames.Client, 1001), Dst: netip.AddrPortFrom(frames.VIP4, 80)},
		{Src: netip.AddrPortFrom(frames.Client6, 1002), Dst: netip.AddrPortFrom(frames.VIP6, 80)},
	}
	for _, tt := range []struct {
		name string
		entry
		served bool
	}{
		{"syn sent", entry{state: nl.TCP_CONNTRACK_SYN_SENT}, false},
		{"syn received", entry{state: nl.TCP_CONNTRACK_SYN_RECV}, true},
		{"established", entry{}, true},
		{"fin wait", entry{state: nl.TCP_CONNTRACK_FIN_WAIT}, true},
		{"close wait", entry{state: nl.TCP_CONNTRACK_CLOSE_WAIT}, true},
		{"last ack", entry{state: nl.TCP_CONNTRACK_LAST_ACK}, true},
		{"time wait", entry{state: nl.TCP_CONNTRACK_TIME_WAIT}, false},
		{"closed", entry{state: nl.TCP_CONNTRACK_CLOSE}, false},
		{"no nat", entry{plain: true}, false},
		{"picked up, unanswered", entry{unanswered: true}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, flow := range flows {
				end := enterEntry(t, flow, tt.entry)
				checkServed(t, e, flow, tt.served)
				checkServed(t, e, portrules.Flow{Src: netip.AddrPortFrom(flow.Src.Addr(), 1003), Dst: flow.Dst}, false)
				list := forwarded(t, vips)
				if !tt.served {
					if len(list) != 0 {
						t.Errorf("%v listed, want none", list)
					}
					end()
					continue
				}
				if len(list) != 1 || list[0].Local != flow.Dst || list[0].Remote != flow.Src || !list[0].NAT {
					t.Fatalf("%+v listed, want %v only", list, flow)
				}
				other := list[0]
				other.cookie++
				for _, c := range []Conn{other, list[0], list[0]} {
					checkServed(t, e, flow, true)
					if err := Kill(c); err != nil {
						t.Errorf("kill %+v: %v", c, err)
					}
					if c == list[0] {
						break
					}
				}
				checkServed(t, e, flow, false)
				if err := Kill(list[0]); err != nil {
					t.Errorf("kill %+v again: %v", list[0], err)
				}
			}
		})
	}
	t.Run("not a vip", func(t *testing.T) {
		defer enterEntry(t, flows[0], entry{})()
		if list := forwarded(t, vips[1:]); len(list) != 0 {
			t.Errorf("%v listed", list)
		}
	})
	t.Run("the other direction", func(t *testing.T) { // a connection made by the VIP
		defer enterEntry(t, portrules.Flow{Src: flows[0].Dst, Dst: netip.AddrPortFrom(container4.Addr(), 1)}, entry{})()
		checkServed(t, e, portrules.Flow{Src: container4, Dst: flows[0].Dst}, false)
	})
}

// Where the kernel functions are not to be had, the programs load without.
func TestWithoutNAT(t *testing.T) {
	enterNamespace(t)
	spec, err := loadNlb()
	if err != nil {
		t.Fatal(err)
	}
	c, err := loadWithoutNAT(spec)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if c.Programs[tcIn.name] == nil || c.Programs[xdp.name] == nil {
		t.Errorf("loaded %v", c.Programs)
	}
}

func forwarded(t *testing.T, vips []netip.Addr) []Conn {
	t.Helper()
	list, err := Forwarded(vips)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// checkServed gives both programs a segment of a flow in a residual bucket.
func checkServed(t *testing.T, e *Engine, flow portrules.Flow, served bool) {
	t.Helper()
	d := portrules.Decision{Verdict: portrules.Drop, Reason: portrules.NotOwner}
	if served {
		d = portrules.Decision{Verdict: portrules.Accept, Reason: portrules.ResidualConn}
	}
	frame := frames.TCPFrame(flow.Src, flow.Dst, frames.ACK)
	for _, err := range []error{e.runTC(frame, d.Verdict), e.runXDP(frame, d)} {
		if err != nil {
			t.Error(fmt.Errorf("%v, want served %v: %w", flow, served, err))
		}
	}
}
