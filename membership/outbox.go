package membership

import (
	"sync/atomic"

	"github.com/hashicorp/memberlist"
)

// outbox holds what waits to be sent to one live peer. Packets and streams
// have a queue and a goroutine each, since a stream to a host that has just
// died blocks for the stream timeout.
type outbox struct {
	node    memberlist.Node
	packets chan []byte
	streams chan []byte
	bytes   atomic.Int64 // in streams
	gone    chan struct{}
}

func newOutbox(n *memberlist.Node) *outbox {
	return &outbox{
		node:    *n,
		packets: make(chan []byte, outboxSize),
		streams: make(chan []byte, outboxSize),
		gone:    make(chan struct{}),
	}
}

// put queues b and reports whether there was room.
func (o *outbox) put(b []byte, reliable bool) bool {
	if !reliable {
		select {
		case o.packets <- b:
			return true
		default:
			return false
		}
	}
	if o.bytes.Add(int64(len(b))) > outboxBytes {
		o.bytes.Add(-int64(len(b)))
		return false
	}
	select {
	case o.streams <- b:
		return true
	default:
		o.bytes.Add(-int64(len(b)))
		return false
	}
}

// drain sends what is queued until the peer is gone, or until flush is closed
// and the queue empty.
func (o *outbox) drain(queue <-chan []byte, flush <-chan struct{}, send func([]byte)) {
	for {
		select {
		case <-o.gone:
			return
		default:
		}
		select {
		case b := <-queue:
			send(b)
		case <-o.gone:
			return
		case <-flush:
			select {
			case b := <-queue:
				send(b)
			default:
				return
			}
		}
	}
}
