package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"github.com/spf13/cobra"

	"github.com/opennlb/opennlb/control"
)

// errEnough ends a trace of as many packets as were wanted.
var errEnough = errors.New("enough")

func (c *cli) trace() *cobra.Command {
	var r control.TraceRequest
	var client string
	var count uint64
	var limit time.Duration
	cmd := &cobra.Command{
		Use:   "trace",
		Short: "Show live decisions: packets to the virtual IPs and what became of each",
		Long: `Show live decisions: packets to the virtual IPs and what became of each, and why.

It shows what the data plane counts: a packet that XDP drops, or that tc drops or accepts. Of many packets
it shows some, at most about 950 a second, and tells how many more there were. One trace runs at a time.
With --all the other members report once a second, at most 200 packets each.`,
		Example: `  nlbctl trace --client 198.51.100.0/24 --port 443
  nlbctl trace --all --client 2001:db8::7 --for 10s
  nlbctl trace --count 100 -o json`,
		Args: exactly(),

		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if r.Client, err = prefix(client); err != nil {
				return usageError{err}
			}
			if limit < 0 {
				return usageError{fmt.Errorf("--for %v is before now", limit)}
			}
			ctx, cancel := cmd.Context(), context.CancelFunc(func() {})
			if limit > 0 {
				ctx, cancel = context.WithTimeout(ctx, limit)
			}
			defer cancel()
			return c.runTrace(ctx, r, count)
		},
	}
	cmd.Flags().StringVar(&client, "client", "", "only from this address or prefix")
	cmd.Flags().Uint16Var(&r.Port, "port", 0, "only to this port")
	cmd.Flags().BoolVar(&r.All, "all", false, "of all members, not only of the one asked")
	cmd.Flags().Uint64Var(&count, "count", 0, "end after so many packets; 0 = never")
	cmd.Flags().DurationVar(&limit, "for", 0, "end after this time; 0s = when interrupted")
	return cmd
}

// prefix reads an address or a prefix; "" is the invalid one.
func prefix(s string) (netip.Prefix, error) {
	if s == "" {
		return netip.Prefix{}, nil
	}
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	if p, err := netip.ParsePrefix(s); err == nil && !p.Addr().Is4In6() {
		return p.Masked(), nil
	}
	return netip.Prefix{}, fmt.Errorf("%q is no address or prefix: write one such as 198.51.100.7, 198.51.100.0/24 or 2001:db8::/64", s)
}

// runTrace prints samples until ctx ends, or count of them are printed.
func (c *cli) runTrace(ctx context.Context, r control.TraceRequest, count uint64) error {
	client, err := c.dial()
	if err != nil {
		return err
	}
	defer client.Close()
	missed, shown := map[string]uint64{}, uint64(0)
	begun := func() {
		if c.format == "table" && c.terminal {
			fmt.Fprintln(c.stderr, "Tracing until interrupted.")
		}
	}
	err = client.Trace(ctx, r, begun, func(s control.Sample) error {
		missed[s.Member] = s.Missed
		if err := c.printSample(s); err != nil {
			return err
		}
		if shown++; shown == count {
			return errEnough
		}
		return nil
	})
	total := uint64(0)
	for _, n := range missed {
		total += n
	}
	if total > 0 {
		fmt.Fprintf(c.stderr, "%d more packets matched and were not shown.\n", total)
	}
	if errors.Is(err, errEnough) {
		return nil
	}
	return untilInterrupted(ctx, err)
}

// printSample prints one sample of a stream: a line, or a YAML document.
func (c *cli) printSample(s control.Sample) error {
	switch c.format {
	case "json":
		text, err := json.Marshal(s)
		if err != nil {
			return fmt.Errorf("write JSON: %w", err)
		}
		return c.write(append(text, '\n'))
	case "yaml":
		if err := c.write([]byte("---\n")); err != nil {
			return err
		}
	}
	return c.print(s, func(w io.Writer) { c.sampleLine(w, s) })
}

// sampleLine has columns of fixed width, since later packets are not known yet.
func (c *cli) sampleLine(w io.Writer, s control.Sample) {
	at := s.Time.Local().Format("15:04:05.000")
	if s.Error != "" {
		fmt.Fprintln(w, c.paint(red, fmt.Sprintf("%s  %-12s  %s", at, s.Member, s.Error)))
		return
	}
	verdict := text(s.Verdict)
	if s.Verdict == "accept" {
		verdict = c.paint(green, s.Verdict)
	}
	rule := "no rule"
	if s.Rule != "" {
		rule = "rule " + s.Rule
	}
	fmt.Fprintf(w, "%s  %-12s  %-6s  %-21s -> %-21s  %s %s, %s\n", at, printable(s.Member), printable(s.Protocol),
		endpoint(s.Client, s.ClientPort), endpoint(s.VIP, s.Port), verdict, printable(s.Reason), printable(rule))
}
