package agent

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/opennlb/opennlb/converge"
	"github.com/opennlb/opennlb/dataplane"
	"github.com/opennlb/opennlb/portrules"
)

// noEngine stands for an engine where none is asked.
type noEngine struct{ dataplane.Engine }

func (noEngine) FollowsNAT() bool               { return false }
func (noEngine) Learn([]dataplane.Client) error { return nil }

// FuzzMessage feeds a member with whatever another one may send: no panic, and what it
// remembers has a bound. Messages of converge, and states that are asked for, have
// FuzzReceive of that package and the acceptance tests.
func FuzzMessage(f *testing.F) {
	for _, seed := range []string{
		`{"command":{"id":1,"ask":{"packet":{"client":"192.0.2.7","vip":"192.0.2.10","port":80,"protocol":"tcp"}}}}`,
		`{"command":{"id":1,"ask":{"packet":{"client":"2001:db8::7","vip":"2001:db8::10","protocol":"icmp"}}}}`,
		`{"command":{"id":1,"ask":{"trace":{"client":"192.0.2.0/24","port":80}}}}`,
		`{"command":{"id":1,"ask":{"keys":{"stamp":{"Generation":3,"Fingerprints":"0123 4567 "},"public":"AAAA","sealed":"AAAA"}}}}`,
		`{"command":{"id":1,"rotate":{"force":true},"by":"root at n1"}}`,
		`{"command":{"id":1,"action":"drain","timeout":"5m0s"}}`,
		`{"reply":{"id":1,"error":"is stopped","old":"started","new":"stopped"}}`,
		`{"reply":{"id":1,"answer":{"part":{"member":"n2"},"counters":[{"rule":"web"}]}}}`,
		`{"report":{"connections":-1}}`,
		`{"ask_clients":{}}`,
		`{"clients":{"id":1,"epoch":1,"all":true,"part":0,"parts":1,"clients":"AAAAAAAAAAcAAQAAAAEAAAAAAAAAAAAA//8KAAABAFA="}}`,
		`{"clients":{"parts":-1}}`, `{}`, `null`, `[`, "\x1f\x8b",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		l, now := alone(t,
			portrules.Rule{Name: "web", Protocol: portrules.TCP, First: 80, Last: 80, Mode: portrules.Multiple},
			portrules.Rule{Name: "keep", Protocol: portrules.UDP, First: 53, Last: 53, Mode: portrules.Multiple, Timeout: time.Minute},
		)
		l.found(now)
		l.log, l.engine, l.keep = slog.New(slog.DiscardHandler), noEngine{}, newKeeping(l.cfg.Cluster.Rules)
		l.reports, l.waiting = map[string]report{}, map[uint64]func(reply){1: func(reply) {}}

		w, err := decode(data)
		switch {
		case err != nil || w.Converge != nil:
			return
		case w.Command != nil && w.Command.Ask != nil:
			if finish, err := l.answerTo(*w.Command.Ask); (finish == nil) == (err == nil) {
				t.Fatalf("neither answer nor error: %v", err)
			}
			return
		case w.Command != nil:
			if s, err := nextState(converge.Started, w.Command.Action); err == nil && strings.Contains(s.String(), "(") {
				t.Fatalf("state %v", s)
			}
			return
		}
		for range 3 {
			if err := l.onMessage(heard{"n2", 9, w}); err != nil {
				t.Fatal(err)
			}
		}
		if n := len(l.reports) + len(l.waiting) + len(l.keep.asked) + len(l.keep.claims) + len(l.keep.told); n > 4 {
			t.Fatalf("remembers %d things", n)
		}
	})
}
