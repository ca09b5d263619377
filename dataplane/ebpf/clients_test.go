package ebpf

import (
	"testing"

	"github.com/opennlb/opennlb/dataplane"
	"github.com/opennlb/opennlb/dataplane/enginetest"
	"github.com/opennlb/opennlb/portrules"
)

// More clients are forgotten than go into one system call, some of whom the programs have
// forgotten before, at either end and in between; nobody else is.
func TestForgetMany(t *testing.T) {
	enterNamespace(t)
	e := openEngine(t, "tc", options{})
	key := func(i int) portrules.ClientKey { return portrules.ClientKey{Rule: 7, Hash: uint64(i)} }
	const many = 3*clientBatch + 5
	var known []dataplane.Client
	var doomed []portrules.ClientKey
	for i := range many {
		if i > 0 && i < many-1 && i%1000 != 0 && i != clientBatch {
			known = append(known, dataplane.Client{Key: key(i)})
		}
		doomed = append(doomed, key(i))
	}
	other := dataplane.Client{Key: key(many)}
	enginetest.Must(t, e.Learn(append(known, other)))
	if got := len(clientsOf(t, e)); got != len(known)+1 {
		t.Fatalf("%d clients, want %d", got, len(known)+1)
	}
	enginetest.Must(t, e.Forget(doomed))
	all := clientsOf(t, e)
	if _, there := all[other.Key]; len(all) != 1 || !there {
		t.Errorf("%d clients are left, of whom one is the other: %v", len(all), there)
	}
	enginetest.Must(t, e.ForgetClients())
	if all := clientsOf(t, e); len(all) != 0 {
		t.Errorf("%d clients are left of none", len(all))
	}
}
