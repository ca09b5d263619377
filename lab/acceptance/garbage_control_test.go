package acceptance

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/opennlb/opennlb/lab"
)

// garbageRequests are what no client of the control socket should send.
var garbageRequests = []struct {
	name, request string
	status        int
}{
	{"oversize body", post(`{"action":"` + strings.Repeat("x", 2<<20) + `"}`), 413},
	{"endless body", "POST /v1/state HTTP/1.1\r\nHost: nlbd\r\nTransfer-Encoding: chunked\r\n\r\n" + strings.Repeat("1000\r\n"+strings.Repeat(" ", 0x1000)+"\r\n", 300), 413},
	{"malformed JSON", post(`{"action": "stop"`), 400},
	{"not JSON", post("stop"), 400},
	{"two requests in one", post(`{"action":"stop"}{"action":"stop"}`), 400},
	{"unknown field", post(`{"action":"stop","force":true}`), 400},
	{"unknown action", post(`{"action":"explode"}`), 400},
	{"no body", post(""), 400},
	{"deep JSON", post(`{"members":` + strings.Repeat("[", 100_000)), 400},
	{"wrong method", "GET /v1/state HTTP/1.1\r\nHost: nlbd\r\n\r\n", 405},
	{"wrong path", "GET /etc/passwd HTTP/1.1\r\nHost: nlbd\r\n\r\n", 404},
	{"oversize header", "GET /v1/status HTTP/1.1\r\nHost: nlbd\r\nX: " + strings.Repeat("x", 64<<10) + "\r\n\r\n", 431},
	{"not HTTP", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400},
}

func post(body string) string {
	return fmt.Sprintf("POST /v1/state HTTP/1.1\r\nHost: nlbd\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

// garbageControl sends them, while others never end their requests.
func (c *cluster) garbageControl() {
	c.t.Helper()
	m := c.Members[0]
	for range 30 {
		conn, err := net.Dial("unix", m.Socket)
		c.ok(err)
		defer conn.Close()
		_, err = io.WriteString(conn, "POST /v1/state HTTP/1.1\r\nHost: nlbd\r\nContent-Length: 100\r\n\r\n{\"act")
		c.ok(err)
	}
	var wg sync.WaitGroup
	for _, r := range garbageRequests {
		wg.Go(func() {
			if status, err := askRaw(m, r.request); err != nil || status != r.status {
				c.t.Errorf("control request, %s: status %d, %v; want %d", r.name, status, err, r.status)
			}
		})
	}
	wg.Wait()
	ctx, cancel := context.WithTimeout(c.ctx, time.Second)
	defer cancel()
	s, err := m.Status(ctx)
	c.ok(err)
	if s.Members[0].State != "started" {
		c.t.Errorf("%s is %s: one of the requests was obeyed", m.Name, s.Members[0].State)
	}
}

// askRaw sends bytes to the control socket and returns the status of the answer.
func askRaw(m *lab.Member, request string) (status int, err error) {
	conn, err := net.Dial("unix", m.Socket)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	go io.WriteString(conn, request) // it may hang up before the end
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	return answer.StatusCode, nil
}
