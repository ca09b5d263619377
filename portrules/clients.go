package portrules

import (
	"container/list"
	"iter"
	"net/netip"
	"time"
)

// MaxClients is how many clients a member remembers; of more, it forgets those that
// it has not heard for longest.
const MaxClients = 65536

// Clients remembers clients, and is the reference for dataplane/ebpf/bpf/clients.h.
// Instants are nanoseconds of any clock that does not go back. The zero value is
// ready. It is not safe for concurrent use.
type Clients struct {
	known  map[ClientKey]*list.Element
	latest list.List // of *client, the one heard last in front
}

type client struct {
	key  ClientKey
	addr netip.AddrPort
	mine bool
	seen int64
}

// Get returns what is known of a client at an instant.
func (c *Clients) Get(key ClientKey, now int64) (Client, bool) {
	e, ok := c.known[key]
	if !ok {
		return Client{}, false
	}
	return e.Value.(*client).at(now), true
}

// Note does with a client what a decision says. addr: from where its packet came.
func (c *Clients) Note(n Note, key ClientKey, addr netip.AddrPort, now int64) {
	if n != NoteNothing {
		c.put(client{key, addr, n == NoteMine, now})
	}
}

// Learn enters a client that another member serves, unless it is known.
func (c *Clients) Learn(key ClientKey, of Client, now int64) {
	if _, ok := c.known[key]; !ok {
		c.put(client{key, of.Addr, false, now - int64(of.Silent)})
	}
}

// Forget removes a client.
func (c *Clients) Forget(key ClientKey) {
	if e, ok := c.known[key]; ok {
		c.latest.Remove(e)
		delete(c.known, key)
	}
}

// All lists them, the one heard last first.
func (c *Clients) All(now int64) iter.Seq2[ClientKey, Client] {
	return func(yield func(ClientKey, Client) bool) {
		for e := c.latest.Front(); e != nil; e = e.Next() {
			if o := e.Value.(*client); !yield(o.key, o.at(now)) {
				return
			}
		}
	}
}

func (c *Clients) put(o client) {
	if e, ok := c.known[o.key]; ok {
		*e.Value.(*client) = o
		c.latest.MoveToFront(e)
		return
	}
	if c.known == nil {
		c.known = make(map[ClientKey]*list.Element)
	}
	if len(c.known) == MaxClients {
		c.Forget(c.latest.Back().Value.(*client).key)
	}
	added := o // o itself stays off the heap: clients that are known cost no garbage
	c.known[o.key] = c.latest.PushFront(&added)
}

func (o *client) at(now int64) Client {
	return Client{Addr: o.addr, Mine: o.mine, Silent: time.Duration(max(0, now-o.seen))}
}
