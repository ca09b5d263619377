package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
)

// faults are what is wrong with the switch at the moment, by port.
type faults struct {
	loss    map[string]float64 // port -> percent of frames, each way
	severed map[link]bool      // no frame passes
	blocked map[link]bool      // no membership message passes
}

// link is one direction between two ports.
type link struct{ from, to string }

// membershipPort is the port of nlbd's gossip.
const membershipPort = 7946

// ruleset is the whole content of chain "faults" in the language of nft(8).
func (f faults) ruleset() string {
	var b strings.Builder
	b.WriteString("flush chain bridge lab faults\n")
	rule := func(format string, args ...any) {
		fmt.Fprintf(&b, "add rule bridge lab faults "+format+" drop\n", args...)
	}
	for _, l := range sortedLinks(f.severed) {
		rule("iifname %s oifname %s", l.from, l.to)
	}
	for _, l := range sortedLinks(f.blocked) {
		rule("iifname %s oifname %s meta l4proto { tcp, udp } th dport %d", l.from, l.to, membershipPort)
		rule("iifname %s oifname %s meta l4proto { tcp, udp } th sport %d", l.from, l.to, membershipPort)
	}
	for _, port := range slices.Sorted(maps.Keys(f.loss)) {
		chance := fmt.Sprintf(" numgen random mod 1000 < %d", int(math.Round(f.loss[port]*10)))
		if f.loss[port] == 100 {
			chance = "" // nft refuses a comparison that is always true
		}
		rule("iifname %s%s", port, chance)
		rule("oifname %s%s", port, chance)
	}
	return b.String()
}

func sortedLinks(set map[link]bool) []link {
	return slices.SortedFunc(maps.Keys(set), func(a, b link) int {
		return strings.Compare(a.from+" "+a.to, b.from+" "+b.to)
	})
}

// SetLoss drops percent (0 to 100, steps of 0.1) of the frames that pass the
// switch to and from h. At 100 the cable is cut but the carrier stays.
func (s *Switch) SetLoss(ctx context.Context, h *Host, percent float64) error {
	if percent < 0 || percent > 100 {
		return fmt.Errorf("loss of %v percent: use 0 to 100", percent)
	}
	return s.change(ctx, func(f *faults) {
		if percent == 0 {
			delete(f.loss, h.Port)
			return
		}
		f.loss[h.Port] = percent
	})
}

// Sever lets no frame pass from one host to the other; the way back stays open.
func (s *Switch) Sever(ctx context.Context, from, to *Host) error {
	return s.change(ctx, func(f *faults) { f.severed[link{from.Port, to.Port}] = true })
}

// Partition lets no frame pass between hosts on different sides, in place of all that
// was severed before, at one instant. A host on no side hears everybody.
func (s *Switch) Partition(ctx context.Context, sides ...[]*Host) error {
	return s.change(ctx, func(f *faults) {
		clear(f.severed)
		for i, side := range sides {
			for _, from := range side {
				for _, to := range slices.Concat(slices.Concat(sides[:i]...), slices.Concat(sides[i+1:]...)) {
					f.severed[link{from.Port, to.Port}] = true
				}
			}
		}
	})
}

// BlockMembership lets no frame of the membership protocol pass from one member to
// the other; clients' frames and beacons pass.
func (s *Switch) BlockMembership(ctx context.Context, from, to *Host) error {
	return s.change(ctx, func(f *faults) { f.blocked[link{from.Port, to.Port}] = true })
}

// Heal ends all faults but cut cables.
func (s *Switch) Heal(ctx context.Context) error {
	return s.change(ctx, func(f *faults) { *f = newFaults() })
}

func newFaults() faults {
	return faults{loss: map[string]float64{}, severed: map[link]bool{}, blocked: map[link]bool{}}
}

// change applies an edited set of faults, all at one instant.
func (s *Switch) change(ctx context.Context, edit func(*faults)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	edit(&s.faults)
	return s.nft(ctx, s.faults.ruleset())
}

// buildFilter sets up the chains: faults on the way through, SYNs and datagrams as
// they come in from the client host. Behind the 8 bytes of an ICMP error (th) stand the
// IP header that it quotes, its protocol at 9 or 6, and the source port behind it.
func (s *Switch) buildFilter(ctx context.Context) error {
	s.faults = newFaults()
	return s.nft(ctx, fmt.Sprintf(`
table bridge lab {
	counter syns { }
	counter datagrams { }
	chain faults { type filter hook forward priority 0; }
	chain count {
		type filter hook prerouting priority 0;
		iifname client ip daddr %[1]s-10.77.0.199 tcp flags & (syn|ack) == syn counter name syns
		iifname client ip6 daddr %[2]s tcp flags & (syn|ack) == syn counter name syns
		iifname client ip daddr %[1]s udp dport 7 counter name datagrams
		iifname client ip6 daddr %[2]s udp dport 7 counter name datagrams
		iifname client ip daddr %[1]s icmp type { destination-unreachable, time-exceeded, parameter-problem } @th,136,8 17 @th,224,16 7 counter name datagrams
		iifname client ip6 daddr %[2]s icmpv6 type { destination-unreachable, packet-too-big, time-exceeded, parameter-problem } @th,112,8 17 @th,384,16 7 counter name datagrams
	}
}`, VIP, VIP6))
}

// SYNs is the number of TCP SYNs to the VIPs, and to the addresses up to 10.77.0.199
// that may become VIPs while the lab runs, repeated ones included, that came from the
// client host since the lab was built.
func (s *Switch) SYNs(ctx context.Context) (uint64, error) { return s.counter(ctx, "syns") }

// Datagrams is [Switch.SYNs] for UDP to port 7 of the VIPs, and for ICMP errors about what
// came from there: a client that no longer listens sends one, and the rule of the port
// decides on it, too. Later fragments do not count.
func (s *Switch) Datagrams(ctx context.Context) (uint64, error) { return s.counter(ctx, "datagrams") }

func (s *Switch) counter(ctx context.Context, name string) (uint64, error) {
	out, err := s.Run(ctx, "nft", "-j", "list", "counter", "bridge", "lab", name)
	if err != nil {
		return 0, err
	}
	var list struct {
		Nftables []struct {
			Counter *struct{ Packets uint64 }
		}
	}
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		return 0, fmt.Errorf("read the switch's counter %s: %w", name, err)
	}
	for _, item := range list.Nftables {
		if item.Counter != nil {
			return item.Counter.Packets, nil
		}
	}
	return 0, fmt.Errorf("read the switch's counter %s: not in the output of nft", name)
}

func (s *Switch) nft(ctx context.Context, script string) error {
	_, err := s.runInput(ctx, script, "nft", "-f", "-")
	return err
}
