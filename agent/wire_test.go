package agent

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/opennlb/opennlb/config"
	"github.com/opennlb/opennlb/converge"
	"github.com/opennlb/opennlb/membership"
	"github.com/opennlb/opennlb/nlbhash"
	"github.com/opennlb/opennlb/portrules"
)

// largest is the largest assignment that there may be: every rule has weights of its own, and
// a member has just joined, to whom all others lose something in every table.
func largest(t *testing.T) *converge.Assignment {
	t.Helper()
	c := config.Cluster{Name: "web", Mode: config.Unicast}
	for i := range portrules.MaxRules {
		c.Rules = append(c.Rules, portrules.Rule{
			ID: uint16(i), Name: fmt.Sprintf("rule-%d", i), Protocol: portrules.TCP, First: uint16(1000 + i), Last: uint16(1000 + i), Mode: portrules.Multiple,
		})
	}
	made, err := newCluster(1, c, document{HashKey: strings.Repeat("0", 32)})
	if err != nil {
		t.Fatal(err)
	}
	a := &converge.Assignment{Epoch: converge.Epoch{N: 7, By: 1, Instance: 1}, Plan: made.plan}
	rng := rand.New(rand.NewPCG(1, 1))
	for p := uint8(1); p <= nlbhash.MaxPriority; p++ {
		i := converge.Info{Name: fmt.Sprintf("node-%d", p), Priority: p, Instance: uint64(p), Version: 1, Shares: map[string]converge.Share{}}
		for _, rule := range c.Rules {
			i.Shares[rule.Name] = converge.Share{Weight: uint8(1 + rng.IntN(100)), Priority: p}
		}
		a.Members = append(a.Members, i)
	}
	for slot := range len(c.Rules) + 1 {
		var targets nlbhash.Targets
		for _, m := range a.Members {
			targets[m.Priority] = 1
			if slot < len(c.Rules) {
				targets[m.Priority] = uint32(m.Shares[c.Rules[slot].Name].Weight)
			}
		}
		before := targets
		before[nlbhash.MaxPriority] = 0
		was := nlbhash.Rebalance(nil, before)
		is := nlbhash.Rebalance(was, targets)
		table := converge.Table{Targets: targets, Owner: converge.Owners(*is)}
		held := make(map[uint8]*converge.Bitmap)
		for b, owner := range was {
			if is[b] != owner {
				if held[owner] == nil {
					held[owner] = new(converge.Bitmap)
				}
				held[owner].Set(b)
			}
		}
		for p := uint8(1); p <= nlbhash.MaxPriority; p++ {
			if held[p] != nil {
				table.Held = append(table.Held, converge.Holding{Priority: p, Buckets: *held[p]})
			}
		}
		a.Tables, a.SlotTable = append(a.Tables, table), append(a.SlotTable, slot)
	}
	return a
}

// TestLargestMessage: the largest assignment goes through membership, and arrives as it was.
func TestLargestMessage(t *testing.T) {
	l := &loop{log: slog.New(slog.DiscardHandler)}
	w := wire{Converge: &converge.Message{Prepare: largest(t)}}
	plain, err := json.Marshal(w)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	data := l.encode(w)
	encoded := time.Since(began)
	if len(data) == 0 || len(data) > membership.MaxReliable {
		t.Fatalf("an assignment of %d tables takes %d bytes, of which membership sends %d", len(w.Converge.Prepare.Tables), len(data), membership.MaxReliable)
	}
	began = time.Now()
	back, err := decode(data)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes become %d; encoded in %s, decoded in %s", len(plain), len(data), encoded, time.Since(began))
	if !reflect.DeepEqual(back, w) {
		t.Error("another assignment arrives than was sent")
	}
	if 2*len(plain) > maxUnpacked {
		t.Errorf("it takes %d bytes unpacked, of which %d are taken", len(plain), maxUnpacked)
	}
}

// TestSmallMessage: what earlier versions could send, they can read.
func TestSmallMessage(t *testing.T) {
	l := &loop{log: slog.New(slog.DiscardHandler)}
	if data := l.encode(wire{Report: &report{7}}); string(data) != `{"report":{"connections":7}}` {
		t.Errorf("sent %q", data)
	}
}

// TestUnpackHasABound: a small message cannot take all memory.
func TestUnpackHasABound(t *testing.T) {
	bomb, err := pack(make([]byte, maxUnpacked+1))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := decode(bomb); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("%d bytes were unpacked: %v", len(bomb), err)
	}
	if _, err := decode(bomb[:len(bomb)/2]); err == nil {
		t.Error("half of a message was read")
	}
}
