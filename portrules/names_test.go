package portrules_test

import (
	"encoding/json"
	"testing"

	"github.com/opennlb/opennlb/portrules"
)

func TestNamesRoundTrip(t *testing.T) {
	for m := portrules.Multiple; m <= portrules.Disabled; m++ {
		got, err := portrules.ParseMode(m.String())
		if err != nil || got != m {
			t.Errorf("mode %v: got %v, %v", m, got, err)
		}
	}
	for a := portrules.AffinityNone; a <= portrules.AffinityNetwork; a++ {
		got, err := portrules.ParseAffinity(a.String())
		if err != nil || got != a {
			t.Errorf("affinity %v: got %v, %v", a, got, err)
		}
	}
	for p := portrules.TCP; p <= portrules.Both; p++ {
		got, err := portrules.ParseProtocol(p.String())
		if err != nil || got != p {
			t.Errorf("protocol %v: got %v, %v", p, got, err)
		}
	}
}

// The names are part of the contract: configuration, counters and nlbctl.
func TestNames(t *testing.T) {
	type names struct {
		Modes      []portrules.Mode
		Affinities []portrules.Affinity
		Protocols  []portrules.Protocol
		Verdicts   []portrules.Verdict
		Reasons    []portrules.Reason
	}
	all := names{
		Modes:      []portrules.Mode{portrules.Multiple, portrules.Single, portrules.Disabled},
		Affinities: []portrules.Affinity{portrules.AffinityNone, portrules.AffinitySingle, portrules.AffinityNetwork},
		Protocols:  []portrules.Protocol{portrules.TCP, portrules.UDP, portrules.Both},
		Verdicts:   []portrules.Verdict{portrules.Pass, portrules.Accept, portrules.Drop},
	}
	for r := range portrules.NumReasons {
		all.Reasons = append(all.Reasons, r)
	}
	got, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"Modes":["multiple","single","disabled"],"Affinities":["none","single","network"],` +
		`"Protocols":["tcp","udp","both"],"Verdicts":["pass","accept","drop"],` +
		`"Reasons":["not-vip","new","owner","established","residual","default-host","fragment-of","early-fragment","neighbor-reply",` +
		`"lease-over","not-owner","not-default","rule-disabled","foreign-held","stray-fragment","neighbor","malformed",` +
		`"fenced","beacon","beacon-forged","beacon-replayed","rejected"]}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}

	var back struct {
		Modes      []portrules.Mode
		Affinities []portrules.Affinity
		Protocols  []portrules.Protocol
	}
	if err := json.Unmarshal(got, &back); err != nil {
		t.Fatal(err)
	}
	if len(back.Protocols) != 3 || back.Modes[2] != portrules.Disabled || back.Affinities[2] != portrules.AffinityNetwork ||
		back.Protocols[2] != portrules.Both {
		t.Errorf("read back %+v", back)
	}
}

func TestUnknownNames(t *testing.T) {
	for _, tt := range []struct {
		got  func() error
		want string
	}{
		{func() error { _, err := portrules.ParseMode("Single"); return err }, `unknown mode "Single": write multiple, single or disabled`},
		{func() error { _, err := portrules.ParseAffinity(""); return err }, `unknown affinity "": write none, single or network`},
		{func() error { _, err := portrules.ParseProtocol(""); return err }, `unknown protocol "": write tcp, udp, both or sctp`},
	} {
		if err := tt.got(); err == nil || err.Error() != tt.want {
			t.Errorf("got %v, want %s", err, tt.want)
		}
	}
	if got := portrules.NumReasons.String(); got != "reason(22)" {
		t.Errorf("unknown reason prints as %q", got)
	}
	if got := portrules.Protocol(0).String(); got != "protocol(0)" {
		t.Errorf("no protocol prints as %q", got)
	}
}

func TestProtocolHas(t *testing.T) {
	for _, tt := range []struct {
		p, q portrules.Protocol
		want bool
	}{
		{portrules.Both, portrules.TCP, true},
		{portrules.Both, portrules.UDP, true},
		{portrules.Both, portrules.Both, true},
		{portrules.TCP, portrules.UDP, false},
		{portrules.TCP, portrules.Both, false},
		{portrules.TCP, 0, false},
	} {
		if got := tt.p.Has(tt.q); got != tt.want {
			t.Errorf("%v.Has(%v) = %v", tt.p, tt.q, got)
		}
	}
}
