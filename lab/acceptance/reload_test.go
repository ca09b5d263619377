package acceptance

import (
	"strings"
	"testing"
	"time"

	"github.com/opennlb/opennlb/control"
	"github.com/opennlb/opennlb/lab"
)

// TestReloadOfAnotherCluster: a file with another name is refused, and keeps nobody from
// changing the configuration.
func TestReloadOfAnotherCluster(t *testing.T) {
	beside(t)
	c := start(t, lab.Options{Members: 2, Clients: 10})
	other, m := c.Members[0], c.Members[1]
	shared := m.Config["cluster"].(map[string]any)
	name := shared["name"]
	shared["name"] = "other"
	c.ok(m.Reload())
	for deadline := time.Now().Add(5 * time.Second); !strings.Contains(m.Log(5), "the name of a cluster cannot change"); c.sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("a file of another cluster is not refused")
		}
	}
	shared["name"] = name
	now := c.agreed()
	_, err := other.Control().Apply(c.ctx, control.ApplyRequest{File: "f", YAML: strings.Replace(now.YAML, "serve", "majority", 1)})
	c.ok(err)
}
