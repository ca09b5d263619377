package ebpf

import (
	"net"
	"testing"

	"github.com/opennlb/opennlb/dataplane/enginetest"
	"github.com/opennlb/opennlb/portrules"
	"github.com/opennlb/opennlb/portrules/frames"
)

// A connection counts until it is over: what is left of it in TIME_WAIT would meet the
// segments of the client's next one, which is the new owner's.
func TestTimeWaitIsNoConnection(t *testing.T) {
	enterNamespace(t)
	enginetest.OwnEverything(t)
	e := openEngine(t, "auto", options{})
	p := frames.Policy(nil)
	for i := range p.Tables {
		for b := range p.Tables[i] {
			p.Tables[i][b] = portrules.Residual
		}
	}
	serve(t, e, p)
	listener, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(vipPort(22)))
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	client, err := net.DialTCP("tcp", net.TCPAddrFromAddrPort(testClient), net.TCPAddrFromAddrPort(vipPort(22)))
	if err != nil {
		t.Fatal(err)
	}
	server, err := listener.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	ack := frames.TCPFrame(testClient, vipPort(22), frames.ACK)
	if err := e.runTC(ack, portrules.Accept); err != nil {
		t.Errorf("established: %v", err)
	}
	server.Close() // first, so it goes to TIME_WAIT
	enginetest.AwaitEnd(t, client)
	if err := e.runTC(ack, portrules.Accept); err != nil {
		t.Errorf("the client has not closed yet: %v", err)
	}
	client.Close()
	if err := e.runTC(ack, portrules.Drop); err != nil {
		t.Errorf("over: %v", err)
	}
}
