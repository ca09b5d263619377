package portrules_test

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/opennlb/opennlb/portrules"
	"github.com/opennlb/opennlb/portrules/frames"
)

func TestDecideVectors(t *testing.T) {
	seen := make(map[string]bool)
	var reasons [portrules.NumReasons]int
	for _, v := range frames.Vectors() {
		if seen[v.Name] {
			t.Errorf("two vectors are named %q", v.Name)
		}
		seen[v.Name] = true
		pkt := portrules.Parse(v.Frame)
		listener := v.Listener()
		d := v.Policy.Decide(&pkt, v.Env(listener))
		if d.Verdict != v.Verdict || d.Reason != v.Reason || d.Rule != v.Rule {
			t.Errorf("%s: got %v %v, rule %d; want %v %v, rule %d", v.Name, d.Verdict, d.Reason, d.Rule, v.Verdict, v.Reason, v.Rule)
		}
		if d.RecordFragment != v.Records {
			t.Errorf("%s: fragment recorded: %v, want %v", v.Name, d.RecordFragment, v.Records)
		}
		if d.RecordRefusal != v.Refuses {
			t.Errorf("%s: fragment refused: %v, want %v", v.Name, d.RecordRefusal, v.Refuses)
		}
		if (v.Rule == frames.Kept || v.Known != nil) && d.Note != v.Noted {
			t.Errorf("%s: note %d of the client, want %d", v.Name, d.Note, v.Noted)
		}
		want := v.Listener()
		want.Fence = v.FenceAfter
		if v.Reason == portrules.BeaconHeard {
			word := func(n int) uint64 { return binary.LittleEndian.Uint64(v.Frame[14+8*n:]) }
			want.Last[uint8(word(4))] = portrules.Sequence{Instance: word(2), Seq: word(3)}
		}
		if *listener != *want {
			t.Errorf("%s:\nleaves %+v\nwant   %+v", v.Name, *listener, *want)
		}
		reasons[v.Reason]++
	}
	for r, n := range reasons {
		if n == 0 {
			t.Errorf("no vector leaves with reason %v", portrules.Reason(r))
		}
	}
}

// A SYN cookie is as good as a socket, except to an ICMP error, which has none.
func TestDecideCookie(t *testing.T) {
	env := portrules.Env{HasCookie: func(portrules.Flow) bool { return true }}
	client, web := netip.AddrPortFrom(frames.Client, frames.ClientPort), netip.AddrPortFrom(frames.VIP4, 80)
	answer := frames.TCPFrame(web, client, frames.SYN|frames.ACK)
	for _, row := range []struct {
		name  string
		frame []byte
		flags portrules.Flags
		want  portrules.Reason
	}{
		{"ack, foreign", frames.TCPFrame(client, web, frames.ACK), portrules.Own | portrules.Foreign, portrules.Established},
		{"ack, residual", frames.TCPFrame(client, web, frames.ACK), portrules.Residual, portrules.ResidualConn},
		{"error, foreign", frames.ErrorFrame(frames.Client, frames.VIP4, 3, answer[14:]), portrules.Own | portrules.Foreign, portrules.ForeignHeld},
	} {
		pkt := portrules.Parse(row.frame)
		if d := frames.Policy(map[int]portrules.Flags{frames.WebTable: row.flags}).Decide(&pkt, env); d.Reason != row.want {
			t.Errorf("%s: %v, want %v", row.name, d.Reason, row.want)
		}
	}
}
