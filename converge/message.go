package converge

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
)

// Message is one protocol message; exactly one of the pointers is set.
type Message struct {
	From     Peer        `json:"from"`
	Info     *InfoMsg    `json:"info,omitempty"`
	Prepare  *Assignment `json:"prepare,omitempty"` // asks for the promise to follow no epoch below this one
	Prepared *Prepared   `json:"prepared,omitempty"`
	Release  *Release    `json:"release,omitempty"`
	Released *Release    `json:"released,omitempty"` // done
	Reject   *Reject     `json:"reject,omitempty"`
	Announce *Announce   `json:"announce,omitempty"`
	Held     *Held       `json:"held,omitempty"`
}

// InfoMsg tells what a member wants the view to say about it.
type InfoMsg struct {
	Info  Info   `json:"info"`
	Stamp Stamp  `json:"config"`         // of the plan in force, or the last known
	Plan  *Plan  `json:"plan,omitempty"` // that one, for who has an earlier one
	View  Epoch  `json:"view"`           // last committed epoch; zero: in no view
	Seen  uint64 `json:"promised"`       // highest epoch number seen
}

// Prepared is the promise. Extra lists what the member still holds and the
// assignment does not know of.
type Prepared struct {
	Epoch Epoch   `json:"epoch"`
	Gives bool    `json:"gives,omitempty"` // takes new flows in what it loses, until it is asked to release that
	Extra []Extra `json:"extra,omitempty"`
}

// Release asks a member that has promised to take no new flows in what it loses.
type Release struct {
	Epoch Epoch `json:"epoch"`
}

// Extra is a set of buckets of one slot.
type Extra struct {
	Slot    int    `json:"slot"`
	Buckets Bitmap `json:"buckets"`
}

// Reject answers a Prepare that came too late or knows too little.
type Reject struct {
	Epoch     Epoch       `json:"epoch"` // the one refused
	Seen      uint64      `json:"seen"`
	Reason    string      `json:"reason"`
	Refusal   string      `json:"refusal,omitempty"`   // why the sender cannot take its plan
	Committed *Assignment `json:"committed,omitempty"` // if later than the base of the one refused
	Plan      *Plan       `json:"plan,omitempty"`      // if later than that of the one refused
}

// Announce tells that an epoch is committed; it is the coordinator's heartbeat.
type Announce struct {
	Epoch Epoch  `json:"epoch"`
	View  uint32 `json:"view"` // priority p is bit p-1
	Stamp Stamp  `json:"config"`

	HeldBack []Hold `json:"held_back,omitempty"` // alive, and not let in
}

// Held replaces what the sender still holds under this epoch, one set per table.
type Held struct {
	Epoch  Epoch    `json:"epoch"`
	Tables []Bitmap `json:"tables"`
}

// Envelope is a message and where it goes.
type Envelope struct {
	To      Peer
	Message Message
}

// Reliable reports whether the message is too large, or too costly to lose, for
// a datagram. All others are repeated by the protocol. Held is, and it is often small;
// as everybody tells everybody, a connection for each costs more than it is worth.
func (m *Message) Reliable() bool {
	return m.Prepare != nil || m.Info != nil && m.Info.Plan != nil || m.Reject != nil || m.Prepared != nil && m.Prepared.Extra != nil
}

// Encode renders the message for the wire.
func (m *Message) Encode() ([]byte, error) { return json.Marshal(m) }

// Decode reads a message from the wire. What it says is checked by the Machine.
func Decode(data []byte) (Message, error) {
	var m Message
	if err := json.Unmarshal(data, &m); err != nil {
		return Message{}, fmt.Errorf("decode converge message: %w", err)
	}
	return m, nil
}

func encode(b []byte) []byte {
	return base64.StdEncoding.AppendEncode(nil, b)
}

func decode(dst, text []byte) error {
	if base64.StdEncoding.DecodedLen(len(text))-2 > len(dst) {
		return fmt.Errorf("decode %d bytes: want %d", len(text), len(dst))
	}
	b, err := base64.StdEncoding.AppendDecode(nil, text)
	if err != nil {
		return err
	}
	if len(b) != len(dst) {
		return fmt.Errorf("decode %d bytes: want %d", len(b), len(dst))
	}
	copy(dst, b)
	return nil
}
