package acceptance

import (
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/opennlb/opennlb/lab"
	"github.com/opennlb/opennlb/portrules"
	"github.com/opennlb/opennlb/portrules/frames"
)

// A tunnel goes with its bucket when that moves, and a TCP connection does not; where
// the rule keeps clients, as those of UDP with affinity single do, both stay.
const tunnelRules = lab.DefaultRules + `
- {name: pptp, protocol: tcp, ports: 1723, affinity: single, timeout: 1m}
- {name: ike, protocol: udp, ports: 500, affinity: single}
- {name: ike-nat, protocol: udp, ports: 4500, affinity: single}
- {name: signal, protocol: sctp, ports: 2905, affinity: none}
- {name: lte, protocol: sctp, ports: 36412, affinity: single, timeout: 1m}
`

// TestTunnels sends what has no ports, or ports of its own kind, from raw sockets of the client
// host to raw sockets of the members: GRE beside a TCP connection to port 1723, ESP and AH
// beside IKE's datagrams, and SCTP, whose packets are raw, too, as the kernels that this was
// written on have no SCTP. All frames of a client are one member's, before and after weights change.
func TestTunnels(t *testing.T) {
	beside(t)
	for _, dataplane := range []string{"tc", "afpacket", "xdp"}[:trials(2, 3)] {
		t.Run(dataplane, func(t *testing.T) {
			c := start(t, lab.Options{Dataplane: dataplane, Clients: 30, IPv6: true, Rules: tunnelRules})
			seen := c.receiveTunnels()
			for _, m := range c.Members {
				c.ok(m.StartEcho(1723))
				for _, vip := range []netip.Addr{lab.VIP, lab.VIP6} {
					c.ok(m.StartUDP(netip.AddrPortFrom(vip, 500)))
					c.ok(m.StartUDP(netip.AddrPortFrom(vip, 4500)))
				}
				c.eventually(m.Name+" takes part", func() bool { return c.owns(m, "pptp") && c.owns(m, "ike") && c.owns(m, "lte") })
			}
			v4 := c.tunnels(c.Client.Addrs, lab.VIP)
			v6 := c.tunnels(c.Client.Addrs6, lab.VIP6)
			all := append(v4, v6...)
			for round := range 2 {
				for _, one := range all {
					one.send(c)
				}
				c.sleep(300 * time.Millisecond)
				seen.check(all, round+1)
				if round == 0 {
					c.Members[0].Config["member"].(map[string]any)["rules"] = map[string]any{
						"pptp": map[string]any{"weight": 5}, "ike": map[string]any{"weight": 5}, "ike-nat": map[string]any{"weight": 5}, "lte": map[string]any{"weight": 5},
					}
					c.ok(c.Members[0].Reload())
					c.sleep(500 * time.Millisecond)
					c.converged(3)
				}
			}
		})
	}
}

// tunnelFrames is how many of each kind a client sends in a round.
const tunnelFrames = 4

// received is what a member's raw socket got.
type received struct {
	protocol int
	port     uint16 // source port of SCTP: of an association
	client   netip.Addr
}

// tunnelWitness counts what the members' kernels passed on, by member.
type tunnelWitness struct {
	c    *cluster
	mu   sync.Mutex
	seen map[received]map[string]int
}

// receiveTunnels opens a raw socket of each protocol on each member, bound to a VIP.
func (c *cluster) receiveTunnels() *tunnelWitness {
	c.t.Helper()
	w := &tunnelWitness{c: c, seen: make(map[received]map[string]int)}
	for _, m := range c.Members {
		for family, vip := range map[string]netip.Addr{"ip4": lab.VIP, "ip6": lab.VIP6} {
			for _, protocol := range tunnelProtocols(vip) {
				conn := c.rawSocket(m.Host, fmt.Sprintf("%s:%d", family, protocol), vip)
				go w.read(m.Name, protocol, conn)
			}
		}
	}
	return w
}

// rawSocket is closed with the test at the latest.
func (c *cluster) rawSocket(h *lab.Host, network string, addr netip.Addr) (conn net.PacketConn) {
	c.t.Helper()
	c.ok(h.NetNS().Do(func() (err error) {
		conn, err = net.ListenPacket(network, addr.String())
		return err
	}))
	c.t.Cleanup(func() { conn.Close() })
	return conn
}

// tunnelProtocols: with IPv6, AH is an extension header and no protocol.
func tunnelProtocols(vip netip.Addr) []int {
	all := []int{portrules.ProtoGRE, portrules.ProtoESP, portrules.ProtoSCTP}
	if vip.Is4() {
		all = append(all, portrules.ProtoAH)
	}
	return all
}

