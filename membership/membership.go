package membership

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"
	"github.com/opennlb/opennlb/nlbhash"
)

// Options say who this member is and how it finds the others.
type Options struct {
	Cluster   string               // members of another cluster name are refused; 1 to 200 bytes
	Self      Peer                 // Instance must be random
	Port      uint16               // TCP and UDP, the same on all members; 0 = any free one
	Join      []netip.Addr         // where to look for members; own address is skipped
	Key       []byte               // KeySize bytes; nil = unencrypted and unauthenticated
	OtherKey  []byte               // what arrives may be encrypted with this one, too; nil = none
	Timing    Timing               // zero fields as in DefaultTiming
	Preset    string               // what others call Timing: cluster.detection; 0 to 16 letters a-z
	Transport memberlist.Transport // nil = UDP and TCP on Self.Address and Port; owned by the Membership
	Log       *slog.Logger         // nil = none

	// Healthy says whether this member may be counted alive; nil = always.
	// While it returns false the member neither hears nor says anything, so
	// that the others declare it dead, and Snapshots keeps the last one from
	// before. It is called for every packet once Start is done: it must be
	// quick, safe for concurrent use, and must not call the Membership.
	Healthy func() bool
}

// Membership is this member's part in the cluster, from Start to Leave or
// Shutdown. Its methods are safe for concurrent use.
type Membership struct {
	opts   Options
	timing Timing
	log    *slog.Logger
	every  *limiter
	list   *memberlist.Memberlist
	keys   *memberlist.Keyring // nil: not encrypted
	roster *roster
	count  counters
	room   int // bytes of a frame that fit a datagram

	entered atomic.Bool // Start is done
	usurper atomic.Bool // another member has this one's name, and keeps it

	inbox   chan Message
	refused chan error
	seq     atomic.Uint64

	historyMu sync.Mutex
	history   map[uint64]*history // by the sender's instance
	retired   map[uint64]uint64   // highest number received, by instance

	stopMu     sync.Mutex
	stopping   bool
	stopErr    error
	stopOnce   sync.Once
	flush      chan struct{} // closed: send what is queued, then end
	cancel     context.CancelFunc
	background sync.WaitGroup
	senders    sync.WaitGroup
}

// Start listens, joins the cluster through any of the join addresses, and
// returns once all members it can reach know this one. When nobody answers it
// is the first member, and goes on looking for others. ctx bounds Start only.
//
// Errors: ErrDuplicatePriority and ErrDuplicateName (both as *DuplicateError)
// when a live member has this one's priority or name; ErrWrongKey and
// ErrWrongCluster when all hosts that answered are not of this cluster;
// ErrWrongDetection when they may declare a member dead sooner or later than this one.
func Start(ctx context.Context, o Options) (*Membership, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	m := &Membership{
		opts:    o,
		timing:  o.Timing.withDefaults(),
		log:     o.Log,
		every:   newLimiter(time.Minute),
		inbox:   make(chan Message, inboxSize),
		refused: make(chan error, 1),
		history: make(map[uint64]*history),
		retired: make(map[uint64]uint64),
		flush:   make(chan struct{}),
	}
	if m.log == nil {
		m.log = slog.New(slog.DiscardHandler)
	}
	// An agent that is not running yet must not keep us from joining: we would
	// believe ourselves alone.
	m.opts.Healthy = func() bool { return o.Healthy == nil || !m.entered.Load() || o.Healthy() }
	if err := m.listen(); err != nil {
		return nil, err
	}
	background, cancel := context.WithCancel(context.Background())
	m.cancel = cancel
	if err := m.enter(ctx); err != nil {
		m.yield(err)
		return nil, errors.Join(err, m.Leave(time.Second))
	}

	// A member from now on, and so senior to whoever comes later.
	m.roster.setSince(uint64(time.Now().UnixMilli()))
	if err := m.list.UpdateNode(m.timing.GossipInterval); err != nil {
		m.log.Debug("announce seniority", "error", err) // the state exchange will
	}
	m.roster.hold(false)
	m.entered.Store(true)
	m.background.Go(func() { m.judge(background) })
	m.background.Go(func() { m.rejoin(background) })
	m.background.Go(func() { m.watchHealth(background) })
	return m, nil
}

func (o *Options) validate() error {
	switch {
	case o.Cluster == "" || len(o.Cluster) > 200:
		return fmt.Errorf("cluster name has %d bytes: set cluster.name to 1 to 200", len(o.Cluster))
	case o.Self.Name == "" || len(o.Self.Name) > MaxName:
		return fmt.Errorf("member name has %d bytes: set member.name to 1 to %d", len(o.Self.Name), MaxName)
	case o.Self.Priority < 1 || o.Self.Priority > nlbhash.MaxPriority:
		return fmt.Errorf("priority is %d: set member.priority to 1 to %d", o.Self.Priority, nlbhash.MaxPriority)
	case !o.Self.Address.IsValid() || o.Self.Address.IsUnspecified() || o.Self.Address.Zone() != "":
		return fmt.Errorf("address %q cannot be announced to others: set member.address", o.Self.Address)
	case o.Key != nil && len(o.Key) != KeySize:
		return wrongSize(o.Key)
	case o.OtherKey != nil && (o.Key == nil || len(o.OtherKey) != KeySize):
		return wrongSize(o.OtherKey)
	case !isPreset(o.Preset):
		return fmt.Errorf("detection %q is not a preset: set cluster.detection to one", o.Preset)
	case o.Transport != nil && o.Port == 0:
		return errors.New("a transport needs a port")
	}
	o.Self.Address = o.Self.Address.Unmap()
	return nil
}

