package ebpf

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
	"github.com/opennlb/opennlb/portrules/frames"
)

// The test binary run with these in its environment is an agent that serves until
// it is killed.
const (
	childCluster = "NLB_TEST_CLUSTER"
	childMember  = "NLB_TEST_MEMBER"
	childKind    = "NLB_TEST_KIND"
	childClsact  = "NLB_TEST_CLSACT"
)

// childLease is all that a child ever grants itself.
const childLease = 300 * time.Millisecond

// startChild runs an agent in the network namespace of the calling thread and
// returns when it serves. kill ends it as kill -9 does.
func startChild(t *testing.T, kind string, opts options) (kill func()) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), childCluster+"="+testCluster, childMember+"="+t.Name(), childKind+"="+kind)
	if opts.clsact {
		cmd.Env = append(cmd.Env, childClsact+"=1")
	}
	cmd.Stderr = t.Output()
	stdin, err := cmd.StdinPipe() // ends the child if the test dies
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill = func() {
		cmd.Process.Kill()
		cmd.Wait()
		stdin.Close()
	}
	if line, err := bufio.NewReader(stdout).ReadString('\n'); line != "ready\n" {
		kill()
		t.Fatalf("child said %q, %v", line, err)
	}
	t.Cleanup(func() {
		kill()
		if err := Remove(testCluster, t.Name()); err != nil {
			t.Error(err)
		}
	})
	return kill
}

func runChild(member string) {
	err := serveChild(member)
	fmt.Fprintln(os.Stderr, "child:", err)
	os.Exit(1)
}

func serveChild(member string) error {
	e, err := open(dataplane.Setup{
		Cluster:    testCluster,
		Member:     member,
		Interface:  testInterface,
		Kind:       os.Getenv(childKind),
		SourceMAC:  testSourceMAC,
		ClusterMAC: frames.ClusterMAC[:],
		Priority:   frames.Self,
		BeaconKey:  frames.BeaconKey,
	}, slog.Default(), options{clsact: os.Getenv(childClsact) != ""})
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
