package portrules_test

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/opennlb/opennlb/portrules"
	"github.com/opennlb/opennlb/portrules/frames"
)

func FuzzParse(f *testing.F) {
	for _, v := range frames.Vectors() {
		f.Add(v.Frame)
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		before := bytes.Clone(frame)
		pkt := portrules.Parse(frame)
		if !bytes.Equal(frame, before) {
			t.Error("Parse changed the frame")
		}
		if pkt.Kind == portrules.Other && pkt != (portrules.Packet{}) {
			t.Errorf("a frame of no interest left %+v", pkt)
		}
		if (pkt.Kind == portrules.ARP || pkt.Kind == portrules.IP) && (!pkt.Src.IsValid() || !pkt.Dst.IsValid()) {
			t.Errorf("no addresses: %+v", pkt)
		}
		if pkt.Fragment.First && pkt.Fragment.Later {
			t.Error("first and later fragment at once")
		}
		if pkt.SYN && pkt.Protocol != portrules.ProtoTCP {
			t.Errorf("SYN in protocol %d", pkt.Protocol)
		}
	})
}

func FuzzDecide(f *testing.F) {
	for i, v := range frames.Vectors() {
		f.Add(v.Frame, uint64(i), uint32(i)*0x9e3779b9)
	}
	policies := make([]*portrules.Policy, 8)
	for i := range policies {
		policies[i] = frames.RandomPolicy(rand.New(rand.NewPCG(uint64(i), 0)))
	}
	f.Fuzz(func(t *testing.T, frame []byte, policy uint64, env uint32) {
		p := policies[policy%uint64(len(policies))]
		pkt := portrules.Parse(frame)
		e := randomEnv(env, p, newListener())
		checkDecision(t, p, &pkt, e, p.Decide(&pkt, e))
	})
}
