package membership

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/memberlist"
)

func TestMessagesArrive(t *testing.T) {
	bubble(t, func(t *testing.T, seg *segment) {
		all := cluster(t, seg, 3)
		to := all[2].opts.Self.Name
		for _, c := range []struct {
			size     int
			reliable bool
		}{
			{0, false}, {1, false}, {1000, false}, {all[0].room, false}, {1200, false}, {100_000, false},
			{0, true}, {1, true}, {1 << 20, true}, {MaxReliable, true},
		} {
			data := bytes.Repeat([]byte{0xa5}, c.size)
			all[0].Send(to, data, c.reliable)
			select {
			case got := <-all[2].Messages():
				if got.From != "n01" || got.Instance != all[0].opts.Self.Instance || !bytes.Equal(got.Data, data) {
					t.Errorf("%d bytes reliable %v: got %d bytes from %q", c.size, c.reliable, len(got.Data), got.From)
				}
			case <-time.After(time.Second):
				t.Errorf("%d bytes reliable %v: nothing arrived", c.size, c.reliable)
			}
		}
		all[0].Send(to, make([]byte, MaxReliable+1), true)
		all[0].Send("nobody", nil, true)
		all[0].Send("n01", nil, true)
		if s := all[0].Stats(); s.TooLarge != 1 || s.NoSuchPeer != 2 || s.SendErrors != 0 {
			t.Errorf("stats %+v", s)
		}
	})
}

// Every message arrives once, unchanged, though perhaps out of order.
func TestMessagesArriveOnce(t *testing.T) {
	bubble(t, func(t *testing.T, seg *segment) {
		all := cluster(t, seg, 2)
		const count = 50
		for i := range count {
			all[0].Send("n02", binary.BigEndian.AppendUint32(nil, uint32(i)), i%2 == 0)
		}
		seen := make(map[uint32]bool)
		for range count {
			select {
			case m := <-all[1].Messages():
				seen[binary.BigEndian.Uint32(m.Data)] = true
			case <-time.After(time.Second):
			}
		}
		if len(seen) != count {
			t.Errorf("%d of %d arrived", len(seen), count)
		}
		time.Sleep(time.Second)
		if n := len(all[1].Messages()); n != 0 {
			t.Errorf("%d arrived twice", n)
		}
	})
}

func TestInboxOverflow(t *testing.T) {
	bubble(t, func(t *testing.T, seg *segment) {
		all := cluster(t, seg, 2)
		for range inboxSize/outboxSize + 1 {
			for range outboxSize {
				all[0].Send("n02", []byte("x"), false)
			}
			time.Sleep(100 * time.Millisecond)
		}
		s := all[1].Stats()
		if s.InboxFull != outboxSize || len(all[1].Messages()) != inboxSize {
			t.Errorf("%d wait, stats %+v", len(all[1].Messages()), s)
		}
		time.Sleep(time.Second)
		if !agree(all) {
			t.Error("an unread inbox stopped the membership")
		}
	})
}

// Sends to a host that just died neither block the sender, nor what goes to
// others, nor grow without bound.
func TestSendToDeadHost(t *testing.T) {
	bubble(t, func(t *testing.T, seg *segment) {
		all := cluster(t, seg, 3)
		seg.isolate(testAddr(3))
		begin := time.Now()
		for range 2 * outboxSize {
			all[0].Send("n03", []byte("x"), true)
		}
		for range 10 {
			all[0].Send("n03", make([]byte, MaxReliable), true)
		}
		if time.Since(begin) > 0 {
			t.Errorf("blocked for %v", time.Since(begin))
		}
		if got := all[0].Stats().OutboxFull; got < outboxSize {
			t.Errorf("%d dropped", got)
		}
		all[0].Send("n02", []byte("hello"), true)
		select {
		case <-all[1].Messages():
		case <-time.After(100 * time.Millisecond):
			t.Error("a dead peer blocked a live one")
		}
		eventually(t, time.Second, "death known", func() bool { return agree(all[:2]) })
	})
}

func TestOutboxBytes(t *testing.T) {
	o := newOutbox(&memberlist.Node{})
	for i := range outboxBytes / MaxReliable {
		if !o.put(make([]byte, MaxReliable), true) {
			t.Fatalf("message %d refused", i)
		}
	}
	if o.put(make([]byte, MaxReliable), true) {
		t.Error("no bound")
	}
	if !o.put(make([]byte, 1), false) {
		t.Error("packets share the bound of streams")
	}
}

