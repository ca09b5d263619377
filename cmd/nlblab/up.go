package main

import (
	"context"
	"fmt"
	"time"

	"github.com/opennlb/opennlb/lab"
)

// runUp builds a cluster, tells how to reach its parts, and waits.
func runUp(ctx context.Context, p *printer, options lab.Options) error {
	begin := time.Now()
	l, err := lab.New(ctx, options)
	if err != nil {
		return err
	}
	defer l.Close()
	d := &demo{printer: p, lab: l}
	if err := d.form(ctx); err != nil {
		return d.aborted(err)
	}
	fmt.Fprintf(p.out, "\nReady after %.1f s. In another terminal, as root:\n", time.Since(begin).Seconds())
	for _, m := range l.Members {
		p.say("nlbctl --socket %s status", m.Socket)
	}
	rows := [][]string{{"HOST", "ENTER ITS NETWORK WITH"}}
	for _, h := range l.Hosts() {
		rows = append(rows, []string{h.Name, "nsenter --net=" + h.NetNS().Path()})
	}
	p.table(rows)
	p.say("curl --interface %s http://%s/   (on the client host)", l.Client.Addrs[0], web.Addr())
	p.say("logs and configurations: %s", l.Dir)
	fmt.Fprintln(p.out, "\nCtrl-C ends it and leaves nothing.")
	<-ctx.Done()
	return l.Close()
}
