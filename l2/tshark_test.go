package l2

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"github.com/opennlb/opennlb/config"
)

// tshark dissects frames and returns one line of tab-separated fields for each.
func tshark(t *testing.T, frames [][]byte, fields ...string) []string {
	t.Helper()
	path, err := exec.LookPath("tshark")
	if err != nil {
		t.Skip("tshark is not installed")
	}
	var pcap bytes.Buffer
	header := []uint32{0xa1b2c3d4, 4<<16 | 2, 0, 0, 65535, 1}
	binary.Write(&pcap, binary.LittleEndian, header)
	for _, f := range frames {
		binary.Write(&pcap, binary.LittleEndian, []uint32{0, 0, uint32(len(f)), uint32(len(f))})
		pcap.Write(f)
	}
	args := []string{"-r", "-", "-n", "-N", "m", "-o", "ip.check_checksum:TRUE", "-T", "fields"}
	for _, f := range fields {
		args = append(args, "-e", f)
	}
	cmd := exec.Command(path, args...)
	cmd.Stdin = &pcap
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("running tshark: %v", err)
	}
	lines := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
	if len(lines) != len(frames) {
		t.Fatalf("tshark dissected %d of %d frames:\n%s", len(lines), len(frames), out)
	}
	return lines
}

// Wireshark's manufacturer table knows the addresses of Windows NLB.
func TestMACsAreThoseOfWindowsNLB(t *testing.T) {
	vip := netip.MustParseAddr("192.0.2.10")
	want := []string{"MS-NLB-VirtServer_c0:00:02:0a"}
	macs := []net.HardwareAddr{ClusterMAC(config.Unicast, vip)}
	for p := uint8(1); p <= 32; p++ {
		macs = append(macs, MemberMAC(p, vip))
		want = append(want, fmt.Sprintf("MS-NLB-PhysServer-%02d_c0:00:02:0a", p))
	}
	var frames [][]byte
	for _, mac := range macs {
		frames = append(frames, append(etherHeader(broadcast(), mac, 0x88b5), make([]byte, 46)...))
	}
	for i, got := range tshark(t, frames, "eth.src_resolved") {
		if got != want[i] {
			t.Errorf("%s is %s to tshark, want %s", macs[i], got, want[i])
		}
	}
}

// An independent dissector finds nothing wrong with the frames we build, and
// reads in them what we meant.
func TestFramesDissect(t *testing.T) {
	id := testIdentity()
	var frames [][]byte
	for _, f := range [][][]byte{must(id.announce(vip4)), must(id.announce(vip6))} {
		frames = append(frames, f...)
	}
	frames = append(frames,
		id.answer(askARP(client, clientIP4, vip4), true).reply,
		id.answer(askNDP(client, clientIP6, vip6), true).reply,
		must(probeFrame(client, vip4)), must(probeFrame(client, vip6)))
	for _, record := range []byte{toExclude, isExclude, toInclude} {
		frames = append(frames, igmpFrames(member, dedicated, IGMPGroup(vip4), record)...)
	}
	want := []string{
		"arp|1|" + vip4.String(),
		"arp|2|" + vip4.String(),
		"icmpv6|136|" + vip6.String(),
		"arp|2|" + vip4.String(),
		"icmpv6|136|" + vip6.String(),
		"arp|1|0.0.0.0",
		"icmpv6|135|" + vip6.String(),
		"igmp|0x16|239.255.2.10", "igmp|0x22|239.255.2.10",
		"igmp|0x16|239.255.2.10", "igmp|0x22|239.255.2.10",
		"igmp|0x17|239.255.2.10", "igmp|0x22|239.255.2.10",
	}
	lines := tshark(t, frames, "frame.protocols", "_ws.expert.severity", "arp.opcode", "arp.src.proto_ipv4",
		"icmpv6.type", "icmpv6.nd.ns.target_address", "icmpv6.nd.na.target_address", "igmp.type", "igmp.maddr",
		"ip.checksum.status", "icmpv6.checksum.status", "igmp.checksum.status")
	for i, line := range lines {
		f := strings.Split(line, "\t")
		layers := strings.Split(f[0], ":")
		got := fmt.Sprintf("%s|%s%s%s|%s%s%s%s", layers[len(layers)-1], f[2], f[4], f[7], f[3], f[5], f[6], f[8])
		if got != want[i] {
			t.Errorf("frame %d is %s to tshark, want %s", i, got, want[i])
		}
		for _, status := range f[9:] {
			if status != "" && status != "1" {
				t.Errorf("frame %d (%s): bad checksum: %s", i, want[i], line)
			}
		}
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
