package lab

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestZZ(t *testing.T) {
	nlbd := os.Getenv("ZZ")
	if nlbd == "" {
		t.Skip()
	}
	l := newLab(t, Options{Mode: os.Getenv("ZZMODE"), Nlbd: nlbd})
	ctx, c := context.WithTimeout(t.Context(), 120*time.Second)
	defer c()
	for _, m := range l.Members {
		m.StartHTTP(80)
	}
	if err := l.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := l.WaitConverged(ctx, 3); err != nil {
		t.Fatal(err)
	}
	capf := filepath.Join("/tmp/labmod", "zz.pcap")
	cap, err := l.Switch.Capture(ctx, capf, "arp or igmp or udp or ether proto 0x88b5")
	if err != nil {
		t.Fatal(err)
	}
	web := netip.AddrPortFrom(VIP, 80)
	for round := range 12 {
		v := l.Members[[]int{2, 2, 0}[round%3]]
		l.Switch.SetLoss(ctx, v.Host, 100)
		v.Kill()
		if _, err := l.WaitConverged(ctx, 2); err != nil {
			t.Fatal(err)
		}
		time.Sleep(300 * time.Millisecond)
		l.Switch.SetLoss(ctx, v.Host, 0)
		v.Start()
		s, err := l.WaitConverged(ctx, 3)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 60 {
			c1, cc := context.WithTimeout(ctx, 3*time.Second)
			t0 := time.Now()
			who, err := l.Client.Ask(c1, l.Client.Addrs[i*5], web)
			cc()
			if err != nil || time.Since(t0) > 500*time.Millisecond {
				fmt.Println(round, v.Name, l.Client.Addrs[i*5], who, err, time.Since(t0), brief(s))
				out, _ := l.Client.Run(ctx, "ip", "neigh")
				fmt.Println(out)
				for _, m := range l.Members {
					s, err := m.Status(ctx)
					fmt.Println(m.Name, brief(s), err, s.Warnings)
					for _, c := range s.Dataplane.Counters {
						fmt.Print(" ", c)
					}
					fmt.Println()
					o, _ := m.Run(ctx, "ip", "maddr", "show", "dev", "eth0")
					fmt.Println(o)
					fmt.Println(m.Log(15))
				}
				o, _ := l.Switch.Run(ctx, "bridge", "-d", "mdb", "show")
				fmt.Println(o)
				cap.Stop()
				t.FailNow()
			}
		}
	}
	cap.Stop()
}
