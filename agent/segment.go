package agent

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/opennlb/opennlb/converge"
	"github.com/opennlb/opennlb/l2"
)

// announceRounds of gratuitous ARP, one per second, tell the segment of a new
// default host; a single one could be lost.
const announceRounds = 3

// conflictFor is how long status warns of a claim that is not repeated.
const conflictFor = time.Minute

// becomeDefault lets the responder answer just while this member is the default host.
func (l *loop) becomeDefault() {
	active := l.machine.DefaultHost()
	if active == l.active {
		return
	}
	l.active = active
	l.responder.SetActive(active)
	l.announce = announcements{}
	if active {
		l.announce = announcements{left: announceRounds, next: l.now.wall}
		l.announceDue()
	}
}

func (l *loop) announceDue() {
	if l.announce.left == 0 || l.now.wall.Before(l.announce.next) {
		return
	}
	l.announce.left--
	l.announce.next = l.now.wall.Add(time.Second)
	if err := l.responder.Announce(context.Background()); err != nil {
		l.log.Warn("announce the VIPs", "error", err)
	}
}

// sendBeacon says on the segment what the members agreed on. A lost one is made up
// for by the next.
func (l *loop) sendBeacon(b converge.Beacon) {
	if err := l.beacons.Send(converge.AppendBeacon(nil, *l.keys.beacon.Load(), b)); err != nil && l.linkUp {
		l.log.Debug("send a beacon", "error", err)
	}
}

// onConflict is called by the responder's goroutine; the loop tells.
func (l *loop) onConflict(vip netip.Addr, mac net.HardwareAddr) {
	select {
	case l.conflicts <- conflict{vip, mac, time.Now()}:
	default: // the loop has enough of them
	}
}

// onForeignOwner tells of a claim once, as long as it lasts: a claim every ten seconds, of a
// host that is left running or of somebody who means it, would push all else out of the events.
func (l *loop) onForeignOwner(c conflict) error {
	was, known := l.foreign[c.vip]
	l.foreign[c.vip] = c
	if known && bytes.Equal(was.mac, c.mac) && c.seen.Sub(was.seen) < conflictFor {
		return nil
	}
	l.event(converge.Event{Kind: "conflict", Text: c.String()})
	return nil
}

func (c conflict) String() string {
	return fmt.Sprintf("%s claims the VIP %s: remove the address from that host", c.mac, c.vip)
}

// onLink reacts to the cable and to the interface itself. A new interface needs
// everything anew, which a restart does.
func (l *loop) onLink(e l2.LinkEvent, reporter *l2.Reporter) error {
	name := l.cfg.Member.Interface
	if e.Index != 0 && e.Index != l.ifindex {
		return fmt.Errorf("interface %s was recreated: restart nlbd to use the new one", name)
	}
	if !e.Present {
		return fmt.Errorf("interface %s was removed: restart nlbd when it is back", name)
	}
	if l.mac = e.MAC; l.agedMAC() != "" && !l.macTold {
		l.macTold = true
		l.event(converge.Event{Kind: "link", Text: l.agedMAC()})
	}
	if e.Up == l.linkUp {
		return nil
	}
	l.linkUp = e.Up
	if !e.Up {
		l.event(converge.Event{Kind: "link", Text: name + " lost its carrier"})
		return nil
	}
	l.event(converge.Event{Kind: "link", Text: name + " has carrier again"})
	if reporter != nil {
		if err := reporter.Report(); err != nil {
			l.log.Warn("report IGMP membership", "error", err)
		}
	}
	if l.active {
		l.announce = announcements{left: announceRounds, next: l.now.wall}
	}
	return nil
}

// agedMAC tells that answers leave with a MAC address that the interface has no more: a bond may
// take over that of another card. The engine is not made anew for it, which would cost connections.
func (l *loop) agedMAC() string {
	if l.mac == nil || bytes.Equal(l.mac, l.iface.MAC) || !bytes.Equal(l.id.sourceMAC, l.iface.MAC) {
		return ""
	}
	return fmt.Sprintf("%s has now the MAC address %s, and answers from VIPs still leave with %s: nlbctl drain --wait, then restart nlbd", l.iface.Name, l.mac, l.iface.MAC)
}
