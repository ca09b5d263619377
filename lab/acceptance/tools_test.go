package acceptance

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opennlb/opennlb/lab"
)

// iperf3 sends its datagrams beside a TCP connection: one rule covers both, and affinity
// single brings them to one member.
const toolRules = lab.DefaultRules + `
- {name: pages, protocol: tcp, ports: 8080, affinity: none}
- {name: dns, protocol: both, ports: 53, affinity: none}
- {name: iperf, protocol: both, ports: 5201, affinity: single}
- {name: plain, protocol: udp, ports: 9, affinity: none}
- {name: quic, protocol: udp, ports: 443, affinity: single}
`

// TestTools asks the cluster with programs that others wrote, through each engine, and
// believes what they print.
func TestTools(t *testing.T) {
	beside(t)
	for _, dataplane := range []string{"tc", "xdp", "afpacket"} {
		t.Run(dataplane, func(t *testing.T) {
			c := start(t, lab.Options{Dataplane: dataplane, Clients: 40, IPv6: true, Rules: toolRules})
			c.serveTools()
			c.together(map[string]func() error{ // before the others: hping3 misses answers on a busy machine
				"hping3 SYN":  func() error { return c.hping("-S", "-p", "80") },
				"hping3 UDP":  func() error { return c.hping("--udp", "-p", "9", "-d", "30") },
				"hping3 ICMP": func() error { return c.hping("--icmp") },
			})
			c.together(map[string]func() error{
				"curl -4":        func() error { return c.curl("-4", c.Client.Addrs, lab.VIP) },
				"curl -6":        func() error { return c.curl("-6", c.Client.Addrs6, lab.VIP6) },
				"dig":            func() error { return c.dig(lab.VIP, "+notcp") },
				"dig +tcp":       func() error { return c.dig(lab.VIP, "+tcp") },
				"dig IPv6":       func() error { return c.dig(lab.VIP6, "+notcp") },
				"dig IPv6 +tcp":  func() error { return c.dig(lab.VIP6, "+tcp") },
				"iperf3 -u":      func() error { return c.iperf(c.Client.Addrs[1], lab.VIP) },
				"iperf3 -u IPv6": func() error { return c.iperf(c.Client.Addrs6[1], lab.VIP6) },
			})
			c.quic()
		})
	}
}

// together runs all at the same time.
func (c *cluster) together(runs map[string]func() error) {
	c.t.Helper()
	var mu sync.Mutex
	errs := make(map[string]error)
	var done sync.WaitGroup
	for name, run := range runs {
		done.Go(func() {
			err := c.fair(run)
			mu.Lock()
			defer mu.Unlock()
			errs[name] = err
		})
	}
	done.Wait()
	for name, err := range errs {
		if err != nil {
			c.t.Errorf("%s: %v", name, err)
		}
	}
}

// serveTools starts a real web server, a DNS server and iperf3 on each member, which tell its name.
func (c *cluster) serveTools() {
	c.t.Helper()
	run := func(m *lab.Member, name string, args ...string) *lab.Process {
		p, err := m.StartCommand(name, args...)
		c.ok(err)
		return p
	}
	for _, m := range c.Members {
		// Not port 7, whose datagrams are counted: the client's kernel knows nothing of hping3's and refuses the answers.
		c.ok(m.StartUDP(netip.AddrPortFrom(lab.VIP, 9)))
		dir := filepath.Join(c.Dir, "pages-"+m.Name)
		c.ok(os.Mkdir(dir, 0o700))
		c.ok(os.WriteFile(filepath.Join(dir, "index.html"), []byte(m.Name), 0o600))
		run(m, "/usr/bin/python3", "-m", "http.server", "--bind", "::", "--directory", dir, "8080")
		run(m, "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--user=root",
			"--pid-file=", "--txt-record=who.lab,"+m.Name)
		// iperf3 answers datagrams from the address that it is bound to, and not from the one that they were sent to.
		run(m, "iperf3", "--server", "--bind", lab.VIP.String())
		run(m, "iperf3", "--server", "--bind", lab.VIP6.String())
	}
	for _, m := range c.Members {
		c.await(m, "the services of "+m.Name, "ss -Hlnt '( sport = 8080 or sport = 53 or sport = 5201 )' | grep -c LISTEN", 5)
	}
}

