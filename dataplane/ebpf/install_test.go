package ebpf

import (
	"fmt"
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

// A rule keeps its counter under its name, whatever comes and goes around it.
func TestCountersFollowNames(t *testing.T) {
	enterNamespace(t)
	e := openEngine(t, "tc", options{})
	policy := func(round int, rules int) *portrules.Policy {
		p := &portrules.Policy{VIPs: []netip.Addr{frames.VIP4}, Tables: make([]portrules.Buckets, 1), RuleTable: make([]int, rules)}
		for i := range rules - 1 {
			p.Rules = append(p.Rules, portrules.Rule{Name: fmt.Sprintf("r%d-%d", round, i), Protocol: portrules.TCP, First: uint16(1000 + i), Last: uint16(1000 + i)})
		}
		p.Rules = append(p.Rules, portrules.Rule{Name: "keeper", Protocol: portrules.TCP, First: 80, Last: 80})
		return p
	}
	frame := func(port uint16) []byte { return frames.TCPFrame(testClient, vipPort(port), frames.SYN) }
	for round := range 5 { // 1275 names, more than there are counters
		serve(t, e, policy(round, 256))
		for _, port := range []uint16{80, 1000, 1254} {
			if _, _, err := e.run(tcIn.name, frame(port)); err != nil {
				t.Fatal(err)
			}
		}
		got := make(map[string]uint64)
		for _, c := range counters(t, e) {
			got[c.Rule] = c.Packets
		}
		for name, want := range map[string]uint64{
			"keeper":                      uint64(round + 1),
			fmt.Sprintf("r%d-0", round):   1,
			fmt.Sprintf("r%d-254", round): 1,
		} {
			if got[name] != want {
				t.Errorf("round %d: rule %s counted %d, want %d", round, name, got[name], want)
			}
		}
		pinned, err := ReadPinnedCounters(testCluster, t.Name())
		if err != nil {
			t.Fatal(err)
		}
		if live := counters(t, e); !slices.Equal(pinned, live) {
			t.Errorf("pinned counters %v, want %v", pinned, live)
		}
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
