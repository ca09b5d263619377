package membership

import (
	"encoding/binary"
	"errors"
)

// A frame is one user message of memberlist.
//
//	0      version, 1
//	1      kind
//	2..9   instance of the receiver, big endian; 0 in a notice
//	10..17 instance of the sender, big endian
//	18..25 sequence number, big endian, from 1 per sending process
//	26     length of the sender's name, 1 to MaxName
//	27..   name, then data
type frame struct {
	kind         byte
	to, instance uint64
	seq          uint64
	from         string
	data         []byte
}

const (
	frameVersion = 1
	frameHeader  = 27

	kindMessage byte = 1
	kindNotice  byte = 2 // data is an encoded claim: "you are this member's junior rival"
)

var errFrame = errors.New("malformed frame")

func (f frame) encode() []byte {
	b := make([]byte, 0, frameHeader+len(f.from)+len(f.data))
	b = append(b, frameVersion, f.kind)
	b = binary.BigEndian.AppendUint64(b, f.to)
	b = binary.BigEndian.AppendUint64(b, f.instance)
	b = binary.BigEndian.AppendUint64(b, f.seq)
	b = append(b, byte(len(f.from)))
	b = append(b, f.from...)
	return append(b, f.data...)
}

// decodeFrame shares b with the frame it returns.
func decodeFrame(b []byte) (frame, error) {
	if len(b) < frameHeader || b[0] != frameVersion {
		return frame{}, errFrame
	}
	n := int(b[26])
	if n < 1 || n > MaxName || len(b) < frameHeader+n {
		return frame{}, errFrame
	}
	return frame{
		kind:     b[1],
		to:       binary.BigEndian.Uint64(b[2:]),
		instance: binary.BigEndian.Uint64(b[10:]),
		seq:      binary.BigEndian.Uint64(b[18:]),
		from:     string(b[frameHeader : frameHeader+n]),
		data:     b[frameHeader+n:],
	}, nil
}

// A notice's data is the winner's claim: port, address length, address,
// name length, name, metadata.
func (c claim) encode() []byte {
	addr := c.Address.AsSlice()
	b := binary.BigEndian.AppendUint16(nil, c.port)
	b = append(append(b, byte(len(addr))), addr...)
	b = append(append(b, byte(len(c.Name))), c.Name...)
	return append(b, c.metadata()...)
}
