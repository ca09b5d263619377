package portrules_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/opennlb/opennlb/portrules"
)

func TestClientsForgetTheOldest(t *testing.T) {
	var c portrules.Clients
	key := func(i int) portrules.ClientKey { return portrules.ClientKey{Hash: uint64(i)} }
	for i := range portrules.MaxClients {
		c.Note(portrules.NoteMine, key(i), netip.AddrPort{}, int64(i))
	}
	c.Note(portrules.NoteOther, key(0), netip.AddrPort{}, portrules.MaxClients) // heard again
	c.Note(portrules.NoteMine, key(-1), netip.AddrPort{}, portrules.MaxClients+1)
	if _, ok := c.Get(key(1), 0); ok {
		t.Error("the one heard least lately is still known")
	}
	if got, ok := c.Get(key(0), portrules.MaxClients+5); !ok || got.Mine || got.Silent != 5 {
		t.Errorf("the one heard again: %+v, %t", got, ok)
	}
	n := 0
	for range c.All(0) {
		n++
	}
	if n != portrules.MaxClients {
		t.Errorf("%d clients, want %d", n, portrules.MaxClients)
	}
}

func TestClientsLearn(t *testing.T) {
	var c portrules.Clients
	heard, told := portrules.ClientKey{Hash: 1}, portrules.ClientKey{Hash: 2}
	c.Note(portrules.NoteMine, heard, netip.AddrPort{}, 100)
	for _, k := range []portrules.ClientKey{heard, told} {
		c.Learn(k, portrules.Client{Mine: true, Silent: 30}, 100)
	}
	if got, _ := c.Get(heard, 100); !got.Mine || got.Silent != 0 {
		t.Errorf("what was heard is overwritten: %+v", got)
	}
	if got, ok := c.Get(told, 100); !ok || got.Mine || got.Silent != 30 {
		t.Errorf("what was told: %+v, %t", got, ok)
	}
	c.Forget(told)
	if _, ok := c.Get(told, 100); ok {
		t.Error("not forgotten")
	}
}

func TestKeep(t *testing.T) {
	const udp = portrules.KeepUDP
	for _, row := range []struct {
		rule     portrules.Rule
		tcp, udp time.Duration
	}{
		{portrules.Rule{Protocol: portrules.Both, Affinity: portrules.AffinitySingle}, 0, udp},
		{portrules.Rule{Protocol: portrules.Both, Affinity: portrules.AffinityNetwork}, 0, udp},
		{portrules.Rule{Protocol: portrules.Both, Affinity: portrules.AffinityNone}, 0, 0},
		{portrules.Rule{Protocol: portrules.TCP, Affinity: portrules.AffinitySingle}, 0, 0},
		{portrules.Rule{Protocol: portrules.Both, Affinity: portrules.AffinityNone, Timeout: time.Minute}, time.Minute, time.Minute},
		{portrules.Rule{Protocol: portrules.UDP, Affinity: portrules.AffinitySingle, Timeout: time.Second}, 0, time.Second},
		{portrules.Rule{Protocol: portrules.Both, Mode: portrules.Disabled, Timeout: time.Minute}, 0, 0},
		{portrules.Rule{Protocol: portrules.SCTP, Affinity: portrules.AffinitySingle, Timeout: time.Minute}, 0, 0},
	} {
		if tcp, udp := row.rule.KeepClients(portrules.TCP), row.rule.KeepClients(portrules.UDP); tcp != row.tcp || udp != row.udp {
			t.Errorf("%+v: %s and %s, want %s and %s", row.rule, tcp, udp, row.tcp, row.udp)
		}
	}
	sctp := portrules.Rule{Protocol: portrules.SCTP, Affinity: portrules.AffinitySingle}
	if keep := sctp.KeepClients(portrules.SCTP); keep != 0 {
		t.Errorf("SCTP without a timeout: %s", keep)
	}
	sctp.Timeout = time.Minute
	if keep := sctp.KeepClients(portrules.SCTP); keep != time.Minute {
		t.Errorf("SCTP: %s, want its timeout", keep)
	}
}
