package l2

import (
	"fmt"
	"net"

	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"

	"github.com/opennlb/opennlb/converge"
)

// BeaconSender sends beacons to the cluster MAC, so that they reach every member by
// the way that the clients' frames take.
type BeaconSender struct {
	conn   *packet.Conn
	header []byte // Ethernet
}

// OpenBeacon opens the socket of a sender. Beacons come from source, which must not
// be the cluster MAC.
func OpenBeacon(i *Interface, source, clusterMAC net.HardwareAddr) (*BeaconSender, error) {
	switch {
	case len(source) != 6 || isGroup(source):
		return nil, fmt.Errorf("opening the beacon sender: source MAC %q is no unicast address", source)
	case len(clusterMAC) != 6:
		return nil, fmt.Errorf("opening the beacon sender: cluster MAC %q is not 6 bytes long", clusterMAC)
	case source.String() == clusterMAC.String():
		return nil, fmt.Errorf("opening the beacon sender: source MAC %s is the cluster MAC, which switches must not learn", source)
	}
	// Protocol 0: the socket only sends (packet(7)).
	conn, err := packet.Listen(i.netInterface(), packet.Raw, 0, nil)
	if err != nil {
		return nil, fmt.Errorf("opening a packet socket on %s: %w", i.Name, hint(err))
	}
	header := append(append([]byte(nil), clusterMAC...), source...)
	return &BeaconSender{conn, append(header, converge.BeaconEtherType>>8, converge.BeaconEtherType&0xff)}, nil
}

// Send sends one beacon, as converge.AppendBeacon writes it. It never waits: where
// the interface's queue is full it returns an error that wraps unix.EAGAIN or
// unix.ENOBUFS, where the interface is down unix.ENETDOWN, and the next beacon makes
// up for it.
func (b *BeaconSender) Send(payload []byte) error {
	raw, err := b.conn.SyscallConn()
	if err != nil {
		return fmt.Errorf("sending a beacon: %w", err)
	}
	frame := append(b.header[:etherLen:etherLen], payload...)
	var sent error
	err = raw.Control(func(fd uintptr) { // Write of raw would wait for room
		sent = unix.Sendto(int(fd), frame, unix.MSG_DONTWAIT, nil)
	})
	if err == nil {
		err = sent
	}
	if err != nil {
		return fmt.Errorf("sending a beacon: %w", err)
	}
	return nil
}

// Close releases the socket.
func (b *BeaconSender) Close() error { return b.conn.Close() }
