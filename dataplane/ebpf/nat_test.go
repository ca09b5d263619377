package ebpf

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/vishvananda/netlink/nl"

	"github.com/opennlb/opennlb/dataplane/enginetest"
	"github.com/opennlb/opennlb/dataplane/sockets"
	"github.com/opennlb/opennlb/portrules"
	"github.com/opennlb/opennlb/portrules/frames"
)

// The programs let pass what is behind NAT, answered and alive, and nothing else that
// the connection table knows, and Forwarded lists the same.
func TestConnectionTable(t *testing.T) {
	enterNamespace(t)
	enginetest.OwnEverything(t)
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
	for _, tt := range []struct { // not subtests: those would leave the thread, and the namespace
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
		for _, flow := range flows {
			other := portrules.Flow{Src: netip.AddrPortFrom(flow.Src.Addr(), 1003), Dst: flow.Dst}
			end := enterEntry(t, flow, tt.entry)
			for _, err := range []error{
				checkServed(e, flow, tt.served), checkServed(e, other, false), checkListed(vips, flow, tt.served),
			} {
				if err != nil {
					t.Errorf("%s: %v", tt.name, err)
				}
			}
			end()
		}
	}

	end := enterEntry(t, flows[0], entry{})
	if err := checkListed(vips[1:], flows[0], false); err != nil {
		t.Errorf("not a VIP: %v", err)
	}
	end()

	// What the host asked under the VIP itself is no client's connection.
	made := portrules.Flow{Src: flows[0].Dst, Dst: netip.AddrPortFrom(container4.Addr(), 1)}
	end = enterEntry(t, made, entry{})
	if err := checkServed(e, portrules.Flow{Src: container4, Dst: made.Src}, false); err != nil {
		t.Errorf("the other direction: %v", err)
	}
	end()
}

// Kill ends the very connection that was listed, and does not mind that it is gone.
func TestKillForwarded(t *testing.T) {
	enterNamespace(t)
	for _, flow := range []portrules.Flow{
		{Src: netip.AddrPortFrom(frames.Client, 1001), Dst: netip.AddrPortFrom(frames.VIP4, 80)},
		{Src: netip.AddrPortFrom(frames.Client6, 1002), Dst: netip.AddrPortFrom(frames.VIP6, 80)},
	} {
		vips := []netip.Addr{flow.Dst.Addr()}
		enterEntry(t, flow, entry{})
		list, err := sockets.Forwarded(vips)
		if err != nil || len(list) != 1 {
			t.Fatalf("%v listed, %v", list, err)
		}
		successor := list[0] // with the same ends
		successor.Cookie++
		for _, kill := range []struct {
			sockets.Conn
			left bool
		}{{successor, true}, {list[0], false}, {list[0], false}} {
			if err := sockets.Kill(kill.Conn); err != nil {
				t.Errorf("kill %+v: %v", kill.Conn, err)
			}
			if err := checkListed(vips, flow, kill.left); err != nil {
				t.Errorf("after kill of %+v: %v", kill.Conn, err)
			}
		}
	}
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

func checkListed(vips []netip.Addr, flow portrules.Flow, listed bool) error {
	var want []sockets.Conn
	if listed {
		want = []sockets.Conn{{Local: flow.Dst, Remote: flow.Src, NAT: true}}
	}
	list, err := sockets.Forwarded(vips)
	for i := range list {
		list[i].State, list[i].Cookie = 0, 0
	}
	if err != nil || !slices.Equal(list, want) {
		return fmt.Errorf("%v listed (%v), want %v", list, err, want)
	}
	return nil
}

// checkServed gives both programs a segment of a flow in a residual bucket.
func checkServed(e *Engine, flow portrules.Flow, served bool) error {
	d := portrules.Decision{Verdict: portrules.Drop, Reason: portrules.NotOwner}
	if served {
		d = portrules.Decision{Verdict: portrules.Accept, Reason: portrules.ResidualConn}
	}
	frame := frames.TCPFrame(flow.Src, flow.Dst, frames.ACK)
	if err := errors.Join(e.runTC(frame, d.Verdict), e.runXDP(frame, d)); err != nil {
		return fmt.Errorf("%v, want served %v: %w", flow, served, err)
	}
	return nil
}
