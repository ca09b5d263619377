package acceptance

import (
	"net"
	"testing"
	"time"

	"github.com/mdlayher/packet"

	"github.com/opennlb/opennlb/converge"
	"github.com/opennlb/opennlb/lab"
)

// TestForeignBeacons lets a client that hears the beacons of the cluster send them
// again, changed or as they are. Only the counters notice.
func TestForeignBeacons(t *testing.T) {
	for _, dataplane := range []string{"tc", "xdp"} {
		t.Run(dataplane, func(t *testing.T) {
			c := start(t, lab.Options{Clients: 60, Dataplane: dataplane})
			conn := c.packetSocket(converge.BeaconEtherType)
			recorded := c.record(conn, 10)
			for _, m := range []string{"stop", "start"} { // so that what was recorded is of an earlier epoch, too
				c.act(c.Members[2], stateRequest(m))
				c.converged(3)
			}
			recorded = append(recorded, c.record(conn, 10)...)
			epoch, before := c.status().Epoch, c.counters()
			probe := c.Client.StartProbe(lab.ProbeOptions{Target: web, Lanes: lanes(c.owners(c.Client.Addrs))})
			for round := range 10 {
				for i, frame := range recorded {
					c.sendFrame(conn, frame)
					forged := append([]byte(nil), frame...)
					forged[14+4+(7*i+round)%44] ^= byte(1 + i) // anything behind the magic
					c.sendFrame(conn, forged)
				}
				c.sleep(10 * time.Millisecond)
			}
			c.sleep(300 * time.Millisecond)
			c.answeredAll(probe.Stop())
			if now := c.status(); now.Epoch != epoch || !now.Converged {
				c.judge(0)("epoch %d, then %d, converged %t", epoch, now.Epoch, now.Converged)
			}
			for member, after := range c.counters() {
				forged := after["beacon-forged"] - before[member]["beacon-forged"]
				replayed := after["beacon-replayed"] - before[member]["beacon-replayed"]
				t.Logf("%s refused %d forged and %d replayed beacons", member, forged, replayed)
				if want := uint64(10 * len(recorded)); forged < want || replayed < want*9/10 {
					t.Errorf("%s refused %d forged and %d replayed beacons of %d each", member, forged, replayed, want)
				}
			}
		})
	}
}

// record waits for n beacons of the cluster.
func (c *cluster) record(conn *packet.Conn, n int) [][]byte {
	c.t.Helper()
	c.ok(conn.SetReadDeadline(time.Now().Add(5 * time.Second)))
	frames := make([][]byte, n)
	for i := range frames {
		buf := make([]byte, 1500)
		got, _, err := conn.ReadFrom(buf)
		c.ok(err)
		frames[i] = buf[:got]
	}
	return frames
}

func (c *cluster) sendFrame(conn *packet.Conn, frame []byte) {
	c.t.Helper()
	_, err := conn.WriteTo(frame, &packet.Addr{HardwareAddr: net.HardwareAddr(frame[:6])})
	c.ok(err)
}
