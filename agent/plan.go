package agent

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/opennlb/opennlb/converge"
)

// errAnew ends the loop of a member that has to begin anew under the configuration in
// force: its cluster MAC, or its timing, is another.
var errAnew = errors.New("begin anew")

// anewAfter is how long a member waits before that, so that all have agreed on the
// configuration, and whoever asked for it has his answer.
const anewAfter = 500 * time.Millisecond

// anewPatience is for how long after that others may still be what they were.
const anewPatience = 20 * time.Second

// saveAgain is the pause before a full disk is tried again.
const saveAgain = 3 * time.Second

// followPlan notices that another configuration is in force.
func (l *loop) followPlan() error {
	p := l.machine.Plan()
	if p.Stamp() == l.cluster.plan.Stamp() {
		l.followIdentity()
		return nil
	}
	next, err := l.catalog.find(p)
	if err != nil {
		return fmt.Errorf("configuration %d, which was agreed on: %w", p.Version, err)
	}
	before := l.cluster
	l.cluster = next
	l.keep.follow(next.Rules)
	l.missing, l.nextLook, l.deserted = nil, time.Time{}, make([]bool, len(next.Rules))
	l.noticed = converge.Epoch{}
	l.nextSave = time.Time{}
	l.savePlan()
	l.compareFile()
	l.event(converge.Event{Kind: "config", Text: transition(before, next)})
	l.followIdentity()
	return nil
}

// followIdentity notices that the cluster has another MAC address or detection than this
// member has begun with.
func (l *loop) followIdentity() {
	sameMAC, member := bytes.Equal(l.cluster.mac, l.id.clusterMAC), l.machine.Committed() != nil
	switch {
	case !l.anew.IsZero(), sameMAC && !member, sameMAC && l.cluster.Detection == l.timing.preset:
		return
	case member:
		l.anew = l.now.wall.Add(anewAfter)
	default:
		l.anew = l.now.wall
	}
	l.event(converge.Event{Kind: "config", Text: "this member begins anew: the cluster MAC or the detection is another"})
}

// savePlan has the configuration in force written to the disk, beside the loop, and tries
// again for as long as the disk refuses it.
func (l *loop) savePlan() {
	select {
	case err := <-l.saving:
		l.saving, l.unsaved = nil, ""
		if err != nil {
			l.unsaved = fmt.Sprintf("a restart may forget the configuration in force: %v: make room in state_dir", err)
			l.log.Error(l.unsaved)
			l.nextSave = l.now.wall.Add(saveAgain)
		}
	default:
	}
	if l.saving == nil && !l.history.has(l.cluster.plan.Stamp()) && !l.now.wall.Before(l.nextSave) {
		l.saving = l.history.keep(l.cluster.plan)
	}
}

// beginsAnew reports whether it is time for that.
func (l *loop) beginsAnew() bool { return !l.anew.IsZero() && !l.now.wall.Before(l.anew) }

// compareFile notices that the section cluster of the member's file, which counts only
// before the members have agreed on any, is not what is in force.
func (l *loop) compareFile() {
	l.strays = ""
	changes := l.cluster.Changes(&l.cfg.Cluster)
	if len(changes) == 0 {
		return
	}
	l.strays = fmt.Sprintf("the section cluster of this member's file differs from configuration %d, which is in force, and does not count: %s: "+
		"nlbctl apply puts a file in force, nlbctl config prints what is", l.cluster.plan.Version, sum(changes))
	l.log.Warn(l.strays)
}

// transition says what another configuration changes.
func transition(before, next *cluster) string {
	text := fmt.Sprintf("configuration %d is in force (it was %d), by %s", next.plan.Version, before.plan.Version, next.By)
	if next.Note != "" {
		text += ", " + next.Note
	}
	if before.plan.Version == next.plan.Version {
		text += "; it was made on another side of a partition, and what was made here, by " + before.By + ", counts no more"
	}
	if changes := before.Changes(&next.Cluster); len(changes) > 0 {
		text += ": " + sum(changes)
	}
	return text
}

// sum tells changes in one line of bearable length.
func sum(changes []string) string {
	const few = 20
	if more := len(changes) - few; more > 0 {
		changes = append(changes[:few:few], fmt.Sprintf("and %d more", more))
	}
	return strings.Join(changes, "; ")
}

// followVIPs gives the host the VIPs of the configuration in force, which the data plane
// knows already, and takes the others away before the data plane forgets them.
func (l *loop) followVIPs() error {
	if slices.Equal(l.vips, l.cluster.VIPs) {
		return nil
	}
	for _, vip := range l.cluster.VIPs {
		if slices.Contains(l.vips, vip) {
			continue
		}
		if err := l.iface.AddVIP(vip); err != nil {
			return fmt.Errorf("configuration %d, which was agreed on: %w", l.cluster.plan.Version, err)
		}
		l.vips = append(l.vips, vip)
	}
	fewer := false
	for _, vip := range slices.Clone(l.vips) {
		if slices.Contains(l.cluster.VIPs, vip) {
			continue
		}
		if err := l.iface.RemoveVIP(vip); err != nil {
			return err
		}
		l.vips = slices.DeleteFunc(slices.Clone(l.vips), func(v netip.Addr) bool { return v == vip })
		delete(l.foreign, vip)
		fewer = true
	}
	l.vips = slices.Clone(l.cluster.VIPs) // the same, in order
	if err := l.responder.SetVIPs(l.vips); err != nil {
		return err
	}
	if l.active {
		l.announce = announcements{left: announceRounds, next: l.now.wall}
	}
	if fewer && l.installed != nil {
		return l.install(l.installed)
	}
	return nil
}

// removeVIPs takes all VIPs from the host.
func (l *loop) removeVIPs() error {
	var errs []error
	for _, vip := range l.vips {
		errs = append(errs, l.iface.RemoveVIP(vip))
	}
	return errors.Join(errs...)
}
