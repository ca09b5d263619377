package agent

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"

	"github.com/opennlb/opennlb/dataplane"
	"github.com/opennlb/opennlb/nlbhash"
	"github.com/opennlb/opennlb/portrules"
)

// askClients asks a member for all the clients that it answers.
type askClients struct{}

// clientList tells clients that the sender answers, in parts: those in buckets that it
// has lost to the receiver or, if All, every one.
type clientList struct {
	ID      uint64 `json:"id"`    // rises from list to list of a sender, see firstList
	Epoch   uint64 `json:"epoch"` // in force at the sender
	All     bool   `json:"all,omitempty"`
	Part    int    `json:"part"`
	Parts   int    `json:"parts"`
	Clients []byte `json:"clients"` // packed, see packClients
}

const (
	partClients = 2048 // in one message
	maxParts    = portrules.MaxClients / partClients
	packedSize  = 34 // bytes: hash, rule, bucket, milliseconds of silence, address, port
)

func packClients(clients []dataplane.Client) []byte {
	be := binary.BigEndian
	out := make([]byte, 0, len(clients)*packedSize)
	for _, c := range clients {
		addr := c.Addr.Addr().As16()
		out = be.AppendUint64(out, c.Key.Hash)
		out = be.AppendUint16(out, c.Key.Rule)
		out = be.AppendUint16(out, c.Key.Bucket)
		out = be.AppendUint32(out, uint32(c.Silent.Milliseconds()))
		out = append(out, addr[:]...)
		out = be.AppendUint16(out, c.Addr.Port())
	}
	return out
}

// unpackClients leaves out those of rules that this member does not have, or no more.
func unpackClients(b []byte, slots map[uint16]int) ([]dataplane.Client, error) {
	if len(b)%packedSize != 0 || len(b) > partClients*packedSize {
		return nil, fmt.Errorf("list of clients has %d bytes", len(b))
	}
	be := binary.BigEndian
	out := make([]dataplane.Client, 0, len(b)/packedSize)
	for ; len(b) > 0; b = b[packedSize:] {
		c := dataplane.Client{Key: portrules.ClientKey{Hash: be.Uint64(b), Rule: be.Uint16(b[8:]), Bucket: be.Uint16(b[10:])}}
		if c.Key.Bucket >= nlbhash.Buckets {
			return nil, fmt.Errorf("list of clients names bucket %d of %d", c.Key.Bucket, nlbhash.Buckets)
		}
		c.Silent = time.Duration(be.Uint32(b[12:])) * time.Millisecond
		c.Addr = netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[16:])).Unmap(), be.Uint16(b[32:]))
		if _, ok := slots[c.Key.Rule]; ok {
			out = append(out, c)
		}
	}
	return out, nil
}

// firstList is the ID that the lists of this start of the agent follow: above those of an
// earlier start, of which other members may hold one still.
func firstList(now time.Time) uint64 { return uint64(now.UnixMicro()) }

// roll is a list that has arrived from a member, or is arriving.
type roll struct {
	id, epoch uint64
	parts     map[int]bool // which have come
	want      int
	keys      map[portrules.ClientKey]bool
}

func (r *roll) complete() bool { return r != nil && len(r.parts) == r.want }

// add takes a part, and returns the roll that it belongs to: r or, where the part is of
// a later list, another. nil: it is of an earlier one, or makes no sense.
func (r *roll) add(c clientList, clients []dataplane.Client) *roll {
	if c.Parts < 1 || c.Parts > maxParts || c.Part < 0 || c.Part >= c.Parts || r != nil && c.ID < r.id {
		return nil
	}
	if r == nil || c.ID > r.id {
		r = &roll{id: c.ID, epoch: c.Epoch, want: c.Parts, parts: make(map[int]bool), keys: make(map[portrules.ClientKey]bool)}
	}
	if c.Parts != r.want {
		return nil
	}
	r.parts[c.Part] = true
	for _, o := range clients {
		r.keys[o.Key] = true
	}
	return r
}
