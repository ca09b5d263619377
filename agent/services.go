package agent

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/opennlb/opennlb/converge"
	"github.com/opennlb/opennlb/dataplane/sockets"
	"github.com/opennlb/opennlb/nlbhash"
	"github.com/opennlb/opennlb/portrules"
)

const (
	lookEvery  = 3 * time.Second  // for services behind the rules
	lookRarely = 30 * time.Second // where the connection table had to be read, which may be long
	fewPorts   = 16               // a rule with more covers ports that are meant to be free
)

// services is what a look found.
type services struct {
	missing []missing
	nat     bool // the connection table was read
	plan    converge.Stamp
}

// missing is a rule without a service on this host: clients that it answers get a reset.
type missing struct {
	rule int
	vip  netip.Addr // the first one that lacks it
}

// lookForServices starts a look at the host's listening sockets, beside the loop.
func (l *loop) lookForServices() {
	if l.looking || l.now.wall.Before(l.nextLook) {
		return
	}
	l.looking, l.nextLook = true, l.now.wall.Add(lookEvery)
	vips, rules, nat, plan := l.cluster.VIPs, l.cluster.Rules, l.engine.FollowsNAT(), l.cluster.plan.Stamp()
	go func() {
		found, err := findServices(vips, rules, nat)
		if err != nil {
			l.log.Debug("look for services", "error", err)
		}
		found.plan = plan
		l.looked <- found // has room for the only look under way
	}()
}

func (l *loop) onLook(found services) error {
	if l.looking = false; found.plan != l.cluster.plan.Stamp() {
		return nil // of other rules
	}
	l.missing = found.missing
	if found.nat {
		l.nextLook = l.now.wall.Add(lookRarely)
	}
	return nil
}

// findServices finds the rules of few ports that have no listener on any of them, nor a
// connection that is passed on behind NAT.
func findServices(vips []netip.Addr, rules []portrules.Rule, nat bool) (services, error) {
	listeners, err := sockets.Listeners()
	if err != nil {
		return services{}, err
	}
	found := services{missing: unserved(vips, rules, listeners)}
	if len(found.missing) == 0 || !nat {
		return found, nil
	}
	found.nat = true
	conns, err := sockets.Forwarded(vips)
	if err != nil {
		return services{nat: true}, err
	}
	found.missing = slices.DeleteFunc(found.missing, func(m missing) bool {
		r := rules[m.rule]
		return slices.ContainsFunc(conns, func(c sockets.Conn) bool {
			return c.Local.Addr() == m.vip && r.First <= c.Local.Port() && c.Local.Port() <= r.Last
		})
	})
	return found, nil
}

func unserved(vips []netip.Addr, rules []portrules.Rule, listeners []sockets.Listener) (found []missing) {
	for i, r := range rules {
		if r.Mode == portrules.Disabled || r.Protocol == portrules.SCTP || r.Last-r.First >= fewPorts {
			continue // nobody lists sockets of SCTP
		}
		for _, vip := range vips {
			if (!r.VIP.IsValid() || r.VIP == vip) && !slices.ContainsFunc(listeners, func(s sockets.Listener) bool { return serves(s, vip, r) }) {
				found = append(found, missing{i, vip})
				break
			}
		}
	}
	return found
}

// serves reports whether a socket takes what comes to some port of a rule.
func serves(s sockets.Listener, vip netip.Addr, r portrules.Rule) bool {
	port := s.Local.Port()
	return r.First <= port && port <= r.Last && r.Protocol.Has(s.Protocol) && s.Takes(vip, s.Protocol, port)
}

// serviceWarnings speaks of rules for which this member answers and has no service.
func (l *loop) serviceWarnings(a *converge.Assignment) (out []string) {
	for _, m := range l.missing {
		r := l.cluster.Rules[m.rule]
		counts := (*nlbhash.Table)(&a.Slot(m.rule).Owner).Counts()
		if counts[l.cfg.Member.Priority] == 0 {
			continue
		}
		out = append(out, fmt.Sprintf("rule %s: this member answers, but nothing listens on %s port %s of %s: its clients are refused: start the service, or run nlbctl rule drain %[1]s --member %[5]s",
			r.Name, transports(r.Protocol), portRange(r), m.vip, l.cfg.Member.Name))
	}
	return out
}

// noticeOwners tells when a rule has lost its last owner, and when it has one again.
func (l *loop) noticeOwners() {
	a := l.machine.Committed()
	if a == nil || a.Epoch == l.noticed {
		return
	}
	l.noticed = a.Epoch
	for i, r := range l.cluster.Rules {
		if r.Mode == portrules.Disabled {
			continue
		}
		none := a.Slot(i).Owner[0] == 0
		if none && l.keep.awaits(a, i) {
			continue
		}
		switch {
		case none && !l.deserted[i]:
			l.event(converge.Event{Kind: "no owner", Text: fmt.Sprintf("rule %s: nobody answers: %s", r.Name, l.ownerless(a, i))})
		case !none && l.deserted[i]:
			l.event(converge.Event{Kind: "owner", Text: fmt.Sprintf("rule %s has an owner again", r.Name)})
		}
		l.deserted[i] = none
	}
}

// transports is a protocol in the words of a sentence.
func transports(p portrules.Protocol) string {
	if p == portrules.Both {
		return "tcp or udp"
	}
	return p.String()
}
