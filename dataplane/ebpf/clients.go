package ebpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/cilium/ebpf"

	"github.com/opennlb/opennlb/dataplane"
	"github.com/opennlb/opennlb/portrules"
)

// clientBatch is how many clients one system call reads.
const clientBatch = 4096

// Client looks one up, see dataplane.Clients.
func (e *Engine) Client(key portrules.ClientKey) (c portrules.Client, known bool, err error) {
	m, err := e.clientMap()
	if err != nil {
		return c, false, err
	}
	now := dataplane.Now()
	var value nlbKnown
	switch err := m.Lookup(clientKey(key), &value); {
	case errors.Is(err, ebpf.ErrKeyNotExist):
		return c, false, nil
	case err != nil:
		return c, false, fmt.Errorf("read table of clients: %w", err)
	}
	return value.client(now), true, nil
}

// Clients lists whom the programs remember, see dataplane.Clients.
func (e *Engine) Clients() ([]dataplane.Client, error) {
	m, err := e.clientMap()
	if err != nil {
		return nil, err
	}
	return listClients(m)
}

func listClients(m *ebpf.Map) ([]dataplane.Client, error) {
	var out []dataplane.Client
	err := eachBatch(m, func(keys []nlbClient, values []nlbKnown, now dataplane.Instant) {
		for i := range keys {
			out = append(out, dataplane.Client{Key: keyOf(keys[i]), Client: values[i].client(now)})
		}
	})
	return out, err
}

// eachBatch reads the table, and gives away what it has read at each instant.
func eachBatch(m *ebpf.Map, take func([]nlbClient, []nlbKnown, dataplane.Instant)) error {
	var cursor ebpf.MapBatchCursor
	keys, values := make([]nlbClient, clientBatch), make([]nlbKnown, clientBatch)
	for {
		now := dataplane.Now() // before: whoever stands still in between must not take a client for silent
		n, err := m.BatchLookup(&cursor, keys, values, nil)
		take(keys[:n], values[:n], now)
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read table of clients: %w", err)
		}
	}
}

// Learn enters clients of other members, see dataplane.Clients.
func (e *Engine) Learn(clients []dataplane.Client) error {
	m, err := e.clientMap()
	if err != nil {
		return err
	}
	now := dataplane.Now()
	for _, c := range clients {
		value := knownOf(c.Client, now)
		if err := m.Update(clientKey(c.Key), &value, ebpf.UpdateNoExist); err != nil && !errors.Is(err, ebpf.ErrKeyExist) {
			return fmt.Errorf("write table of clients: %w", err)
		}
	}
	return nil
}

// Forget removes clients, see dataplane.Clients.
func (e *Engine) Forget(keys []portrules.ClientKey) error {
	m, err := e.clientMap()
	if err != nil {
		return err
	}
	doomed := make([]nlbClient, len(keys))
	for i, k := range keys {
		doomed[i] = *clientKey(k)
	}
	return deleteClients(m, doomed)
}

// deleteClients takes one system call for many: the agent's lease may end meanwhile.
func deleteClients(m *ebpf.Map, keys []nlbClient) error {
	for len(keys) > 0 {
		n, err := m.BatchDelete(keys[:min(len(keys), clientBatch)], nil)
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			n++ // the programs have forgotten this one
		} else if err != nil {
			return fmt.Errorf("remove from table of clients: %w", err)
		}
		keys = keys[n:]
	}
	return nil
}

// forgetRules removes the clients of rules, by ID.
func forgetRules(m *ebpf.Map, gone map[uint16]bool) error {
	var doomed []nlbClient
	err := eachBatch(m, func(keys []nlbClient, _ []nlbKnown, _ dataplane.Instant) {
		for _, k := range keys {
			if gone[k.Rule] {
				doomed = append(doomed, k)
			}
		}
	})
	if err != nil {
		return err
	}
	return deleteClients(m, doomed)
}

// ForgetClients removes all clients.
func (e *Engine) ForgetClients() error {
	all, err := e.Clients()
	if err != nil {
		return err
	}
	keys := make([]portrules.ClientKey, len(all))
	for i, c := range all {
		keys[i] = c.Key
	}
	return e.Forget(keys)
}

func (e *Engine) clientMap() (*ebpf.Map, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil, errClosed
	}
	return e.objects.clients, nil
}

func clientKey(k portrules.ClientKey) *nlbClient {
	return &nlbClient{Hash: k.Hash, Rule: k.Rule, Bucket: k.Bucket}
}

func keyOf(c nlbClient) portrules.ClientKey {
	return portrules.ClientKey{Rule: c.Rule, Bucket: c.Bucket, Hash: c.Hash}
}

// client reads an entry. The clock of the programs is the coarse one, which lags.
func (v *nlbKnown) client(now dataplane.Instant) portrules.Client {
	var port [2]byte
	binary.NativeEndian.PutUint16(port[:], v.Port)
	return portrules.Client{
		Addr:   netip.AddrPortFrom(addrOf(v.Addr), binary.BigEndian.Uint16(port[:])),
		Mine:   v.Mine != 0,
		Silent: time.Duration(max(0, now-dataplane.Instant(v.Seen))),
	}
}

func knownOf(c portrules.Client, now dataplane.Instant) nlbKnown {
	var port [2]byte
	binary.BigEndian.PutUint16(port[:], c.Addr.Port())
	v := nlbKnown{Seen: uint64(max(0, now-dataplane.Instant(c.Silent))), Port: binary.NativeEndian.Uint16(port[:])}
	if c.Mine {
		v.Mine = 1
	}
	if c.Addr.IsValid() {
		v.Addr = vipAddr(c.Addr.Addr())
	}
	return v
}
