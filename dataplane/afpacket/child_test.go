package afpacket

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/opennlb/opennlb/dataplane"
	"github.com/opennlb/opennlb/dataplane/enginetest"
	"github.com/opennlb/opennlb/portrules/frames"
)

// The test binary run with these in its environment is an agent that serves until
// it is killed.
const (
	childCluster = "NLB_TEST_CLUSTER"
	childMember  = "NLB_TEST_MEMBER"
)

// childLease is all that a child ever grants itself.
const childLease = 300 * time.Millisecond

func TestMain(m *testing.M) {
	if os.Getenv(childCluster) == "" {
		os.Exit(m.Run())
	}
	fmt.Fprintln(os.Stderr, "child:", serveChild())
	os.Exit(1)
}

// startChild runs an agent in the network namespace of the calling thread and
// returns when it serves.
func startChild(t *testing.T) *exec.Cmd {
	t.Helper()
	setup := testSetup(t)
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), childCluster+"="+setup.Cluster, childMember+"="+setup.Member)
	cmd.Stderr = t.Output()
	stdin, err := cmd.StdinPipe() // ends the child if the test dies
	enginetest.Must(t, err)
	stdout, err := cmd.StdoutPipe()
	enginetest.Must(t, err)
	enginetest.Must(t, cmd.Start())
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		stdin.Close()
	})
	if line, err := bufio.NewReader(stdout).ReadString('\n'); line != "ready\n" {
		t.Fatalf("child said %q, %v", line, err)
	}
	return cmd
}

func serveChild() error {
	e, err := Open(dataplane.Setup{
		Cluster: os.Getenv(childCluster), Member: os.Getenv(childMember), Interface: testInterface, Kind: "auto",
		SourceMAC: testSourceMAC, ClusterMAC: frames.ClusterMAC[:], Priority: frames.Self, BeaconKey: frames.BeaconKey,
	}, slog.Default())
	if err != nil {
		return err
	}
	if err := e.Install(frames.Policy(own), nil); err != nil {
		return err
	}
	if err := e.Renew(dataplane.Now().Add(childLease)); err != nil {
		return err
	}
	fmt.Println("ready")
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}
