package lab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// Client is the host with all the client addresses.
type Client struct {
	*Host
	Addrs  []netip.Addr // 20 in each /24
	Addrs6 []netip.Addr // 20 in each /64; empty without Options.IPv6
	lab    *Lab
}

// Ask sends a GET over a new connection to the servers of [Host.StartHTTP] and
// returns the name of the host that answered.
func (c *Client) Ask(ctx context.Context, src netip.Addr, dst netip.AddrPort) (string, error) {
	conn, err := c.DialFrom(ctx, src, dst)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	return ask(ctx, conn, dst)
}

func ask(ctx context.Context, conn net.Conn, dst netip.AddrPort) (string, error) {
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := fmt.Fprintf(conn, "GET / HTTP/1.0\r\nHost: %s\r\n\r\n", dst); err != nil {
		return "", err
	}
	reply, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return "", fmt.Errorf("read answer from %s: %w", dst, err)
	}
	defer reply.Body.Close()
	body, err := io.ReadAll(io.LimitReader(reply.Body, 4096))
	if err != nil {
		return "", fmt.Errorf("read answer from %s: %w", dst, err)
	}
	if reply.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s answered %s", dst, reply.Status)
	}
	return strings.TrimSpace(string(body)), nil
}

// AskUDP sends a datagram to the servers of [Host.StartUDP] and returns the name of
// the host that answered first.
func (c *Client) AskUDP(ctx context.Context, src, dst netip.AddrPort) (string, error) {
	conn, err := c.dialUDP(src, dst)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := conn.Write([]byte("who\n")); err != nil {
		return "", err
	}
	buf := make([]byte, 512)
	n, err := conn.Read(buf)
	return strings.TrimSpace(string(buf[:n])), err
}

func (c *Client) dialUDP(src, dst netip.AddrPort) (conn net.Conn, err error) {
	err = c.ns.Do(func() (err error) {
		conn, err = net.DialUDP("udp", net.UDPAddrFromAddrPort(src), net.UDPAddrFromAddrPort(dst))
		return err
	})
	return conn, err
}

// Ping sends count ICMP echo requests and returns how many were answered, answers
// from a second host (duplicates) included.
func (c *Client) Ping(ctx context.Context, src, dst netip.Addr, count int) (answers int, err error) {
	out, err := c.Run(ctx, "ping", "-n", "-c", strconv.Itoa(count), "-i", "0.01", "-W", "1", "-I", src.String(), dst.String())
	var status *exec.ExitError
	if err != nil && !(errors.As(err, &status) && status.ExitCode() == 1) { // 1: not all answered
		return 0, err
	}
	return strings.Count(out, " bytes from "), nil
}
