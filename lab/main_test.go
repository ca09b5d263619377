package lab

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
)

// The test binary plays two other parts: nlbd, when called as "--config FILE", and
// the owner of a lab that comes to a bad end, when the environment says how.
const endingEnv = "NLBLAB_TEST_ENDING"

func TestMain(m *testing.M) {
	switch {
	case len(os.Args) == 3 && os.Args[1] == "--config":
		playNlbd(os.Args[2])
	case os.Getenv(endingEnv) != "":
		playOwner(os.Getenv(endingEnv))
	default:
		os.Exit(m.Run())
	}
}

// playNlbd logs the signals that it gets and ends in order on SIGTERM.
func playNlbd(config string) {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGHUP)
	fmt.Fprintln(os.Stderr, "reading", config)
	for s := range signals {
		fmt.Fprintln(os.Stderr, "got", s)
		if s == syscall.SIGTERM {
			return
		}
	}
}

// playOwner builds a lab, prints its name and directory, and ends badly.
func playOwner(ending string) {
	ctx := context.Background()
	l, err := New(ctx, Options{Members: 2, Clients: 3, Nlbd: os.Args[0]})
	if err == nil {
		err = l.Start()
	}
	if err == nil {
		_, err = l.Members[0].StartCommand("sh", "-c", "sleep 1000 & wait")
	}
	if err == nil {
		err = os.MkdirAll(l.Members[0].PinDir(), 0o755)
	}
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	fmt.Println(l.Name, l.Dir)
	if ending == "panic" {
		bufio.NewReader(os.Stdin).ReadString('\n')
		panic("as the test wants")
	}
	select {}
}

// newLab builds a lab that is closed at the end of the test and leaves nothing.
func newLab(t *testing.T, options Options) *Lab {
	t.Helper()
	needRoot(t)
	if options.Nlbd == "" {
		options.Nlbd = os.Args[0]
	}
	l, err := New(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if left := l.Leftovers(); len(left) > 0 {
			t.Errorf("left behind:\n%s", strings.Join(left, "\n"))
		}
	})
	return l
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root for network namespaces")
	}
	for _, tool := range []string{"ip", "bridge", "nft"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("%v: install iproute2 and nftables", err)
		}
	}
}
