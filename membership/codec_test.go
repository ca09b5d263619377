package membership

import (
	"bytes"
	"math"
	"net/netip"
	"testing"

	"github.com/hashicorp/memberlist"
)

func testClaim() claim {
	return claim{
		Peer:  Peer{Name: "n01", Priority: 32, Instance: math.MaxUint64 - 1, Address: testAddr(1)},
		port:  testPort,
		since: 1_700_000_000_000,

		detection: detection{preset: "normal", death: 500},
	}
}

func (c claim) node() *memberlist.Node {
	return &memberlist.Node{Name: c.Name, Addr: c.Address.AsSlice(), Port: c.port, Meta: c.metadata()}
}

func TestClaimBothWays(t *testing.T) {
	want := testClaim()
	if got, err := parseClaim(want.node()); err != nil || got != want {
		t.Errorf("metadata: %+v, %v", got, err)
	}
	want.Address = netip.MustParseAddr("2001:db8::1")
	if got, err := decodeClaim(want.encode()); err != nil || got != want {
		t.Errorf("notice: %+v, %v", got, err)
	}
	n := want.node()
	n.Meta = append(n.Meta, "a later version's field"...)
	if got, err := parseClaim(n); err != nil || got != want {
		t.Errorf("longer metadata: %+v, %v", got, err)
	}
	n.Addr = netip.MustParseAddr("::ffff:192.0.2.1").AsSlice()
	if got, err := parseClaim(n); err != nil || got.Address != testAddr(1) {
		t.Errorf("mapped address: %v, %v", got.Address, err)
	}
}

func TestBadClaimsAreRefused(t *testing.T) {
	for name, spoil := range map[string]func(*memberlist.Node){
		"no name":       func(n *memberlist.Node) { n.Name = "" },
		"long name":     func(n *memberlist.Node) { n.Name = string(make([]byte, MaxName+1)) },
		"no address":    func(n *memberlist.Node) { n.Addr = nil },
		"no port":       func(n *memberlist.Node) { n.Port = 0 },
		"no metadata":   func(n *memberlist.Node) { n.Meta = nil },
		"short":         func(n *memberlist.Node) { n.Meta = n.Meta[:metaSize-1] },
		"no preset":     func(n *memberlist.Node) { n.Meta[22] = 7 },
		"long preset":   func(n *memberlist.Node) { n.Meta[22] = maxPreset + 1 },
		"odd preset":    func(n *memberlist.Node) { n.Meta[23] = '\n' },
		"long":          func(n *memberlist.Node) { n.Meta = append(n.Meta, make([]byte, maxMeta)...) },
		"other version": func(n *memberlist.Node) { n.Meta[0] = metaVersion + 1 },
		"priority 0":    func(n *memberlist.Node) { n.Meta[1] = 0 },
		"priority 33":   func(n *memberlist.Node) { n.Meta[1] = 33 },
	} {
		n := testClaim().node()
		spoil(n)
		r := newRoster(testClaim(), new(counters))
		if r.admit(n) == nil || r.count.badMetadata.Load() != 1 {
			t.Errorf("%s: accepted or not counted", name)
		}
	}
}

// senior orders any two rivals, and says the same from both sides.
func TestSeniority(t *testing.T) {
	base := testClaim()
	later, newcomer, named, moved := base, base, base, base
	later.since++
	newcomer.since = joining
	named.Name = "n02"
	moved.Address = testAddr(2)
	for _, o := range []claim{later, newcomer, named, moved} {
		if !base.senior(o) || o.senior(base) {
			t.Errorf("%+v is not junior", o)
		}
	}
	if !later.senior(newcomer) {
		t.Error("a newcomer is senior to a member")
	}
}

func FuzzMetadata(f *testing.F) {
	f.Add(testClaim().metadata())
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		n := testClaim().node()
		n.Meta = b
		c, err := parseClaim(n)
		if err != nil {
			return
		}
		if c.Priority < 1 || c.Priority > 32 {
			t.Errorf("priority %d", c.Priority)
		}
		if again := c.metadata(); !bytes.Equal(again, b[:len(again)]) {
			t.Errorf("%x became %x", b, c.metadata())
		}
	})
}

func FuzzNotice(f *testing.F) {
	f.Add(testClaim().encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := decodeClaim(b)
		if err != nil {
			return
		}
		if again, err := decodeClaim(c.encode()); err != nil || again != c {
			t.Errorf("%+v became %+v, %v", c, again, err)
		}
	})
}

func FuzzFrame(f *testing.F) {
	f.Add(frame{kind: kindMessage, to: 1, instance: 2, seq: 3, from: "n01", data: []byte("x")}.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := decodeFrame(b)
		if err != nil {
			return
		}
		if !bytes.Equal(got.encode(), b) {
			t.Errorf("%x became %x", b, got.encode())
		}
	})
}

func FuzzWindow(f *testing.F) {
	f.Add([]byte{1, 2, 3, 2, 255, 0})
	f.Fuzz(func(t *testing.T, steps []byte) {
		var w window
		seen := make(map[uint64]bool)
		n := uint64(1)
		for _, s := range steps {
			n += uint64(s) * uint64(s) // up to four spans ahead
			if back := uint64(s) * 97; s%2 == 1 && n > back {
				n -= back
			}
			if w.first(n) && seen[n] {
				t.Fatalf("%d is new twice", n)
			}
			seen[n] = true
		}
	})
}
