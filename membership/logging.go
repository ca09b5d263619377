package membership

import (
	"log/slog"
	"strings"
	"sync"
	"time"
)

// logBridge takes memberlist's log lines. They are noisy and go to debug, but
// some are the only sign of something an operator must know.
type logBridge struct {
	log   *slog.Logger
	every *limiter
	count *counters

	defended chan struct{} // closed when this member has defended itself for the first time
	once     sync.Once
}

func newLogBridge(log *slog.Logger, every *limiter, count *counters) *logBridge {
	return &logBridge{log: log, every: every, count: count, defended: make(chan struct{})}
}

// notable are the lines that matter (memberlist v0.7.0: net.go, state.go).
var notable = []struct {
	text string // part of the line
	hint string // what it means; empty: nothing
	key  bool   // counts as WrongKey
	name bool   // counts as WrongCluster
}{
	{"no installed keys could decrypt", "someone uses another cluster key (membership.key_file)", true, false},
	{"Decrypt packet failed", "someone sends packets without the cluster key", true, false},
	{"encryption is configured but remote state is not encrypted", "someone joins without the cluster key", true, false},
	{"remote state is encrypted and encryption is not configured", "someone joins with a cluster key, this member runs without", true, false},
	{`unacceptable label ""`, "", false, false}, // a connection given up before it said anything
	{"unacceptable label", "someone of another cluster.name uses this address and port", false, true},
	{"UDP probes failed", "a member is reachable over TCP but not over UDP: allow membership.port for UDP in firewalls", false, false},
	{"handler queue full", "membership messages arrive faster than they are handled", false, false},
	{"Error accepting TCP connection", "membership cannot accept connections", false, false},
}

func (b *logBridge) Write(p []byte) (int, error) {
	line := strings.TrimSpace(string(p))
	for _, n := range notable {
		if !strings.Contains(line, n.text) {
			continue
		}
		if n.key {
			b.count.wrongKey.Add(1)
		}
		if n.name {
			b.count.wrongCluster.Add(1)
		}
		if n.hint != "" && b.every.allow(n.text) {
			b.log.Warn(n.hint, "detail", line)
		}
		return len(p), nil
	}
	if strings.Contains(line, "Refuting a suspect message") {
		b.once.Do(func() { close(b.defended) })
	}
	b.log.Debug(line)
	return len(p), nil
}

// limiter lets an event of one key pass once per period.
type limiter struct {
	period time.Duration

	mu   sync.Mutex
	last map[string]time.Time
}

func newLimiter(period time.Duration) *limiter {
	return &limiter{period: period, last: make(map[string]time.Time)}
}

func (l *limiter) allow(key string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if t, ok := l.last[key]; ok && now.Sub(t) < l.period {
		return false
	}
	if len(l.last) >= 256 { // keys come from the network
		clear(l.last)
	}
	l.last[key] = now
	return true
}
