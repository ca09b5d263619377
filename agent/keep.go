package agent

import (
	"slices"
	"time"

	"github.com/opennlb/opennlb/converge"
	"github.com/opennlb/opennlb/dataplane"
	"github.com/opennlb/opennlb/portrules"
)

const (
	askEvery   = 300 * time.Millisecond // until all have told their clients
	tellFirst  = 50 * time.Millisecond  // after a change
	tellAgain  = time.Second            // while this member keeps clients in buckets of others;
	tellRare   = 8 * time.Second        // each time twice as long, up to this
	watchEvery = 10 * time.Second       // at the table, for how full it is
	keepSlack  = 100 * time.Millisecond // by which clocks of agent and data plane may differ
)

// keeping is this member's part in keeping clients on their member, see
// docs/CONVERGENCE.md. It is touched by the loop alone.
type keeping struct {
	rules []time.Duration // how long each keeps a silent client; 0: not at all
	slot  map[uint16]int  // of each rule, by ID
	some  bool            // of them do

	since   time.Time // has heard all clients; zero: is in no view
	nextAsk time.Time

	told   map[string]*roll // all the clients of others, by member
	claims map[string]*roll // those that they keep in buckets of this member
	asked  map[string]bool  // members that wait for this one's list

	reading    bool // the table
	refine     bool // claims have come since it was read
	epoch      uint64
	nextTell   time.Time
	tellPause  time.Duration // after that
	nextLook   time.Time
	listID     uint64
	remembered int // in the table, at the last look
}

// table is what the data plane remembered at one moment.
type table struct {
	epoch   uint64
	clients []dataplane.Client
	err     error
}

func newKeeping(rules []portrules.Rule) keeping {
	k := keeping{listID: firstList(time.Now())}
	k.follow(rules)
	k.forget()
	return k
}

// follow takes over the rules of another configuration. What is known of clients stays:
// it goes by the rules' IDs.
func (k *keeping) follow(rules []portrules.Rule) {
	k.rules, k.slot, k.some = make([]time.Duration, len(rules)), make(map[uint16]int), false
	for i := range rules {
		k.slot[rules[i].ID] = i
		k.rules[i] = keepTime(&rules[i])
		k.some = k.some || k.rules[i] > 0
	}
}

func (k *keeping) forget() {
	k.since, k.nextAsk, k.epoch = time.Time{}, time.Time{}, 0
	k.told, k.claims, k.asked = make(map[string]*roll), make(map[string]*roll), make(map[string]bool)
}

// keeps reports whether a client of this member stays with it.
func (k *keeping) keeps(c dataplane.Client) bool {
	slot, ok := k.slot[c.Key.Rule]
	return ok && c.Mine && c.Silent < k.rules[slot]+keepSlack
}

// awaits reports whether a member of a view does not take its part in a rule yet.
func (k *keeping) awaits(a *converge.Assignment, rule int) bool {
	return k.rules[rule] > 0 && slices.ContainsFunc(a.Members, k.withholds)
}

// withholds reports whether a member of a view does not know all clients yet, and so has
// answered none since it came into the view.
func (k *keeping) withholds(m converge.Info) bool { return k.some && m.Newcomer }

// converged reports whether the members agree, and each takes the part that it is meant to.
func (l *loop) converged() bool {
	return l.machine.Converged() && !slices.ContainsFunc(l.machine.Committed().Members, l.keep.withholds)
}

// informed reports whether this member knows the clients of the others, and so may answer
// clients that it does not know.
func (l *loop) informed() bool { return !l.machine.Self().Newcomer }

// followView notices who is in the view, and that this member is in none any more: it does
// not hear all clients then, and others may answer its own. The machine has withheld the shares.
func (l *loop) followView() error {
	k, a := &l.keep, l.machine.Committed()
	switch {
	case a != nil && !k.some:
		return nil
	case a != nil:
		if k.since.IsZero() {
			k.since = l.now.wall
		}
		if !l.informed() {
			k.meet(a)
		}
		return nil
	case k.since.IsZero():
		return nil
	}
	k.forget()
	return l.engine.ForgetClients()
}

// keepStep does what is due about clients that stay.
func (l *loop) keepStep() error {
	k, a := &l.keep, l.machine.Committed()
	if !k.some || a == nil {
		return nil
	}
	if k.epoch != a.Epoch.N {
		k.epoch, k.nextTell, k.tellPause = a.Epoch.N, l.now.wall.Add(tellFirst), tellAgain
		k.refine = true // claims may have come before the epoch
	}
	l.readClients(a)
	if l.informed() {
		return nil
	}
	missing := l.untold(a)
	if len(missing) > 0 && l.now.wall.Sub(k.since) < slices.Max(k.rules)+portrules.KeepGuard {
		if !l.now.wall.Before(k.nextAsk) {
			k.nextAsk = l.now.wall.Add(askEvery)
			for _, name := range missing {
				l.send(name, wire{AskClients: &askClients{}})
			}
		}
		return nil
	}
	k.told = make(map[string]*roll)
	return l.apply(l.machine.SetInformed(l.now.wall))
}

