package main

import (
	"context"

	"github.com/opennlb/opennlb/control"
)

// explain asks the cluster about one client.
func (d *demo) explain(ctx context.Context) error {
	client := d.lab.Client.Addrs[0]
	d.step("Why does "+d.owner[client]+" answer "+client.String()+"?",
		"Every decision can be asked for its reasons: nlbctl explain CLIENT VIP:PORT.")
	e, err := d.lab.Members[0].Control().Explain(ctx, control.ExplainRequest{
		Client: client, ClientPort: 40000, VIP: web.Addr(), Port: web.Port(), Protocol: "tcp",
	})
	if err != nil {
		return err
	}
	for _, s := range e.Steps {
		d.say("- %s", s)
	}
	d.check(e.Owner == d.owner[client], "explain names %s, and %s is who answered", e.Owner, d.owner[client])
	return nil
}