// What was sent takes no room any more.
func TestOutboxIsEmptied(t *testing.T) {
	bubble(t, func(t *testing.T, seg *segment) {
		all := cluster(t, seg, 2)
		for i := range 3 * outboxBytes / MaxReliable {
			all[0].Send("n02", make([]byte, MaxReliable), true)
			select {
			case <-all[1].Messages():
			case <-time.After(time.Second):
				t.Fatalf("message %d did not arrive: %+v", i, all[0].Stats())
			}
		}
	})
}

// Leave sends what is queued first.
func TestLeaveFlushes(t *testing.T) {
	bubble(t, func(t *testing.T, seg *segment) {
		all := cluster(t, seg, 2)
		for i := range 20 {
			all[0].Send("n02", fmt.Append(nil, i), true)
		}
		if err := all[0].Leave(time.Second); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if n := len(all[1].Messages()); n != 20 {
			t.Errorf("%d of 20 arrived", n)
		}
	})
}

func TestForeignFramesAreRefused(t *testing.T) {
	bubble(t, func(t *testing.T, seg *segment) {
		var said bytes.Buffer
		o := testOptions(1)
		o.Log = slog.New(slog.NewTextHandler(&said, nil))
		m := start(t, seg, o)
		peer := start(t, seg, testOptions(2)).opts.Self
		me := m.opts.Self.Instance
		good := frame{kind: kindMessage, to: me, instance: peer.Instance, seq: 1, from: peer.Name, data: []byte("data")}
		m.receive(good.encode())
		m.receive(good.encode()) // again
		earlier := good
		earlier.to, earlier.seq = me+1, 2 // for the process before
		m.receive(earlier.encode())
		unknown := good
		unknown.from, unknown.seq = "x", 2
		m.receive(unknown.encode())
		m.receive(nil)
		m.receive([]byte{1, 2, 3})
		large := good
		large.seq, large.data = 3, make([]byte, MaxReliable+1)
		m.receive(large.encode())
		m.receive(frame{kind: 99, from: "x"}.encode())
		m.receive(frame{kind: kindNotice, from: "x", data: []byte{1}}.encode())
		if n := len(m.Messages()); n != 1 {
			t.Errorf("%d delivered", n)
		}
		if s := m.Stats(); s.Replayed != 1 || s.Misdirected != 2 || s.BadMessage != 5 {
			t.Errorf("stats %+v", s)
		}
		for _, want := range []string{"for an earlier process", "received before"} {
			if strings.Count(said.String(), want) != 1 {
				t.Errorf("the log does not say %q once:\n%s", want, said.String())
			}
		}
	})
}

// A message recorded from an earlier process of a live member is refused.
func TestEarlierSenderIsRefused(t *testing.T) {
	bubble(t, func(t *testing.T, seg *segment) {
		all := cluster(t, seg, 2)
		f := frame{kind: kindMessage, to: all[0].opts.Self.Instance, instance: 5, seq: 1, from: "n02"}
		all[0].receive(f.encode())
		if s := all[0].Stats(); s.Misdirected != 1 || len(all[0].Messages()) != 0 {
			t.Errorf("stats %+v", s)
		}
	})
}

func TestHistoryIsBounded(t *testing.T) {
	bubble(t, func(t *testing.T, seg *segment) {
		m := start(t, seg, testOptions(1))
		for i := range uint64(10 * maxSeen) {
			time.Sleep(time.Millisecond)
			m.fresh(frame{instance: i, seq: 1})
		}
		if len(m.history) > maxSeen {
			t.Errorf("%d senders remembered", len(m.history))
		}
		for _, i := range []uint64{0, 1, 10*maxSeen - 1} {
			if m.fresh(frame{instance: i, seq: 1}) || !m.fresh(frame{instance: i, seq: 2}) {
				t.Errorf("process %d is forgotten, or is refused for good", i)
			}
		}
		for i := range uint64(2 * maxRetired) {
			m.fresh(frame{instance: i, seq: 9})
		}
		if len(m.retired) != maxRetired { // one goes for each that comes
			t.Errorf("%d retired", len(m.retired))
		}
	})
}

func TestWindow(t *testing.T) {
	var w window
	span := uint64(64 * words)
	for _, c := range []struct {
		n    uint64
		want bool
	}{
		{0, false}, {1, true}, {1, false}, {3, true}, {2, true}, {2, false}, {3, false},
		{span, true}, {span + 1, true}, {1, false}, {2, false}, {4, true},
		{10 * span, true}, {1, false}, {5, false}, {9*span + 1, true}, {9 * span, false}, {9*span + 1, false},
		{10*span + 64, true}, {10*span + 5, true}, {10*span + 5, false},
		{^uint64(0) - 1, true}, {^uint64(0), true}, {^uint64(0), false},
	} {
		if got := w.first(c.n); got != c.want {
			t.Errorf("first(%d) = %v", c.n, got)
		}
	}
}
