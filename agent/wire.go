package agent

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/opennlb/opennlb/control"
	"github.com/opennlb/opennlb/converge"
	"github.com/opennlb/opennlb/membership"
)

// wire is what agents send each other; exactly one field is set.
type wire struct {
	Converge *converge.Message `json:"converge,omitempty"`
	Command  *command          `json:"command,omitempty"`
	Reply    *reply            `json:"reply,omitempty"`
	Report   *report           `json:"report,omitempty"`
	Told     *told             `json:"told,omitempty"`

	AskClients *askClients `json:"ask_clients,omitempty"`
	Clients    *clientList `json:"clients,omitempty"`
}

// command asks another member to change its state or, with Ask, for what it knows.
type command struct {
	ID      uint64               `json:"id"`
	Ask     *question            `json:"ask,omitempty"`
	Plan    *converge.Plan       `json:"plan,omitempty"` // to propose, as coordinator
	Rotate  *rotation            `json:"rotate,omitempty"`
	Rule    *control.RuleRequest `json:"rule,omitempty"`
	Action  string               `json:"action,omitempty"`
	Timeout control.Duration     `json:"timeout,omitempty"`
	By      string               `json:"by,omitempty"` // who asked, and at which member
}

// reply answers the command with the same ID.
type reply struct {
	ID     uint64  `json:"id"`
	Error  string  `json:"error,omitempty"`
	Cause  string  `json:"cause,omitempty"` // of an error that the asker can act on: conflict, or not coordinator
	Answer *answer `json:"answer,omitempty"`
	changed
}

// report tells how many connections to VIPs the sender has.
type report struct {
	Connections int `json:"connections"`
}

// send encodes w for one member. Small messages go as datagrams; the protocol
// or the caller's deadline makes up for their loss.
func (l *loop) send(to string, w wire) {
	if data := l.encode(w); data != nil {
		l.membership.Send(to, data, w.reliable())
	}
}

func (l *loop) encode(w wire) []byte {
	data, err := json.Marshal(w)
	if err == nil && len(data) > membership.MaxReliable {
		data, err = pack(data)
	}
	if err != nil {
		l.log.Error("encode message", "error", err)
		return nil
	}
	return data
}

// maxUnpacked bounds, in bytes, what a packed message may hold: three times the largest
// assignment, see TestLargestMessage.
const maxUnpacked = 24 << 20

// pack compresses what is too large to be sent as it is: the assignment of a large cluster, where
// rules have weights of their own. The smaller ones are not worth the time.
func pack(data []byte) ([]byte, error) {
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestSpeed)
	if err != nil {
		return nil, err
	}
	_, err = z.Write(data)
	err = errors.Join(err, z.Close())
	return b.Bytes(), err
}

// unpack returns what pack was given, and any other message as it is.
func unpack(data []byte) ([]byte, error) {
	if !bytes.HasPrefix(data, []byte{0x1f, 0x8b}) { // RFC 1952; JSON begins otherwise
		return data, nil
	}
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	all, err := io.ReadAll(io.LimitReader(z, maxUnpacked+1))
	if err == nil && len(all) > maxUnpacked {
		err = fmt.Errorf("it holds more than %d bytes", maxUnpacked)
	}
	return all, err
}

func decode(data []byte) (w wire, err error) {
	if data, err = unpack(data); err == nil {
		err = json.Unmarshal(data, &w)
	}
	return w, err
}

func (w *wire) reliable() bool {
	return w.Clients != nil || w.Command != nil || w.Reply != nil || w.Converge != nil && w.Converge.Reliable()
}

// sendAll sends what the machine has to say. Mostly that is one thing to all, a whole
// assignment perhaps: it is encoded once.
func (l *loop) sendAll(envelopes []converge.Envelope) {
	var said converge.Message
	var data []byte
	for _, e := range envelopes {
		w := wire{Converge: &e.Message}
		if e.Message != said {
			said, data = e.Message, l.encode(w)
		}
		if data != nil {
			l.membership.Send(e.To.Name, data, w.reliable())
		}
	}
}

// heard is what another member sent, decoded.
type heard struct {
	from     string
	instance uint64
	wire     wire
}

// hear decodes, beside the loop and in their order, the messages of other members: one of
// some megabytes takes a good part of a lease.
func (l *loop) hear() {
	for {
		select {
		case msg := <-l.membership.Messages():
			w, err := decode(msg.Data)
			if err != nil {
				l.log.Warn("drop a message that cannot be decoded: do all members run the same version?", "from", msg.From, "error", err)
				continue
			}
			select {
			case l.heard <- heard{msg.From, msg.Instance, w}:
			case <-l.done:
				return
			}
		case <-l.done:
			return
		}
	}
}

// onMessage takes what another member sent. Membership has proven that the
// sender holds the cluster key and is who it says.
func (l *loop) onMessage(msg heard) error {
	w := msg.wire
	switch {
	case w.Converge != nil:
		if f := w.Converge.From; f.Name != msg.from || f.Instance != msg.instance {
			return nil // says it is another than the one who sent it
		}
		return l.apply(l.machine.Receive(l.now.wall, *w.Converge))
	case w.Command != nil:
		return l.onCommand(msg.from, *w.Command)
	case w.Reply != nil:
		l.onReply(*w.Reply)
	case w.Report != nil:
		l.reports[msg.from] = *w.Report
	case w.Told != nil:
		l.onTold(msg.from, *w.Told)
	case w.AskClients != nil:
		l.keep.asked[msg.from] = true
	case w.Clients != nil:
		return l.onClients(msg.from, *w.Clients)
	}
	return nil
}
