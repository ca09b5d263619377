package membership

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"math"
	"net"
	"time"

	"github.com/hashicorp/memberlist"
)

// memberlist numbers what is said about a member by its incarnation, and a lower number
// changes nothing. But each process begins at 1: a recorded "it has left" of an earlier
// one would be believed again once nobody remembers that one's number. So a process
// begins at the second of its start. memberlist has no setting for it; a member that is
// accused under a number defends itself under the next one, so it is accused by itself.

// outdate makes everything that was recorded about earlier processes of this member too
// old to count, before anybody hears of this one. A clock that was set back costs
// nothing but this protection.
func (m *Membership) outdate(g *guard, defended <-chan struct{}) {
	g.inject(m.accusation(time.Now()))
	select {
	case <-defended:
	case <-time.After(time.Second):
		m.log.Warn("recorded membership messages of earlier processes may be believed: this version of memberlist does not answer as expected")
	}
}

// accusation is the packet by which this member suspects itself, under a number made of now.
func (m *Membership) accusation(now time.Time) *memberlist.Packet {
	self := m.roster.me()
	incarnation := uint32(min(max(now.Unix(), 1), math.MaxUint32/16*15))
	b := suspicion(self.Name, incarnation)
	if m.keys != nil {
		b = seal(m.keys.GetPrimaryKey(), b, m.opts.Cluster)
	}
	b, err := memberlist.AddLabelHeaderToPacket(b, m.opts.Cluster)
	if err != nil {
		panic(err) // the cluster's name is too long for a label, which validate excludes
	}
	return &memberlist.Packet{Buf: b, From: net.UDPAddrFromAddrPort(self.endpoint()), Timestamp: now}
}

// suspicion encodes memberlist's message "suspect" (net.go, v0.7.0): its type, then a
// map in MessagePack.
func suspicion(name string, incarnation uint32) []byte {
	text := func(b []byte, s string) []byte {
		b = append(b, 0xda) // raw 16
		b = binary.BigEndian.AppendUint16(b, uint16(len(s)))
		return append(b, s...)
	}
	b := []byte{3, 0x83} // suspectMsg; a map of three
	b = append(text(b, "Incarnation"), 0xce)
	b = binary.BigEndian.AppendUint32(b, incarnation)
	b = text(text(b, "Node"), name)
	return text(text(b, "From"), name)
}

// seal encrypts as memberlist does (security.go, v0.7.0): version 1, nonce, AES-GCM
// with the label as additional data.
func seal(key, text []byte, label string) []byte {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err) // the key has another size, which the keyring excludes
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		panic(err) // AES has blocks of 16 bytes
	}
	nonce := make([]byte, gcm.NonceSize())
	rand.Read(nonce)
	return gcm.Seal(append([]byte{1}, nonce...), nonce, text, []byte(label))
}
