package membership

import (
	"cmp"
	"net/netip"
	"slices"
)

// Peer is one live member.
type Peer struct {
	Name     string     // unique in the cluster, 1 to MaxName bytes
	Priority uint8      // unique in the cluster, 1 to 32
	Instance uint64     // random per process start: a changed value means a restart
	Address  netip.Addr // the address its membership listens on
}

// Snapshot is the set of live members, sorted by priority; it always includes
// this member. It is never changed after it was handed out.
type Snapshot []Peer

func (s Snapshot) sort() {
	slices.SortFunc(s, func(a, b Peer) int {
		return cmp.Or(cmp.Compare(a.Priority, b.Priority), cmp.Compare(a.Name, b.Name))
	})
}

// Message is what another member passed to Send.
type Message struct {
	From     string // name of the sender
	Instance uint64 // the sending process
	Data     []byte // owned by the receiver
}

// Limits on what is sent and accepted.
const (
	MaxName      = 64      // bytes in a member's name
	MaxReliable  = 2 << 20 // bytes in one message
	maxPacket    = 1200    // bytes in one UDP datagram, encrypted: fits IPv6's minimum MTU of 1280
	inboxSize    = 256     // messages received and not yet read
	outboxSize   = 64      // messages per peer and kind waiting to be sent
	outboxBytes  = 8 << 20 // bytes of reliable messages per peer waiting to be sent
	maxStreams   = 64      // concurrent inbound connections from live members
	maxStrangers = 48      // and from elsewhere
	maxEach      = 16      // of these from one address
	maxStreamLen = 4 << 20 // bytes read from one connection
	maxStateLen  = 1 << 18 // of a stranger, who has but a state to tell: some KiB
	maxSeen      = 64      // addresses of former members that are tried again; processes whose messages are known one by one
	maxRetired   = 4096    // processes of which the highest number is known
)