func (w *tunnelWitness) read(member string, protocol int, conn net.PacketConn) {
	buf := make([]byte, 2048)
	for {
		n, from, err := conn.ReadFrom(buf)
		if err != nil {
			return
		}
		addr, _ := netip.AddrFromSlice(from.(*net.IPAddr).IP)
		key := received{protocol: protocol, client: addr.Unmap()}
		if protocol == portrules.ProtoSCTP && n >= 2 {
			key.port = uint16(buf[0])<<8 | uint16(buf[1])
		}
		w.mu.Lock()
		if w.seen[key] == nil {
			w.seen[key] = make(map[string]int)
		}
		w.seen[key][member]++
		w.mu.Unlock()
	}
}

// tunnel is a client with its control connections, which say where the rest belongs.
type tunnel struct {
	src, vip  netip.Addr
	pptp, ike string // who answered
}

// tunnels opens the control connections of all clients, and holds those of TCP.
func (c *cluster) tunnels(clients []netip.Addr, vip netip.Addr) (out []*tunnel) {
	c.t.Helper()
	held := c.hold(clients, netip.AddrPortFrom(vip, 1723))
	for i, src := range clients {
		one := &tunnel{src: src, vip: vip, pptp: held.list[i].member}
		one.ike = c.keyExchange(src, vip, 500)
		if nat := c.keyExchange(src, vip, 4500); nat != one.ike {
			c.t.Errorf("%s: UDP 500 is answered by %s, 4500 by %s", src, one.ike, nat)
		}
		out = append(out, one)
	}
	return out
}

func (c *cluster) keyExchange(src, vip netip.Addr, port uint16) string {
	c.t.Helper()
	member, err := c.Client.AskUDP(c.ctx, netip.AddrPortFrom(src, port), netip.AddrPortFrom(vip, port))
	c.ok(err)
	return member
}

// send sends some frames of each protocol; SCTP as the associations of two ports, to two rules.
func (o *tunnel) send(c *cluster) {
	c.t.Helper()
	family := "ip4"
	if o.vip.Is6() {
		family = "ip6"
	}
	to := &net.IPAddr{IP: o.vip.AsSlice()}
	for _, protocol := range tunnelProtocols(o.vip) {
		conn := c.rawSocket(c.Client.Host, fmt.Sprintf("%s:%d", family, protocol), o.src)
		for n := range tunnelFrames {
			payloads := [][]byte{append(make([]byte, 16), byte(n))}
			if protocol == portrules.ProtoSCTP {
				payloads = [][]byte{o.association(40000, 2905), o.association(40001, 2905), o.association(41000, 36412), o.association(41001, 36412)}
			}
			for _, payload := range payloads {
				_, err := conn.WriteTo(payload, to)
				c.ok(err)
			}
		}
		c.ok(conn.Close())
	}
	// What IKE goes on to say.
	if now := c.keyExchange(o.src, o.vip, 4500); now != o.ike {
		c.t.Errorf("%s: IKE went from %s to %s", o.src, o.ike, now)
	}
}

func (o *tunnel) association(from, to uint16) []byte {
	return frames.SCTP(netip.AddrPortFrom(o.src, from), netip.AddrPortFrom(o.vip, to), make([]byte, 16))
}

// check wants all frames of every client so far to have reached one member: that of its control connection.
func (w *tunnelWitness) check(all []*tunnel, rounds int) {
	w.c.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	members := make(map[string]bool)
	for _, one := range all {
		for _, protocol := range tunnelProtocols(one.vip) {
			want := one.ike
			if protocol == portrules.ProtoGRE {
				want = one.pptp
			}
			if protocol == portrules.ProtoSCTP {
				w.checkAssociations(one, rounds)
				continue
			}
			by := w.seen[received{protocol: protocol, client: one.src}]
			if len(by) != 1 || by[want] != rounds*tunnelFrames {
				w.c.t.Errorf("round %d: %d frames of protocol %d from %s went to %v, its control connection to %s", rounds, rounds*tunnelFrames, protocol, one.src, by, want)
			}
			members[want] = true
		}
	}
	if len(members) != len(w.c.Members) {
		w.c.t.Errorf("only %v have tunnels: nothing was shown", members)
	}
}

// checkAssociations wants each SCTP association at one member, those of the rule with affinity
// single at the same one. The rule with affinity none keeps no clients: its associations may
// move with their bucket, and its weights stay.
func (w *tunnelWitness) checkAssociations(one *tunnel, rounds int) {
	w.c.t.Helper()
	single := make(map[string]bool)
	for _, port := range []uint16{40000, 40001, 41000, 41001} {
		by := w.seen[received{portrules.ProtoSCTP, port, one.src}]
		for member, n := range by {
			if len(by) != 1 || n != rounds*tunnelFrames {
				w.c.t.Errorf("round %d: SCTP from %s port %d: %d of %d packets at %s, %v", rounds, one.src, port, n, rounds*tunnelFrames, member, by)
			}
			if port >= 41000 {
				single[member] = true
			}
		}
		if len(by) == 0 {
			w.c.t.Errorf("SCTP from %s port %d reached nobody", one.src, port)
		}
	}
	if len(single) > 1 {
		w.c.t.Errorf("SCTP from %s with affinity single went to %v", one.src, single)
	}
}
