package ebpf

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/opennlb/opennlb/dataplane"
	"github.com/opennlb/opennlb/portrules"
	"github.com/opennlb/opennlb/portrules/frames"
)

// traceFrames gives frames to both programs while a trace runs, and returns what it told.
func traceFrames(t *testing.T, e *Engine, filter dataplane.TraceFilter, list ...[]byte) (told []dataplane.Sample) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	samples, err := e.Trace(ctx, filter)
	if err != nil {
		t.Fatal(err)
	}
	for e.traceWords(t).Until == 0 { // it has begun
		if ctx.Err() != nil {
			t.Fatal("the trace does not begin")
		}
	}
	last := frames.TCPFrame(netip.AddrPortFrom(frames.Client, 9), netip.AddrPortFrom(frames.VIP4, 80), frames.SYN)
	for _, f := range append(list, last) {
		for _, p := range []hook{xdp, tcIn} {
			if _, _, err := e.run(p.name, f); err != nil {
				t.Fatal(err)
			}
		}
	}
	for s := range samples {
		told = append(told, s)
		if s.Client.Port() == 9 {
			cancel()
		}
	}
	if len(told) == 0 {
		t.Fatal("the trace tells nothing")
	}
	return told[:len(told)-1]
}

// traceWords maps what a trace shares with the programs.
func (e *Engine) traceWords(t testing.TB) nlbTracing {
	t.Helper()
	var w nlbTracing
	if err := e.objects.tracing.Lookup(uint32(0), &w); err != nil {
		t.Fatal(err)
	}
	return w
}

func TestTrace(t *testing.T) {
	enterNamespace(t)
	e := openEngine(t, "auto", options{})
	serve(t, e, frames.Policy(map[int]portrules.Flags{frames.WebTable: portrules.Own}))
	at := netip.AddrPortFrom
	client4, client6 := at(frames.Client, 1001), at(frames.Client6, 1002)
	web4, web6, ssh := at(frames.VIP4, 80), at(frames.VIP6, 80), at(frames.VIP4, 22)
	all := [][]byte{
		frames.TCPFrame(client4, web4, frames.SYN),                     // accepted, seen by tc only
		frames.TCPFrame(client6, web6, frames.SYN),                     //
		frames.TCPFrame(client4, ssh, frames.SYN),                      // dropped, by both when each sees it
		frames.TCPFrame(client4, at(frames.Own4, 80), frames.SYN),      // not ours: never told
		frames.TCPFrame(client4, at(frames.VIP4, 80), frames.SYN)[:40], // cut off
	}
	type exit struct {
		client, vip netip.AddrPort
		reason      portrules.Reason
		rule        uint16
	}
	count := func(told []dataplane.Sample) map[exit]int {
		n := map[exit]int{}
		for _, s := range told {
			n[exit{s.Client, s.VIP, s.Reason, s.Rule}]++
			if s.Protocol != 6 || s.Missed != 0 || dataplane.Now()-s.At > dataplane.Instant(10*time.Second) {
				t.Errorf("%+v", s)
			}
		}
		return n
	}
	webRule, sshRule := frames.Policy(nil).RuleID(frames.Web), frames.Policy(nil).RuleID(frames.SSH)
	onWeb4, onWeb6 := exit{client4, web4, portrules.New, webRule}, exit{client6, web6, portrules.New, webRule}
	onSSH := exit{client4, ssh, portrules.NotOwner, sshRule}
	short := exit{client4, web4, portrules.Malformed, portrules.NumRuleIDs}
	for _, c := range []struct {
		name   string
		filter dataplane.TraceFilter
		want   map[exit]int
	}{
		{"all", dataplane.TraceFilter{}, map[exit]int{onWeb4: 1, onWeb6: 1, onSSH: 2, short: 2}},
		{"one client", dataplane.TraceFilter{Client: netip.PrefixFrom(frames.Client, 32)}, map[exit]int{onWeb4: 1, onSSH: 2, short: 2}},
		{"a prefix with more bits than it says", dataplane.TraceFilter{Client: netip.PrefixFrom(frames.Client.Next(), 16)}, map[exit]int{onWeb4: 1, onSSH: 2, short: 2}},
		{"a port", dataplane.TraceFilter{Port: 80}, map[exit]int{onWeb4: 1, onWeb6: 1, short: 2}},
	} {
		got := count(traceFrames(t, e, c.filter, all...))
		for k, n := range c.want {
			if got[k] != n {
				t.Errorf("%s: %+v: %d times, want %d", c.name, k, got[k], n)
			}
			delete(got, k)
		}
		if len(got) > 0 {
			t.Errorf("%s: also told of %+v", c.name, got)
		}
	}
	if w := e.traceWords(t); w.Until != 0 {
		t.Errorf("the programs trace until %d, though nobody asks", w.Until)
	}
}

// A flood is told in part; the rest is counted.
func TestTraceBudget(t *testing.T) {
	enterNamespace(t)
	e := openEngine(t, "tc", options{})
	serve(t, e, frames.Policy(own))
	ctx, cancel := context.WithCancel(t.Context())
	samples, err := e.Trace(ctx, dataplane.TraceFilter{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Trace(ctx, dataplane.TraceFilter{}); err == nil {
		t.Error("a second trace runs beside the first")
	}
	for e.traceWords(t).Until == 0 {
	}
	const flood = 100_000
	syn := frames.TCPFrame(netip.AddrPortFrom(frames.Client, 1001), netip.AddrPortFrom(frames.VIP4, 80), frames.SYN)
	began := time.Now()
	if _, _, err := e.objects.collection.Programs[tcIn.name].Benchmark(syn, flood, nil); err != nil {
		t.Fatal(err)
	}
	took := time.Since(began)
	w := e.traceWords(t)
	told := 0
	for range samples {
		if told++; uint64(told)+w.Missed >= flood {
			cancel()
		}
	}
	cancel()
	windows := int(took/(1<<27)) + 2
	if told == 0 || told > windows*130 || uint64(told)+w.Missed < flood {
		t.Errorf("of %d told %d, missed %d, in %s", flood, told, w.Missed, took)
	}
	t.Logf("of %d packets in %s: told %d, counted %d", flood, took, told, w.Missed)
}

// Close ends a trace, and with it its channel.
func TestCloseEndsTrace(t *testing.T) {
	enterNamespace(t)
	e := openEngine(t, "tc", options{})
	samples, err := e.Trace(t.Context(), dataplane.TraceFilter{})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if _, open := <-samples; open {
		t.Error("a sample of a closed engine")
	}
	if _, err := e.Trace(t.Context(), dataplane.TraceFilter{}); err == nil {
		t.Error("a closed engine traces")
	}
}
