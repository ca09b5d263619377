package agent

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/opennlb/opennlb/control"
	"github.com/opennlb/opennlb/dataplane"
	"github.com/opennlb/opennlb/portrules"
)

// What other members tell of their decisions comes in portions, as answers.
const (
	portionTime = time.Second
	portionSize = 200 // samples
)

// A trace that another one is in the way of tries again for a while: one that was given
// up ends soon, and so does a portion.
const (
	tracePatience = 1500 * time.Millisecond
	traceRetry    = 50 * time.Millisecond
)

// portion is a part of another member's trace.
type portion struct {
	Samples []control.Sample `json:"samples"`
	Missed  uint64           `json:"missed"` // packets that matched and are not among them
}

// Trace implements control.Backend.
func (b backend) Trace(ctx context.Context, r control.TraceRequest) (<-chan control.Sample, error) {
	var others []string
	var names map[uint16]string
	err := b.l.do(ctx, func() error {
		names = b.l.ruleNames()
		for _, p := range b.l.peers {
			if r.All && p.Name != b.l.cfg.Member.Name {
				others = append(others, p.Name)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	here, err := b.l.trace(ctx, r, names)
	if err != nil {
		return nil, err
	}
	if len(others) == 0 {
		return here, nil
	}
	out := make(chan control.Sample)
	var members sync.WaitGroup
	members.Go(func() { pour(ctx, out, here) })
	for _, m := range others {
		members.Go(func() { b.traceOther(ctx, out, m, r) })
	}
	go func() {
		members.Wait()
		close(out)
	}()
	return out, nil
}

// pour hands samples on until in is closed.
func pour(ctx context.Context, out chan<- control.Sample, in <-chan control.Sample) {
	for s := range in {
		select {
		case out <- s:
		case <-ctx.Done():
		}
	}
}

// traceOther asks another member for one portion after the other, until ctx ends or it
// does not answer. Packets between two portions are not seen.
func (b backend) traceOther(ctx context.Context, out chan<- control.Sample, member string, r control.TraceRequest) {
	r.All = false
	for missed := uint64(0); ctx.Err() == nil; {
		asked, cancel := context.WithTimeout(ctx, answerWithin)
		a, err := b.ask(asked, member, question{Trace: &r})
		cancel()
		if err == nil && a.Portion == nil {
			err = errors.New("answered nothing: does it run another version?")
		}
		if ctx.Err() != nil {
			return
		}
		var list []control.Sample
		if err != nil {
			list = []control.Sample{{Time: time.Now(), Member: member, Missed: missed, Error: err.Error()}}
		} else {
			list = a.Portion.Samples
		}
		for _, s := range list {
			s.Member, s.Missed = member, s.Missed+missed
			select {
			case out <- s:
			case <-ctx.Done():
				return
			}
		}
		if err != nil {
			return
		}
		missed += a.Portion.Missed
	}
}

// portion traces here for another member.
func (l *loop) portion(r control.TraceRequest, names map[uint16]string) (*portion, error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	samples, err := l.trace(ctx, r, names)
	if err != nil {
		return nil, err
	}
	defer time.AfterFunc(portionTime, cancel).Stop()
	p := &portion{}
	beyond, told := uint64(0), uint64(0)
	for s := range samples {
		told = s.Missed
		if len(p.Samples) == portionSize {
			beyond++
			continue
		}
		s.Missed += beyond
		p.Samples = append(p.Samples, s)
	}
	p.Missed = told + beyond
	return p, nil
}

// trace shows the decisions of this member. names are those of the rules, by ID. It needs
// nothing else of the loop that changes.
func (l *loop) trace(ctx context.Context, r control.TraceRequest, names map[uint16]string) (<-chan control.Sample, error) {
	tracer, ok := l.engine.(dataplane.Tracer)
	if !ok {
		return nil, control.Refuse("the data plane %s cannot be traced: that takes eBPF", l.engine.Kind())
	}
	filter := dataplane.TraceFilter{Client: r.Client, Port: r.Port}
	samples, err := tracer.Trace(ctx, filter)
	for tries := tracePatience / traceRetry; errors.Is(err, dataplane.ErrTracing) && tries > 0; tries-- {
		select {
		case <-time.After(traceRetry):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		samples, err = tracer.Trace(ctx, filter)
	}
	if err != nil {
		return nil, control.Refuse("%v", err)
	}
	out := make(chan control.Sample)
	go func() {
		defer close(out)
		for s := range samples {
			select {
			case out <- sampleOf(l.cfg.Member.Name, names[s.Rule], s):
			case <-ctx.Done():
			}
		}
	}()
	return out, nil
}

func sampleOf(member, rule string, s dataplane.Sample) control.Sample {
	return control.Sample{
		Time:   time.Now().Add(-time.Duration(dataplane.Now() - s.At)),
		Member: member,
		Client: s.Client.Addr(), ClientPort: s.Client.Port(),
		VIP: s.VIP.Addr(), Port: s.VIP.Port(),
		Protocol: protocolName(s.Protocol),
		Rule:     rule,
		Verdict:  s.Reason.Verdict().String(), Reason: s.Reason.String(),
		Missed: s.Missed,
	}
}

func protocolName(p uint8) string {
	switch p {
	case 1:
		return "icmp"
	case 6:
		return "tcp"
	case 17:
		return "udp"
	case 58:
		return "icmpv6"
	case portrules.ProtoSCTP:
		return "sctp"
	}
	return fmt.Sprint(p)
}
