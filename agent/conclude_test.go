package agent

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/opennlb/opennlb/control"
)

// TestConclude: n2 owns the bucket; each case changes one thing about it.
func TestConclude(t *testing.T) {
	accept := control.Exit{Verdict: "accept", Reason: "owner"}
	drop := control.Exit{Verdict: "drop", Reason: "not-owner"}
	for _, c := range []struct {
		name     string
		change   func(e *control.Explanation, owner *control.Part)
		answered bool
		want     string
	}{
		{"all is well", func(*control.Explanation, *control.Part) {}, true, "n2 answers: it owns bucket 7."},
		{"lost", func(_ *control.Explanation, p *control.Part) { p.Error = "did not answer within 3s" }, false, "n2 owns bucket 7, but it did not answer within 3s"},
		{"converging", func(_ *control.Explanation, p *control.Part) { p.Epoch = 16 }, false, "is at epoch 16 itself: the members are converging"},
		{"lease over", func(_ *control.Explanation, p *control.Part) { p.Lease = false }, false, "Nobody answers: n2 owns bucket 7, but its lease is over"},
		{"stopped meanwhile", func(_ *control.Explanation, p *control.Part) { p.New = drop }, false, "Nobody answers: n2 owns bucket 7, but drops the packet (not-owner)"},
		{"no service", func(_ *control.Explanation, p *control.Part) { p.Listens = "no" }, true, "nothing listens on tcp port 80 there. Start the service, or drain n2."},
		{"no service behind a rule", func(e *control.Explanation, p *control.Part) { e.Rule, p.Listens = "web", "no" }, true,
			"Start the service, or run nlbctl rule drain web --member n2."},
		{"behind NAT", func(_ *control.Explanation, p *control.Part) { p.Listens = "nat" }, true, "n2 answers: it owns bucket 7."},
		{"others keep connections", func(e *control.Explanation, _ *control.Part) {
			e.Members[0].Flag, e.Members[0].Existing, e.Members[0].Connections = "residual", accept, 2
		}, true, "n1 goes on to answer 2 connections of this client"},
		{"others have sockets that nothing reaches", func(e *control.Explanation, _ *control.Part) { e.Members[0].Connections = 2 }, true, "n2 answers: it owns bucket 7."},
		{"another keeps the client", func(e *control.Explanation, p *control.Part) { e.Members[0].New, p.New = accept, drop }, true, "n1 answers: it keeps this client, though n2 owns bucket 7."},
		{"another keeps the client, no service", func(e *control.Explanation, p *control.Part) {
			e.Members[0].New, e.Members[0].Listens, p.New = accept, "no", drop
		}, true, "n1 answers, with a refusal: it keeps this client, though n2 owns bucket 7, but nothing listens on tcp port 80 there."},
		{"another that is at another epoch", func(e *control.Explanation, p *control.Part) { e.Members[0].New, e.Members[0].Epoch = accept, 16 }, true, "n2 answers: it owns bucket 7."},
		{"unknown owner", func(e *control.Explanation, _ *control.Part) { e.OwnerPriority = 9 }, false, "Nobody is known to answer"},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := control.Explanation{
				ExplainRequest: control.ExplainRequest{Client: netip.MustParseAddr("192.0.2.200"), VIP: netip.MustParseAddr("192.0.2.10"), Port: 80, Protocol: "tcp"},
				Epoch:          17, Bucket: 7, Owner: "n2", OwnerPriority: 2,
				Members: []control.Part{
					{Member: "n1", Priority: 1, State: "started", Epoch: 17, Lease: true, Flag: "none", New: drop, Existing: drop, Unknown: drop, Listens: "yes"},
					{Member: "n2", Priority: 2, State: "started", Epoch: 17, Lease: true, Flag: "own", New: accept, Existing: accept, Unknown: accept, Listens: "yes"},
				},
			}
			c.change(&e, &e.Members[1])
			conclude(&e)
			if e.Answered != c.answered || !strings.Contains(e.Conclusion, c.want) || len(e.Steps) != 2 {
				t.Errorf("answered %v: %s\n%s", e.Answered, e.Conclusion, strings.Join(e.Steps, "\n"))
			}
		})
	}
}