// listen starts memberlist, not joined to anyone.
func (m *Membership) listen() error {
	bridge := newLogBridge(m.log, m.every, &m.count)
	logger := log.New(bridge, "", 0)
	transport, port := m.opts.Transport, m.opts.Port
	if transport == nil {
		s, err := openSocket(netip.AddrPortFrom(m.opts.Self.Address, port), logger)
		if err != nil {
			return fmt.Errorf("listen for members (is another nlbd running here? see membership.port): %w", err)
		}
		transport, port = s, s.port()
	}
	keyring, err := newKeyring(m.opts.Key, m.opts.OtherKey)
	if err != nil {
		return errors.Join(fmt.Errorf("start membership: %w", err), transport.Shutdown())
	}
	m.keys = keyring
	m.roster = newRoster(claim{
		Peer: m.opts.Self, port: port, since: joining,
		detection: detection{preset: m.opts.Preset, death: uint32(m.timing.EarliestDeath(1).Milliseconds())},
	}, &m.count)
	m.roster.held = true
	guard := newGuard(transport, m.opts.Healthy, m.roster.at, m.timing.StreamTimeout, &m.count)

	c := memberlist.DefaultLANConfig()
	m.timing.apply(c)
	c.Name = m.opts.Self.Name
	c.Label = m.opts.Cluster
	c.Keyring = keyring
	c.Transport = guard
	c.BindAddr, c.BindPort = m.opts.Self.Address.String(), int(port)
	c.AdvertiseAddr, c.AdvertisePort = c.BindAddr, c.BindPort
	c.UDPBufferSize = maxPacket
	c.EnableCompression = false // small messages, and time counts
	c.Logger = logger
	c.Delegate = delegate{m}
	c.Events = delegate{m}
	c.Alive = delegate{m}
	c.Merge = delegate{m}
	c.DelegateProtocolMin, c.DelegateProtocolMax, c.DelegateProtocolVersion = 1, 1, 1

	// What memberlist adds to a frame: label header, user message type,
	// checksum, and encryption version, nonce and tag (security.go).
	m.room = maxPacket - (2 + len(m.opts.Cluster)) - 1 - 5
	if m.opts.Key != nil {
		m.room -= 1 + 12 + 16
	}
	list, err := memberlist.Create(c)
	if err != nil {
		return errors.Join(fmt.Errorf("start membership: %w", err), guard.Shutdown())
	}
	m.list = list
	m.outdate(guard, bridge.defended)
	return nil
}

// Snapshots yields the live members whenever they change. A snapshot that was
// not read is replaced by the next.
func (m *Membership) Snapshots() <-chan Snapshot { return m.roster.snapshots }

// Messages yields what other members sent to this one. When nobody reads, at
// most 256 wait and further ones are dropped and counted.
func (m *Membership) Messages() <-chan Message { return m.inbox }

// Refused yields at most one error, a *DuplicateError: this member met another
// of the same name or priority that was a member before it, as happens when
// two clusters that grew apart meet. The owner must Leave.
func (m *Membership) Refused() <-chan error { return m.refused }

// Alone reports whether no other member is known to be alive.
func (m *Membership) Alone() bool { return m.roster.alone() }

// Port is the port that this member listens on.
func (m *Membership) Port() uint16 { return m.roster.me().port }

// Stats reads the counters.
func (m *Membership) Stats() Stats { return m.count.read() }

// Send queues data for a live peer and returns at once. It may be lost, at the
// latest with the peer; what is dropped here is counted. Reliable messages
// take a TCP connection, others a datagram of up to 1200 bytes; what does not
// fit one is sent reliably. data is copied, and has at most MaxReliable bytes.
func (m *Membership) Send(to string, data []byte, reliable bool) {
	if len(data) > MaxReliable {
		m.count.tooLarge.Add(1)
		if m.every.allow("too large") {
			m.log.Error("message not sent: it is larger than members take", "to", to, "bytes", len(data), "limit", MaxReliable)
		}
		return
	}
	c, o, ok := m.roster.find(to)
	if !ok {
		m.count.noSuchPeer.Add(1)
		return
	}
	f := frame{
		kind:     kindMessage,
		to:       c.Instance,
		instance: m.opts.Self.Instance,
		seq:      m.seq.Add(1),
		from:     m.opts.Self.Name,
		data:     data,
	}
	b := f.encode()
	if !o.put(b, reliable || len(b) > m.room) {
		m.count.outboxFull.Add(1)
	}
}

// Outrun numbers what is sent from now on above all that this process may have sent in a past
// that it knows nothing of: a virtual machine that was set back to a snapshot of its memory
// numbers messages as before, and the others would take them for replays for as long as
// that past was.
func (m *Membership) Outrun() {
	now := uint64(time.Now().UnixMicro())
	for {
		sent := m.seq.Load()
		if sent >= now || m.seq.CompareAndSwap(sent, now) {
			return
		}
	}
}

// watchHealth keeps a member that was cut off from believing itself alone:
// snapshots wait until it has looked for the others again.
func (m *Membership) watchHealth(ctx context.Context) {
	tick := time.NewTicker(4 * m.timing.GossipInterval) // soon enough: others are not declared dead sooner
	defer tick.Stop()
	healthy := true
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if m.opts.Healthy() == healthy {
			continue
		}
		if healthy = !healthy; !healthy {
			m.roster.hold(true)
			m.log.Warn("this member is not healthy and keeps silent until it is")
			continue
		}
		m.lookAround(ctx)
		select {
		case <-ctx.Done():
			return
		case <-time.After(4 * m.timing.GossipInterval): // for the objections to arrive
		}
		if m.opts.Healthy() {
			m.roster.hold(false)
			m.log.Info("this member is healthy again")
		} else {
			healthy = false
		}
	}
}
