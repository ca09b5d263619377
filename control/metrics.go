package control

import (
	"context"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// scrapeTimeout bounds how long one scrape waits for the agent.
const scrapeTimeout = 5 * time.Second

// collector reads the status when it is scraped and counts nothing itself.
type collector struct {
	status func(context.Context) (Status, error)
}

// Describe announces nothing: the members and rules are not known beforehand.
func (collector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c collector) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	s, err := c.status(ctx)
	if err != nil {
		out <- prometheus.NewInvalidMetric(prometheus.NewDesc("nlb_error", "Reading the status was not possible.", nil, nil), err)
		return
	}
	m := metrics{out}
	m.gauge("nlb_info", "Constant 1, labelled with what runs.", 1,
		"cluster", s.Cluster, "member", s.Self, "mode", s.Mode, "dataplane", s.Dataplane.Kind, "version", s.Version)
	m.gauge("nlb_epoch", "Number of the latest agreement.", float64(s.Epoch))
	m.gauge("nlb_converged", "1 if all members agree.", truth(s.Converged))
	m.gauge("nlb_lease", "1 if this member's data plane may answer.", truth(s.Lease))
	m.gauge("nlb_default_host", "1 if this member is the default host.", truth(s.DefaultHost == s.Self && s.Self != ""))
	m.gauge("nlb_warnings", "Number of things that need an operator.", float64(len(s.Warnings)))
	m.members(s.Members)
	for _, r := range s.Rules {
		for _, o := range r.Owners {
			m.gauge("nlb_rule_buckets", "Buckets of the rule that the member owns, of 4096.", float64(o.Buckets), "rule", r.Name, "member", o.Member)
		}
	}
	m.packets(s.Dataplane.Counters)
}

// metrics turns names and numbers into what Prometheus takes.
type metrics struct{ out chan<- prometheus.Metric }

// gauge sends one value; labels are names and values in turn.
func (m metrics) gauge(name, help string, value float64, labels ...string) {
	m.send(prometheus.GaugeValue, name, help, value, labels)
}

func (m metrics) send(kind prometheus.ValueType, name, help string, value float64, labels []string) {
	var names, values []string
	for i := 0; i < len(labels); i += 2 {
		names, values = append(names, labels[i]), append(values, labels[i+1])
	}
	m.out <- prometheus.MustNewConstMetric(prometheus.NewDesc(name, help, names, nil), kind, value, values...)
}

func (m metrics) members(members []Member) {
	count := make(map[string]int)
	for _, member := range members {
		state := member.State
		if !member.Alive {
			state = "dead"
		}
		count[state]++
		m.gauge("nlb_member_up", "1 if the member is alive.", truth(member.Alive), "member", member.Name, "priority", strconv.Itoa(int(member.Priority)))
	}
	for _, state := range append(States(), "dead") {
		m.gauge("nlb_members", "Members in each state.", float64(count[state]), "state", state)
	}
}

// packets adds up what several parts of an engine may count for one exit.
func (m metrics) packets(counters []Counter) {
	type exit struct{ rule, reason string }
	sum := make(map[exit]uint64)
	for _, c := range counters {
		sum[exit{c.Rule, c.Reason}] += c.Packets
	}
	for e, n := range sum {
		m.send(prometheus.CounterValue, "nlb_packets_total", "Packets about a virtual IP, and beacons of members, by the exit that they took at this member.", float64(n),
			[]string{"rule", e.rule, "reason", e.reason})
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
