package ebpf

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"testing"

	"github.com/opennlb/opennlb/nlbhash"
	"github.com/opennlb/opennlb/portrules"
	"github.com/opennlb/opennlb/portrules/frames"
)

// The largest policy fits after the smallest, and back; installed twice it is the
// same; all its rules are found.
func TestInstall(t *testing.T) {
	enterNamespace(t)
	e := openEngine(t, "tc", options{})
	large, small := manyRules(), &portrules.Policy{VIPs: []netip.Addr{frames.VIP4}, Tables: make([]portrules.Buckets, 1)}
	rng := rand.New(rand.NewPCG(3, 4))
	for _, p := range []*portrules.Policy{small, large, large, small, frames.Policy(own), large} {
		serve(t, e, p)
		before, want := counters(t, e), make(tally)
		for range 2000 {
			frame := frames.Random(rng, p)
			if !testable(frame) {
				continue
			}
			pkt := portrules.Parse(frame)
			if pkt.Fragment.Later || pkt.Kind == portrules.Beacon {
				continue
			}
			d := p.Decide(&pkt, portrules.Env{})
			if d.Verdict != portrules.Pass {
				want.add(p, d)
			}
			if err := e.runTC(frame, d.Verdict); err != nil {
				t.Fatalf("%+v: %v", d, err)
			}
		}
		if err := want.compare(before, counters(t, e)); err != nil {
			t.Errorf("%d rules: %v", len(p.Rules), err)
		}
	}
}

// A program sees one policy or the other, never a mixture: each accepts the client
// in a bucket that only its own hash key leads to.
func TestInstallIsAtomic(t *testing.T) {
	enterNamespace(t)
	e := openEngine(t, "tc", options{})
	frame := frames.TCPFrame(testClient, vipPort(22), frames.SYN)
	var policies [2]*portrules.Policy
	for i := range policies {
		p := frames.Policy(nil)
		p.HashKey[0] = byte(i)
		p.VIPs = slices.Clone(p.VIPs)[:1+3*i] // other factors and slots
		key := portrules.AppendAffinityKey(nil, portrules.AffinitySingle, testClient)
		p.Tables[frames.SSHTable][nlbhash.Bucket(p.HashKey, key)] = portrules.Own
		policies[i] = p
	}
	serve(t, e, policies[0])

	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Add(1)
	go func() {
		defer wg.Done()
		for {
			select {
			case <-stop:
				return
			default:
			}
			if _, _, err := e.objects.collection.Programs[tcIn.name].Benchmark(frame, 1000, nil); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	for i := range 200 {
		install(t, e, policies[(i+1)%2])
	}
	close(stop)
	wg.Wait()
	var accepted uint64
	for _, c := range counters(t, e) {
		if c.Reason != portrules.New {
			t.Errorf("%d packets met a mixture: %v", c.Packets, c.Reason)
			continue
		}
		accepted += c.Packets
	}
	if accepted < 10_000 {
		t.Errorf("only %d packets were decided meanwhile", accepted)
	}
}

func TestInstallRefuses(t *testing.T) {
	enterNamespace(t)
	e := openEngine(t, "tc", options{})
	serve(t, e, frames.Policy(own))
	for name, change := range map[string]func(*portrules.Policy){
		"vip twice":     func(p *portrules.Policy) { p.VIPs = append(p.VIPs, p.VIPs[0]) },
		"65 vips":       func(p *portrules.Policy) { p.VIPs = slices.Repeat(p.VIPs, 65) },
		"257 rules":     func(p *portrules.Policy) { p.Rules = slices.Repeat(p.Rules, 257) },
		"no table":      func(p *portrules.Policy) { p.RuleTable[0] = len(p.Tables) },
		"default table": func(p *portrules.Policy) { p.DefaultTable = -1 },
		"tables":        func(p *portrules.Policy) { p.RuleTable = p.RuleTable[1:] },
		"same id":       func(p *portrules.Policy) { p.Rules[0].ID = p.Rules[1].ID },
		"mapped vip":    func(p *portrules.Policy) { p.VIPs[0] = netip.AddrFrom16(p.VIPs[0].As16()) },
	} {
		p := frames.Policy(nil)
		change(p)
		if err := e.Install(p, nil); err == nil {
			t.Errorf("%s: installed", name)
		}
	}
	if err := e.runTC(frames.TCPFrame(testClient, vipPort(22), frames.SYN), portrules.Accept); err != nil {
		t.Errorf("the policy before does not hold any more: %v", err)
	}
}
