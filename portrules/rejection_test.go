package portrules_test

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/opennlb/opennlb/portrules"
	"github.com/opennlb/opennlb/portrules/frames"
)

var rejecter = [6]byte{2, 1, 192, 0, 2, 10}

// What is answered, decoded by gopacket.
func TestRejection(t *testing.T) {
	for _, ends := range [][2]netip.Addr{{frames.Client, frames.VIP4}, {frames.Client6, frames.VIP6}} {
		from, to := netip.AddrPortFrom(ends[0], 40000), netip.AddrPortFrom(ends[1], 7000)
		tcp := func(flags uint8, payload int) []byte {
			segment := frames.Segment(from, to, flags, 1, 77, make([]byte, payload))
			return frames.Frame(from.Addr(), to.Addr(), portrules.ProtoTCP, segment)
		}
		for _, tt := range []struct {
			name     string
			frame    []byte
			seq, ack uint32
			hasAck   bool
		}{
			{"syn", tcp(frames.SYN, 0), 0, 2, true}, // its sequence number is 1
			{"syn with padding", append(tcp(frames.SYN, 0), 0, 0, 0, 0), 0, 2, true},
			{"syn with data", tcp(frames.SYN, 10), 0, 12, true},
			{"fin", tcp(frames.FIN, 10), 0, 12, true},
			{"ack", tcp(frames.ACK, 10), 77, 0, false}, // what its sender waits for
			{"long, cut to 256 bytes", tcp(frames.SYN, 1000)[:256], 0, 1002, true},
		} {
			got := decoded(t, portrules.Rejection(tt.frame, rejecter), to.Addr(), from.Addr())
			reply, ok := got.Layer(layers.LayerTypeTCP).(*layers.TCP)
			if !ok {
				t.Errorf("%s: %v, want TCP", tt.name, got)
				continue
			}
			if !reply.RST || reply.SYN || reply.ACK != tt.hasAck || reply.Seq != tt.seq || reply.Ack != tt.ack ||
				uint16(reply.SrcPort) != to.Port() || uint16(reply.DstPort) != from.Port() {
				t.Errorf("%s: got %+v, want seq %d, ack %d (%v)", tt.name, reply, tt.seq, tt.ack, tt.hasAck)
			}
		}

		datagram := frames.UDPFrame(from, to)
		got := decoded(t, portrules.Rejection(append(datagram, 0, 0, 0), rejecter), to.Addr(), from.Addr())
		quote := datagram[14:]
		if to.Addr().Is4() {
			icmp, ok := got.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4)
			if !ok || icmp.TypeCode != layers.CreateICMPv4TypeCode(3, 3) || !bytes.Equal(icmp.Payload, quote) {
				t.Errorf("udp: got %v", got)
			}
		} else {
			icmp, ok := got.Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6)
			if !ok || icmp.TypeCode != layers.CreateICMPv6TypeCode(1, 4) || !bytes.Equal(icmp.Payload[4:], quote) {
				t.Errorf("udp: got %v", got)
			}
		}
	}
}

// decoded checks addresses and all checksums of an answer.
func decoded(t *testing.T, frame []byte, src, dst netip.Addr) gopacket.Packet {
	t.Helper()
	if frame == nil {
		t.Fatal("no answer")
	}
	if !bytes.Equal(frame[:6], frames.ClientMAC[:]) || !bytes.Equal(frame[6:12], rejecter[:]) {
		t.Errorf("Ethernet header %x", frame[:14])
	}
	p := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.Default)
	if e := p.ErrorLayer(); e != nil {
		t.Errorf("%v in %x", e.Error(), frame)
	}
	if n := p.NetworkLayer().NetworkFlow(); n.Src().String() != src.String() || n.Dst().String() != dst.String() {
		t.Errorf("answer from %v, want %v to %v", n, src, dst)
	}
	if ip, ok := p.NetworkLayer().(*layers.IPv4); ok && int(ip.Length) != len(frame)-14 {
		t.Errorf("%d bytes of IPv4 say that they are %d", len(frame)-14, ip.Length)
	}
	for _, l := range p.Layers() {
		if l, ok := l.(interface {
			SetNetworkLayerForChecksum(gopacket.NetworkLayer) error
		}); ok {
			if err := l.SetNetworkLayerForChecksum(p.NetworkLayer()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err, wrong := p.VerifyChecksums(); err != nil || len(wrong) > 0 {
		t.Errorf("checksums: %v, %v in %x", wrong, err, frame)
	}
	return p
}

func TestNoRejection(t *testing.T) {
	to := netip.AddrPortFrom(frames.VIP4, 7000)
	from := netip.AddrPortFrom(frames.Client, 40000)
	tcp := frames.TCPFrame(from, to, frames.SYN)
	source := func(a string) []byte {
		return frames.TCPFrame(netip.AddrPortFrom(netip.MustParseAddr(a), 1), to, frames.SYN)
	}
	later := bytes.Clone(tcp)
	later[20], later[21] = 0, 9
	first := bytes.Clone(tcp) // how much data a SYN has, it does not tell
	first[20] = 0x20
	broadcast := bytes.Clone(tcp)
	copy(broadcast, []byte{255, 255, 255, 255, 255, 255})
	for name, frame := range map[string][]byte{
		"nothing":          nil,
		"half a header":    tcp[:20],
		"half a segment":   tcp[:40],
		"reset":            frames.TCPFrame(from, to, frames.RST),
		"echo":             frames.EchoFrame(frames.Client, frames.VIP4),
		"arp":              frames.Ethernet(portrules.EtherTypeARP, frames.ARP(1, frames.Client, frames.VIP4)),
		"from nobody":      source("0.0.0.0"),
		"from a group":     source("224.0.0.1"),
		"from everybody":   source("255.255.255.255"),
		"from the machine": source("127.0.0.1"),
		"first fragment":   first,
		"later fragment":   later,
		"to everybody":     broadcast,
	} {
		if got := portrules.Rejection(frame, rejecter); got != nil {
			t.Errorf("%s: answered %x", name, got)
		}
	}
}

func FuzzRejection(f *testing.F) {
	for _, v := range frames.Vectors() {
		f.Add(v.Frame)
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		got := portrules.Rejection(frame, rejecter)
		if p := portrules.Parse(got); got != nil && (p.Kind != portrules.IP || p.Malformed) {
			t.Errorf("answered %x with %x", frame, got)
		}
	})
}