// untold lists the members of a view that may answer clients and have not told them.
func (l *loop) untold(a *converge.Assignment) (names []string) {
	for _, m := range a.Members {
		if m.Name != l.cfg.Member.Name && (m.State == converge.Started || m.State == converge.Draining) && !l.keep.told[m.Name].complete() {
			names = append(names, m.Name)
		}
	}
	return names
}

// meet notes who is a newcomer beside this one: it has answered nobody, and whom it answers
// from the next epoch on, this member hears.
func (k *keeping) meet(a *converge.Assignment) {
	for _, m := range a.Members {
		if k.told[m.Name] == nil && k.withholds(m) {
			k.told[m.Name] = &roll{}
		}
	}
}

// readClients begins to read the table where somebody waits for it. There may be many
// clients, so it goes on beside the loop.
func (l *loop) readClients(a *converge.Assignment) {
	k := &l.keep
	tell := l.machine.Holding() > 0 && !l.now.wall.Before(k.nextTell)
	look := !l.now.wall.Before(k.nextLook)
	if k.reading || !tell && !look && !k.refine && len(k.asked) == 0 {
		return
	}
	k.reading = true
	if tell {
		k.nextTell, k.tellPause = l.now.wall.Add(k.tellPause), min(2*k.tellPause, tellRare)
	}
	k.nextLook = l.now.wall.Add(watchEvery)
	go func() {
		clients, err := l.engine.Clients()
		l.read <- table{a.Epoch.N, clients, err} // has room for the only one under way
	}()
}

// onTable answers who waits for the table: members that asked, owners of buckets in which
// this member keeps clients, and this member's own data plane.
func (l *loop) onTable(t table) error {
	k, a := &l.keep, l.machine.Committed()
	k.reading = false
	if t.err != nil {
		l.log.Warn("read the table of clients", "error", t.err)
		return nil
	}
	k.remembered = len(t.clients)
	if a == nil || a.Epoch.N != t.epoch {
		return nil // of another time
	}
	mine := slices.DeleteFunc(slices.Clone(t.clients), func(c dataplane.Client) bool { return !k.keeps(c) })
	for name := range k.asked {
		l.sendClients(name, mine, true)
	}
	clear(k.asked)
	if l.machine.Holding() > 0 {
		l.claim(a, mine)
	}
	if !k.refine {
		return nil
	}
	k.refine = false
	return l.engine.Forget(l.nobodys(a, t.clients))
}

// claim tells each owner which clients this member keeps in its buckets.
func (l *loop) claim(a *converge.Assignment, mine []dataplane.Client) {
	lists := make(map[uint8][]dataplane.Client)
	for _, c := range mine {
		owner := a.Slot(l.keep.slot[c.Key.Rule]).Owner[c.Key.Bucket]
		lists[owner] = append(lists[owner], c)
	}
	for _, m := range a.Members {
		if m.Name != l.cfg.Member.Name {
			l.sendClients(m.Name, lists[m.Priority], false)
		}
	}
}

// nobodys lists clients that this member leaves alone, in buckets of its own, although
// none of those who keep clients there claims them: their packets came while the bucket
// was between two owners, or their member is gone.
func (l *loop) nobodys(a *converge.Assignment, clients []dataplane.Client) (keys []portrules.ClientKey) {
	self := l.cfg.Member.Priority
	for _, c := range clients {
		slot, ok := l.keep.slot[c.Key.Rule]
		if c.Mine || !ok {
			continue
		}
		t, bucket := a.Slot(slot), int(c.Key.Bucket)
		if t.Owner[bucket] == self && !slices.ContainsFunc(t.Held, func(h converge.Holding) bool {
			return h.Priority != self && h.Buckets.Has(bucket) && l.mayClaim(a, h.Priority, c.Key)
		}) {
			keys = append(keys, c.Key)
		}
	}
	return keys
}

// mayClaim reports whether a member keeps a client, for all that is known.
func (l *loop) mayClaim(a *converge.Assignment, priority uint8, key portrules.ClientKey) bool {
	r := l.keep.claims[nameOf(a, priority)]
	return !r.complete() || r.epoch != a.Epoch.N || r.keys[key]
}

func (l *loop) sendClients(to string, clients []dataplane.Client, all bool) {
	a := l.machine.Committed()
	l.keep.listID++
	list := clientList{ID: l.keep.listID, Epoch: a.Epoch.N, All: all}
	clients = clients[:min(len(clients), maxParts*partClients)]
	list.Parts = max(1, (len(clients)+partClients-1)/partClients)
	for list.Part = range list.Parts {
		n := min(partClients, len(clients))
		list.Clients, clients = packClients(clients[:n]), clients[n:]
		l.send(to, wire{Clients: &list})
	}
}

// onClients takes a part of another member's list.
func (l *loop) onClients(from string, c clientList) error {
	clients, err := unpackClients(c.Clients, l.keep.slot)
	if err != nil {
		l.log.Warn("drop a list of clients: do all members run the same version?", "from", from, "error", err)
		return nil
	}
	lists := l.keep.claims
	if c.All {
		lists = l.keep.told
		if err := l.engine.Learn(clients); err != nil {
			return err
		}
	}
	if r := lists[from].add(c, clients); r != nil {
		lists[from] = r
		l.keep.refine = l.keep.refine || !c.All && r.complete()
	}
	return nil
}
