package lab

import (
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"
)

func TestLaneReport(t *testing.T) {
	const ms = time.Millisecond
	lost := errors.New("lost")
	attempts := func(answered string) []Attempt { // one letter each 10 ms
		var list []Attempt
		for i, c := range answered {
			a := Attempt{At: time.Duration(i) * 10 * ms, Member: string(c)}
			if c == '.' {
				a.Member, a.Err = "", lost
			}
			list = append(list, a)
		}
		for i := range len(list) / 2 { // order must not matter
			j := len(list) - 1 - i
			list[i], list[j] = list[j], list[i]
		}
		return list
	}
	for _, c := range []struct {
		answered    string
		silence, at time.Duration
		failed      int
		unended     bool
	}{
		{"", 0, 0, 0, false},
		{"aaaa", 0, 0, 0, false},
		{"aa.ab", 20 * ms, 10 * ms, 1, false},
		{"a.a...bb.a", 40 * ms, 20 * ms, 5, false},
		{"...a", 30 * ms, 0, 3, false},
		{"aa...", 30 * ms, 10 * ms, 3, true},
		{"..", 10 * ms, 0, 2, true},
	} {
		r := newLaneReport(attempts(c.answered))
		if r.Silence != c.silence || r.SilentAt != c.at || r.Failed() != c.failed || r.Unended != c.unended {
			t.Errorf("%q: silence %v at %v, %d failed, unended %t; want %+v", c.answered, r.Silence, r.SilentAt, r.Failed(), r.Unended, c)
		}
	}
	if n := newLaneReport(attempts("aab.b")).Answers(); n["a"] != 2 || n["b"] != 2 || len(n) != 2 {
		t.Errorf("answers %v", n)
	}
	late := []Attempt{{At: 0}, {At: 10 * ms}, {At: 90 * ms}}
	if r := newLaneReport(late); r.Stall != 80*ms || r.Silence != 0 {
		t.Errorf("late prober: stall %v, silence %v", r.Stall, r.Silence)
	}
}

// TestProbe cuts a cable for 300 ms, by the probe's own clock.
func TestProbe(t *testing.T) {
	l := newLab(t, Options{Members: 2, Clients: 20})
	ctx := short(t)
	m, other := l.Members[0], l.Members[1]
	for _, m := range l.Members {
		if err := m.StartHTTP(80); err != nil {
			t.Fatal(err)
		}
	}
	cut := l.Client.StartProbe(ProbeOptions{
		Target: netip.AddrPortFrom(m.Addr, 80), Lanes: map[string][]netip.Addr{"cut": l.Client.Addrs, "empty": nil}, Timeout: 100 * time.Millisecond})
	well := l.Client.StartProbe(ProbeOptions{
		Target: netip.AddrPortFrom(other.Addr, 80), Lanes: map[string][]netip.Addr{"well": l.Client.Addrs}})
	at := func(d time.Duration) { <-time.After(d - cut.Since()) }
	at(200 * time.Millisecond)
	if err := l.Switch.SetLoss(ctx, m.Host, 100); err != nil {
		t.Fatal(err)
	}
	begin := cut.Since()
	at(500 * time.Millisecond)
	end := cut.Since()
	if err := l.Switch.SetLoss(ctx, m.Host, 0); err != nil {
		t.Fatal(err)
	}
	at(700 * time.Millisecond)
	reports := cut.Stop()
	r := reports["cut"]
	// The commands take some milliseconds, and so may the probe on a busy machine.
	slack := 60*time.Millisecond + 2*r.Stall
	if r.Silence < end-begin-slack || r.Silence > end-begin+slack || r.Failed() == 0 || r.Unended {
		t.Errorf("silence of %v, %d of %d failed, for a cut of %v, stall %v", r.Silence, r.Failed(), len(r.Attempts), end-begin, r.Stall)
	}
	if len(reports["empty"].Attempts) > 0 {
		t.Error("attempts in the empty lane")
	}
	w := well.Stop()["well"]
	if w.Failed() > 0 || w.Answers()["node2"] != w.Answered || w.Answered < 20 {
		i := slices.IndexFunc(w.Attempts, func(a Attempt) bool { return a.Err != nil })
		t.Errorf("the other member: %d of %d failed, answers %v; the first failure is %+v", w.Failed(), len(w.Attempts), w.Answers(), w.Attempts[max(i, 0)])
	}
}
