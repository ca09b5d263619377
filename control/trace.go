package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"time"
)

// TraceRequest says which packets are of interest. The zero value takes all that the
// member asked decides about.
type TraceRequest struct {
	Client netip.Prefix `json:"client"` // of the source; invalid: any
	Port   uint16       `json:"port"`   // of the VIP; 0: any, and packets without ports
	All    bool         `json:"all"`    // of all members
}

// Check returns an [Error] where no packet can be meant.
func (r *TraceRequest) Check() error {
	if r.Client.IsValid() && !plain(r.Client.Addr()) {
		return Refuse("client %v is unusable: give one such as 192.0.2.0/24 or 2001:db8::200", r.Client)
	}
	return nil
}

// Sample is one packet and what a member made of it.
type Sample struct {
	Time       time.Time  `json:"time"` // to a kernel tick
	Member     string     `json:"member"`
	Client     netip.Addr `json:"client"`
	ClientPort uint16     `json:"client_port"` // 0 where there is none
	VIP        netip.Addr `json:"vip"`
	Port       uint16     `json:"port"`
	Protocol   string     `json:"protocol"` // tcp, udp, sctp, icmp, icmpv6 or a number
	Rule       string     `json:"rule"`     // "" where no rule covers the packet
	Verdict    string     `json:"verdict"`
	Reason     string     `json:"reason"`
	Missed     uint64     `json:"missed"`          // packets that matched at this member and were not told, so far
	Error      string     `json:"error,omitempty"` // why nothing more comes from this member; the rest is empty
}

// stream is an answer that goes on.
type stream func(http.ResponseWriter)

// writeWithin is how long a reader of a stream may take for what is written to it.
const writeWithin = 10 * time.Second

// trace writes a line of JSON for each sample until the caller hangs up.
func (a *api) trace(w http.ResponseWriter, r *http.Request) (any, error) {
	var req TraceRequest
	if err := decode(w, r, &req); err != nil {
		return nil, err
	}
	if err := req.Check(); err != nil {
		return nil, err
	}
	// A deadline for reading the request would end its context, too.
	if err := http.NewResponseController(w).SetReadDeadline(time.Time{}); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return nil, err
	}
	ctx, cancel := context.WithCancel(r.Context())
	samples, err := a.backend.Trace(ctx, req)
	if err != nil {
		cancel()
		return nil, err
	}
	return stream(func(w http.ResponseWriter) {
		defer cancel()
		w.Header().Set("Content-Type", "application/x-ndjson")
		w.WriteHeader(http.StatusOK)
		c, lines := http.NewResponseController(w), json.NewEncoder(w)
		err := c.Flush() // the caller learns that it has begun
		write := func(s Sample) {
			if err != nil {
				return // until the backend has noticed
			}
			_ = c.SetWriteDeadline(time.Now().Add(writeWithin))
			if err = lines.Encode(s); err == nil {
				err = c.Flush()
			}
		}
		look := time.NewTicker(lookEvery)
		defer look.Stop()
		for {
			select {
			case s, more := <-samples:
				if !more {
					return
				}
				write(s)
			case <-look.C: // it may go on for days
				if gone := CallerOf(ctx).still(); gone != nil {
					write(Sample{Time: a.now().UTC(), Error: "the certificate is not good any more: " + gone.Error()})
					err = gone
					cancel()
				}
			}
		}
	}), nil
}

// Trace calls each with samples until ctx ends, which is no error, or each returns one.
// begun is called before, when the member has begun to trace.
func (c *Client) Trace(ctx context.Context, r TraceRequest, begun func(), each func(Sample) error) error {
	resp, err := c.send(ctx, "POST", "/v1/trace", r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	begun()
	for lines := json.NewDecoder(resp.Body); ; {
		var s Sample
		err := lines.Decode(&s)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return errors.New("nlbd has ended the trace: it is stopping")
		case err != nil:
			return fmt.Errorf("read the answer of nlbd: %w", err)
		}
		if err := each(s); err != nil {
			return err
		}
	}
}
