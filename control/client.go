package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"syscall"
	"time"
)

const maxAnswer = 16 << 20 // bytes

// Client asks one nlbd.
type Client struct {
	at   string // socket, or host and port
	base string // of URLs
	tls  bool
	http http.Client
}

// Dial makes a client for the unix socket at path. It connects when it is used.
func Dial(path string) *Client {
	return &Client{at: path, base: "http://nlbd", http: http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", path)
		},
	}}}
}

// Close ends the connections that are kept for reuse.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Status asks what the member knows of the cluster.
func (c *Client) Status(ctx context.Context) (s Status, err error) {
	err = c.ask(ctx, "GET", "/v1/status", nil, &s)
	return s, err
}

// SetState changes the state of members and says for each what became of it.
func (c *Client) SetState(ctx context.Context, r StateRequest) (results []Result, err error) {
	err = c.ask(ctx, "POST", "/v1/state", r, &results)
	return results, err
}

// Explain asks who answers a packet.
func (c *Client) Explain(ctx context.Context, r ExplainRequest) (e Explanation, err error) {
	err = c.ask(ctx, "POST", "/v1/explain", r, &e)
	return e, err
}

// QueryPort asks what is done about a port of a virtual IP.
func (c *Client) QueryPort(ctx context.Context, r PortRequest) (p Port, err error) {
	err = c.ask(ctx, "POST", "/v1/port", r, &p)
	return p, err
}

// Clients lists the clients that a rule keeps on their member.
func (c *Client) Clients(ctx context.Context, r ClientsRequest) (list ClientList, err error) {
	q := url.Values{"rule": {r.Rule}, "limit": {strconv.Itoa(r.Limit)}}
	err = c.ask(ctx, "GET", "/v1/clients?"+q.Encode(), nil, &list)
	return list, err
}

// SetRule changes the part of members in a rule and says for each what became of it.
func (c *Client) SetRule(ctx context.Context, r RuleRequest) (results []Result, err error) {
	err = c.ask(ctx, "POST", "/v1/rule", r, &results)
	return results, err
}

// Config returns a version of the cluster's configuration, that in force for 0.
func (c *Client) Config(ctx context.Context, version uint64) (v ConfigVersion, err error) {
	path := "/v1/config"
	if version > 0 {
		path += "?version=" + strconv.FormatUint(version, 10)
	}
	err = c.ask(ctx, "GET", path, nil, &v)
	return v, err
}

// ConfigHistory lists the versions that the member keeps, the latest first.
func (c *Client) ConfigHistory(ctx context.Context) (list []ConfigVersion, err error) {
	err = c.ask(ctx, "GET", "/v1/config/history", nil, &list)
	return list, err
}

// Apply replaces the configuration of the cluster.
func (c *Client) Apply(ctx context.Context, r ApplyRequest) (res ApplyResult, err error) {
	err = c.ask(ctx, "POST", "/v1/config/apply", r, &res)
	return res, err
}

// Rollback brings back an earlier configuration.
func (c *Client) Rollback(ctx context.Context, r RollbackRequest) (res ApplyResult, err error) {
	err = c.ask(ctx, "POST", "/v1/config/rollback", r, &res)
	return res, err
}

// RotateKey changes the cluster key at all members.
func (c *Client) RotateKey(ctx context.Context, r KeyRequest) (res KeyResult, err error) {
	err = c.ask(ctx, "POST", "/v1/key/rotate", r, &res)
	return res, err
}

// KeyStatus tells how the members stand with the cluster key.
func (c *Client) KeyStatus(ctx context.Context) (s KeyStatus, err error) {
	err = c.ask(ctx, "GET", "/v1/key", nil, &s)
	return s, err
}

// ShowKey returns the cluster key, at the unix socket only.
func (c *Client) ShowKey(ctx context.Context) (s KeyShown, err error) {
	err = c.ask(ctx, "POST", "/v1/key/show", struct{}{}, &s)
	return s, err
}

// Audit returns the latest n changes that were asked for, oldest first.
func (c *Client) Audit(ctx context.Context, n int) (entries []AuditEntry, err error) {
	err = c.ask(ctx, "GET", "/v1/audit?n="+strconv.Itoa(n), nil, &entries)
	return entries, err
}

// Events returns the events after a number. If there are none, it waits for one,
// at most a minute.
func (c *Client) Events(ctx context.Context, after uint64, wait time.Duration) (events []Event, err error) {
	q := url.Values{"after": {strconv.FormatUint(after, 10)}, "wait": {wait.String()}}
	err = c.ask(ctx, "GET", "/v1/events?"+q.Encode(), nil, &events)
	return events, err
}

func (c *Client) ask(ctx context.Context, method, path string, request, answer any) error {
	resp, err := c.send(ctx, method, path, request)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("read the answer of nlbd: %w", err)
	}
	if err := json.Unmarshal(text, answer); err != nil {
		return fmt.Errorf("read the answer of nlbd: %w: nlbctl and nlbd may be of different versions", err)
	}
	return nil
}

// send returns an answer that is no refusal; the caller closes its body.
func (c *Client) send(ctx context.Context, method, path string, request any) (*http.Response, error) {
	var body io.Reader
	if request != nil {
		text, err := json.Marshal(request)
		if err != nil {
			return nil, fmt.Errorf("write the request: %w", err)
		}
		body = bytes.NewReader(text)
	}
	r, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return nil, fmt.Errorf("write the request: %w", err)
	}
	resp, err := c.http.Do(r)
	if err != nil {
		return nil, c.unreachable(err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("read the answer of nlbd: %w", err)
	}
	refused := &Error{Status: resp.StatusCode}
	if err := json.Unmarshal(text, refused); err != nil || refused.Message == "" {
		return nil, fmt.Errorf("nlbd at %s answered %s: is that socket nlbd's?", c.at, resp.Status)
	}
	return nil, refused
}

// unreachable says what to do about a failed request.
func (c *Client) unreachable(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err // the URL is ours and tells the operator nothing
	}
	if c.tls {
		return c.unreachableTLS(err)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("cannot reach nlbd at %s: is it running? (systemctl status nlbd)", c.at)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("cannot reach nlbd at %s: permission denied: run as root, or join the group %s", c.at, group)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("nlbd at %s does not answer: is it stopped, or short of CPU? (systemctl status nlbd, journalctl -u nlbd)", c.at)
	}
	return fmt.Errorf("ask nlbd at %s: %w", c.at, err)
}
