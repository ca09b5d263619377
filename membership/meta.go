package membership

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/netip"

	"github.com/hashicorp/memberlist"
	"github.com/opennlb/opennlb/nlbhash"
)

// claim is a member's say about itself: who it is, and since when.
type claim struct {
	Peer
	port      uint16
	since     uint64 // Unix time in ms at which it became a member; joining while it is not one yet
	detection detection
}

// joining makes a claim junior to that of every member.
const joining = math.MaxUint64

// Metadata travels with every announcement of a member.
//
//	0      version, 2
//	1      priority
//	2..9   instance, big endian
//	10..17 since, big endian
//	18..21 detection: milliseconds until it may declare a member dead, big endian
//	22     length of the preset's name, 0 to maxPreset
//	23..   that name, a-z
//	..     left to later versions that can do without; ignored
const (
	metaVersion = 2
	metaSize    = 23 // without the name
	maxMeta     = 64
)

func (c claim) metadata() []byte {
	b := make([]byte, 0, metaSize+len(c.detection.preset))
	b = append(b, metaVersion, c.Priority)
	b = binary.BigEndian.AppendUint64(b, c.Instance)
	b = binary.BigEndian.AppendUint64(b, c.since)
	return c.detection.append(b)
}

// parseClaim decodes what memberlist knows of a node. Every field comes from
// the network.
func parseClaim(n *memberlist.Node) (claim, error) {
	if n.Name == "" || len(n.Name) > MaxName {
		return claim{}, fmt.Errorf("name has %d bytes, not 1 to %d", len(n.Name), MaxName)
	}
	addr, ok := netip.AddrFromSlice(n.Addr)
	if !ok || n.Port == 0 {
		return claim{}, errors.New("no usable address")
	}
	c := claim{port: n.Port}
	c.Name, c.Address = n.Name, addr.Unmap()
	return c, c.parseMetadata(n.Meta)
}

func (c *claim) parseMetadata(b []byte) error {
	if len(b) > 0 && b[0] != metaVersion {
		return fmt.Errorf("metadata has version %d, this nlbd knows %d: upgrade the older one", b[0], metaVersion)
	}
	if len(b) < metaSize || len(b) > maxMeta {
		return fmt.Errorf("metadata has %d bytes, not %d to %d", len(b), metaSize, maxMeta)
	}
	if b[1] < 1 || b[1] > nlbhash.MaxPriority {
		return fmt.Errorf("priority is %d, not 1 to %d", b[1], nlbhash.MaxPriority)
	}
	c.Priority = b[1]
	c.Instance = binary.BigEndian.Uint64(b[2:])
	c.since = binary.BigEndian.Uint64(b[10:])
	return c.detection.parse(b[18:])
}

// endpoint is where the member listens.
func (c claim) endpoint() netip.AddrPort {
	return netip.AddrPortFrom(c.Address, c.port)
}

// rivals reports whether the two cannot both be members. Two claims of one
// name on one endpoint are successive processes of one member.
func (c claim) rivals(o claim) bool {
	if c.Name == o.Name {
		return c.endpoint() != o.endpoint()
	}
	return c.Priority == o.Priority
}

// senior reports whether c prevails over its rival o: whoever has been a
// member for longer, and if that says nothing the earlier name and address.
// The rule is the same on all members, and a clock that is wrong can only
// decide between two clusters that grew apart, never for a newcomer.
func (c claim) senior(o claim) bool {
	if c.since != o.since {
		return c.since < o.since
	}
	if c.Name != o.Name {
		return c.Name < o.Name
	}
	return c.endpoint().Compare(o.endpoint()) < 0
}
