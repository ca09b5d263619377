package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"
)

// session is a long-lived connection to the echo service.
type session struct {
	client netip.Addr
	member string // who answered first
	conn   net.Conn
	lines  *bufio.Reader
}

// open connects and learns who answers.
func (d *demo) open(ctx context.Context, client netip.Addr) (*session, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	conn, err := d.lab.Client.DialFrom(ctx, client, echo)
	if err != nil {
		return nil, err
	}
	s := &session{client: client, conn: conn, lines: bufio.NewReader(conn)}
	if s.member, err = s.say("hello"); err != nil {
		conn.Close()
		return nil, err
	}
	return s, nil
}

// say sends a line and returns who echoed it.
func (s *session) say(text string) (member string, err error) {
	s.conn.SetDeadline(time.Now().Add(patience))
	if _, err := fmt.Fprintln(s.conn, text); err != nil {
		return "", err
	}
	line, err := s.lines.ReadString('\n')
	if err != nil {
		return "", err
	}
	member, echoed, _ := strings.Cut(strings.TrimSpace(line), ": ")
	if echoed != text {
		return "", fmt.Errorf("sent %q, got %q back", text, echoed)
	}
	return member, nil
}

func (s *session) close() { s.conn.Close() }

// works counts the sessions that are still answered by the member they began with.
func works(sessions []*session) (n int, last error) {
	for _, s := range sessions {
		switch member, err := s.say("still there?"); {
		case err != nil:
			last = fmt.Errorf("session of %s with %s: %w", s.client, s.member, err)
		case member != s.member:
			last = fmt.Errorf("session of %s with %s answered by %s", s.client, s.member, member)
		default:
			n++
		}
	}
	return n, last
}