// await waits until a shell command on the member prints at least a number.
func (c *cluster) await(m *lab.Member, what, command string, least int) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.ctx, 10*time.Second)
	defer cancel()
	for {
		out, _ := m.Run(ctx, "sh", "-c", command) // grep finds nothing yet
		n := 0
		_, _ = fmt.Sscan(out, &n)
		if n >= least {
			return
		}
		if ctx.Err() != nil {
			c.t.Fatalf("%s do not start: %d of %d sockets", what, n, least)
		}
		c.sleep(20 * time.Millisecond)
	}
}

// hping wants each of 20 packets answered once. While it sends, hping3 is deaf: of 30 answers
// that the kernel counted it has reported 28. So what it misses it may ask for again; an answer
// too many it may not get.
func (c *cluster) hping(args ...string) error {
	command := "hping3 " + strings.Join(append(args, "-n -c 20 -i u20000", lab.VIP.String()), " ") + " 2>&1" // where it sums up
	var out string
	for range 3 {
		var err error
		out, err = c.tool("sh", "-c", command)
		if strings.Contains(out, "DUP") || strings.Count(out, "len=") > 20 {
			c.t.Errorf("hping3 %v is answered more than once\n%s", args, out) // no pause excuses it
			return nil
		}
		if err == nil && strings.Contains(out, "20 packets transmitted, 20 packets received, 0% packet loss") {
			return nil
		}
	}
	return fmt.Errorf("not all are answered, in three attempts\n%s", out)
}

// curl fetches a page from one address after the other.
func (c *cluster) curl(family string, clients []netip.Addr, vip netip.Addr) error {
	url := "http://" + netip.AddrPortFrom(vip, 8080).String() + "/"
	return c.untilAll(func(i int) (string, error) {
		src := clients[i%len(clients)].String()
		out, err := c.tool("curl", family, "-sS", "-m", "3", "--interface", src, "-w", " %{http_code} %{remote_ip}", url)
		if err != nil {
			return "", err
		}
		member, status, _ := strings.Cut(out, " ")
		if status != "200 "+vip.String() {
			return "", fmt.Errorf("curl says %q", out)
		}
		return member, nil
	})
}

// dig asks for the name of whoever answers, each time from another port.
func (c *cluster) dig(vip netip.Addr, protocol string) error {
	return c.untilAll(func(int) (string, error) {
		out, err := c.tool("dig", "@"+vip.String(), "who.lab", "TXT", "+tries=1", "+time=2", protocol)
		if err != nil {
			return "", err
		}
		answer := digAnswer.FindStringSubmatch(out)
		if !strings.Contains(out, "status: NOERROR") || answer == nil {
			return "", fmt.Errorf("dig says\n%s", out)
		}
		return answer[1], nil
	})
}

var digAnswer = regexp.MustCompile(`(?m)^who\.lab\.\s.*\sTXT\s+"(\w+)"$`)

// iperf wants its datagrams to arrive, where its connection did, without loss but for what a
// pause of this machine explains.
func (c *cluster) iperf(src, vip netip.Addr) error {
	began := time.Now()
	out, err := c.tool("iperf3", "--client", vip.String(), "--bind", src.String(), "--udp", "--bitrate", "3M", "--length", "1000", "--time", "1", "--json")
	var report struct {
		Error string
		End   struct {
			Sum struct {
				Packets int `json:"packets"`
				Lost    int `json:"lost_packets"`
			} `json:"sum"`
		} `json:"end"`
	}
	if e := json.Unmarshal([]byte(out), &report); e != nil || err != nil || report.Error != "" {
		return fmt.Errorf("iperf3: %v, %v, %s", err, e, report.Error)
	}
	pause := machine.Paused(began)
	if sum := report.End.Sum; sum.Packets < 300 || sum.Lost > 0 && (pause < lab.Pause || sum.Lost > sum.Packets/5) {
		return fmt.Errorf("iperf3 sent %d datagrams and lost %d", sum.Packets, sum.Lost)
	}
	return nil
}

// tool runs a program on the client host and returns what it printed.
func (c *cluster) tool(name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(c.ctx, 10*time.Second)
	defer cancel()
	return c.Client.Run(ctx, name, args...)
}

// untilAll asks at least 12 times, and until every member has answered: after 60 of three, one
// has been left out by chance once in ten billion.
func (c *cluster) untilAll(ask func(i int) (member string, err error)) error {
	by := make(map[string]int)
	for i := range 60 {
		member, err := ask(i)
		if err != nil {
			return err
		}
		by[member]++
		if i >= 11 && len(by) == len(c.Members) {
			return nil
		}
	}
	return fmt.Errorf("not answered by all members: %v", by)
}
