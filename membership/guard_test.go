package membership

import (
	"encoding/binary"
	"io"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/memberlist"
)

// A host that accepts a connection and then reads nothing, as one that was
// stopped in the debugger, holds up a sender for the stream timeout only.
func TestSendToFrozenHost(t *testing.T) {
	bubble(t, func(t *testing.T, seg *segment) {
		all := cluster(t, seg, 2)
		seg.attach(netip.AddrPortFrom(testAddr(2), testPort)) // nobody reads its streams
		all[0].Send("n02", make([]byte, MaxReliable), true)
		time.Sleep(DefaultTiming().StreamTimeout + 10*time.Millisecond)
		if all[0].Stats().SendErrors == 0 {
			t.Error("still sending")
		}
	})
}

func TestInboundStreamsAreBounded(t *testing.T) {
	bubble(t, func(t *testing.T, seg *segment) {
		all := cluster(t, seg, 2)
		intruder := seg.attach(netip.AddrPortFrom(testAddr(99), testPort))
		target := netip.AddrPortFrom(testAddr(1), testPort).String()
		for range maxStreams + 10 {
			if _, err := intruder.DialTimeout(target, time.Second); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(100 * time.Millisecond)
		if n := all[0].Stats().TooManyStreams; n < 10 {
			t.Errorf("%d refused", n)
		}
		time.Sleep(DefaultTiming().StreamTimeout) // the intruder's are given up
		all[1].Send("n01", []byte("x"), true)
		select {
		case <-all[0].Messages():
		case <-time.After(time.Second):
			t.Error("connections were not given back")
		}
	})
}

// Strangers who hold as many connections as they get do not keep members from theirs.
func TestStrangersLeaveRoomForMembers(t *testing.T) {
	bubble(t, func(t *testing.T, seg *segment) {
		all := cluster(t, seg, 2)
		target := netip.AddrPortFrom(testAddr(1), testPort).String()
		for i := range 10 {
			intruder := seg.attach(netip.AddrPortFrom(testAddr(90+i), testPort))
			for range maxEach + 1 {
				if _, err := intruder.DialTimeout(target, time.Second); err != nil {
					t.Fatal(err)
				}
			}
		}
		synctest.Wait()
		if n := all[0].Stats().TooManyStreams; n != 10*(maxEach+1)-maxStrangers {
			t.Errorf("%d refused", n)
		}
		const count = 20
		for range count {
			all[1].Send("n01", []byte("x"), true)
		}
		for i := range count {
			select {
			case <-all[0].Messages():
			case <-time.After(100 * time.Millisecond):
				t.Fatalf("%d of %d arrived", i, count)
			}
		}
	})
}

// One of them takes no more than its part.
func TestOneStrangerLeavesRoomForOthers(t *testing.T) {
	bubble(t, func(t *testing.T, seg *segment) {
		m := start(t, seg, testOptions(1))
		intruder := seg.attach(netip.AddrPortFrom(testAddr(99), testPort))
		for range maxStreams {
			if _, err := intruder.DialTimeout(netip.AddrPortFrom(testAddr(1), testPort).String(), time.Second); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if n := m.Stats().TooManyStreams; n != maxStreams-maxEach {
			t.Errorf("%d refused", n)
		}
		if second := start(t, seg, testOptions(2)); !agree([]*Membership{m, second}) {
			t.Errorf("%v, %v", names(m), names(second))
		}
	})
}

func TestInboundBytesAreBounded(t *testing.T) {
	bubble(t, func(t *testing.T, seg *segment) {
		m := start(t, seg, testOptions(1))
		intruder := seg.attach(netip.AddrPortFrom(testAddr(99), testPort))
		c, err := intruder.DialTimeout(netip.AddrPortFrom(testAddr(1), testPort).String(), time.Second)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		hello, _ := memberlist.AddLabelHeaderToPacket([]byte{10}, m.opts.Cluster) // 10 = encrypted
		hello = binary.BigEndian.AppendUint32(hello, 19<<20)
		if _, err := c.Write(hello); err != nil {
			t.Fatal(err)
		}
		go io.Copy(io.Discard, c) // the error that memberlist answers
		sent := 0
		for sent < 19<<20 {
			n, err := c.Write(make([]byte, 64<<10))
			sent += n
			if err != nil {
				break
			}
		}
		if sent < maxStateLen-100<<10 || sent > maxStateLen+100<<10 {
			t.Errorf("%d bytes taken, limit %d", sent, maxStateLen)
		}
	})
}

// Start joins even if the agent's loop, which Healthy watches, is not running yet.
func TestUnhealthyDuringStart(t *testing.T) {
	bubble(t, func(t *testing.T, seg *segment) {
		first := start(t, seg, testOptions(1))
		var running atomic.Bool
		o := testOptions(2)
		o.Healthy = running.Load
		second := start(t, seg, o)
		running.Store(true)
		time.Sleep(time.Second)
		if !agree([]*Membership{first, second}) {
			t.Errorf("%v, %v", names(first), names(second))
		}
	})
}
