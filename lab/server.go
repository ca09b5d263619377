package lab

import (
	"bufio"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
)

// StartHTTP serves a page that holds only the host's name, on all addresses, also
// those that the host gets later.
func (h *Host) StartHTTP(port uint16) error {
	l, err := h.Listen("tcp", fmt.Sprintf(":%d", port))
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler:  http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, h.Name) }),
		ErrorLog: log.New(io.Discard, "", 0),
	}
	h.undo.add(server.Close)
	go server.Serve(l)
	return nil
}

// StartEcho answers each line with the host's name and the line.
func (h *Host) StartEcho(port uint16) error {
	l, err := h.Listen("tcp", fmt.Sprintf(":%d", port))
	if err != nil {
		return err
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go h.echo(conn)
		}
	}()
	return nil
}

func (h *Host) echo(conn net.Conn) {
	defer conn.Close()
	lines := bufio.NewScanner(conn)
	for lines.Scan() {
		if _, err := fmt.Fprintf(conn, "%s: %s\n", h.Name, lines.Text()); err != nil {
			return
		}
	}
}

// StartUDP answers each datagram to addr, for example a VIP, with the host's name.
func (h *Host) StartUDP(addr netip.AddrPort) error {
	conn, err := h.ListenPacket("udp", addr.String())
	if err != nil {
		return err
	}
	go func() {
		buf := make([]byte, 2048)
		for {
			_, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			conn.WriteTo([]byte(h.Name+"\n"), from)
		}
	}()
	return nil
}
