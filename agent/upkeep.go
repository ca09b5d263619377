package agent

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/opennlb/opennlb/converge"
	"github.com/opennlb/opennlb/l2"
)

// upkeepEvery is how soon it is noticed that somebody took away what nlbd put on the host:
// `systemctl restart networking` takes lo down, and with it its IPv6 addresses.
const upkeepEvery = time.Second

// upkeep is what a look at the host found.
type upkeep struct {
	vips    []netip.Addr // not on lo, or on another interface as well
	deaf    bool         // the interface does not accept the cluster MAC
	address bool         // the dedicated IP is there
}

// lookAtHost starts a look, beside the loop: the kernel may be busy with interfaces for long.
func (l *loop) lookAtHost() {
	if l.inspecting || l.now.wall.Before(l.nextInspection) {
		return
	}
	l.inspecting, l.nextInspection = true, l.now.wall.Add(upkeepEvery)
	name, own, vips, mac := l.iface.Name, l.cfg.Member.Address, slices.Clone(l.vips), l.id.clusterMAC
	if !l.listed {
		mac = nil
	}
	go func() {
		found, err := inspect(name, own, vips, mac)
		if err != nil { // most likely the interface is gone, which is told elsewhere
			l.log.Debug("look at the host", "error", err)
			found = upkeep{address: true}
		}
		l.inspected <- found // has room for the only look under way
	}()
}

// inspect opens a handle of its own, since that of the loop is not for two goroutines.
func inspect(name string, own netip.Addr, vips []netip.Addr, mac net.HardwareAddr) (upkeep, error) {
	iface, err := l2.OpenLeftovers(name)
	if err != nil {
		return upkeep{}, err
	}
	defer iface.Close()
	var found upkeep
	if found.vips, err = iface.LostVIPs(vips); err != nil {
		return upkeep{}, err
	}
	if mac != nil {
		accepted, err := iface.ListsMAC(mac)
		if err != nil {
			return upkeep{}, err
		}
		found.deaf = !accepted
	}
	addrs, err := net.InterfaceAddrs()
	found.address = slices.ContainsFunc(addrs, func(a net.Addr) bool { return holds(a, own) })
	return found, err
}

// onUpkeep puts back what is missing. Without it this member would go on to be the one that
// answers its share of the clients, and answer nobody.
func (l *loop) onUpkeep(found upkeep) error {
	l.inspecting = false
	var spoilt []string
	for _, vip := range found.vips {
		if !slices.Contains(l.vips, vip) {
			continue // taken away by a change of the configuration
		}
		if err := l.iface.AddVIP(vip); err != nil {
			spoilt = append(spoilt, fmt.Sprintf("clients of VIP %s may get no answer from this member: %v", vip, err))
			continue
		}
		l.event(converge.Event{Kind: "link", Text: fmt.Sprintf("VIP %s was taken from lo, and is put back: look for what else manages its addresses", vip)})
	}
	if found.deaf {
		if err := l.iface.AddMAC(l.id.clusterMAC); err != nil {
			spoilt = append(spoilt, fmt.Sprintf("no client is heard: %v", err))
		} else {
			l.event(converge.Event{Kind: "link", Text: fmt.Sprintf("%s had lost the cluster MAC %s, and accepts it again: look for what else manages its addresses", l.iface.Name, l.id.clusterMAC)})
		}
	}
	if !found.address {
		spoilt = append(spoilt, fmt.Sprintf("member.address %s is not an address of this host any more, so the other members do not hear it: give it back to %s, or change member.address and restart nlbd",
			l.cfg.Member.Address, l.iface.Name))
	}
	for _, what := range spoilt {
		if !slices.Contains(l.spoilt, what) {
			l.log.Warn(what)
		}
	}
	l.spoilt = spoilt
	return nil
}
