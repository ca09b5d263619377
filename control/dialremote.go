package control

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/opennlb/opennlb/config"
)

// dialTimeout is for a connection and its TLS handshake.
const dialTimeout = 5 * time.Second

// RemoteFiles are the certificates of an administrator, in PEM.
type RemoteFiles struct{ Cert, Key, CA string }

// DialRemote makes a client for the nlbd that listens at host, which may have a port
// ([config.RemotePort] otherwise). It connects when it is used.
func DialRemote(host string, files RemoteFiles) (*Client, error) {
	at, err := withPort(host)
	if err != nil {
		return nil, err
	}
	for _, f := range []struct{ name, flag string }{{files.Cert, "--cert"}, {files.Key, "--key"}, {files.CA, "--ca"}} {
		if f.name == "" {
			return nil, fmt.Errorf("ask nlbd at %s: %s is missing: name a file in PEM", at, f.flag)
		}
	}
	pair, err := tls.LoadX509KeyPair(files.Cert, files.Key)
	if err != nil {
		return nil, fmt.Errorf("read your certificate (--cert and --key): %w", err)
	}
	pool, err := readPool(files.CA)
	if err != nil {
		return nil, fmt.Errorf("read whom to trust (--ca): %w", err)
	}
	config := &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: pool,
		// Not Certificates: of a CA that the member does not name, none would be sent, and
		// the member could not say what is wrong with it.
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil },
	}
	dialer := &net.Dialer{Timeout: dialTimeout}
	return &Client{at: at, base: "https://" + at, tls: true, http: http.Client{Transport: &http.Transport{
		DialContext:         func(ctx context.Context, _, _ string) (net.Conn, error) { return dialer.DialContext(ctx, "tcp", at) },
		TLSClientConfig:     config,
		TLSHandshakeTimeout: dialTimeout,
	}}}, nil
}

// withPort returns host:port.
func withPort(host string) (string, error) {
	if h, port, err := net.SplitHostPort(host); err == nil && h != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err == nil && n > 0 {
			return host, nil
		}
	}
	bare := strings.Trim(host, "[]")
	if bare == "" || strings.ContainsAny(bare, "/ \t") || strings.Contains(bare, ":") && net.ParseIP(bare) == nil {
		return "", fmt.Errorf("%q is not a host: write one such as 192.0.2.1 or node1:%d", host, config.RemotePort)
	}
	return net.JoinHostPort(bare, strconv.Itoa(config.RemotePort)), nil
}

// unreachableTLS says what to do about a failed request over TLS.
func (c *Client) unreachableTLS(err error) error {
	var unknown x509.UnknownAuthorityError
	var other x509.HostnameError
	var invalid x509.CertificateInvalidError
	var header tls.RecordHeaderError
	switch text := err.Error(); {
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("cannot reach nlbd at %s: connection refused: is it running, with control.remote set?", c.at)
	case errors.As(err, &unknown):
		return fmt.Errorf("nlbd at %s has a certificate that --ca does not vouch for: %w", c.at, err)
	case errors.As(err, &other):
		return fmt.Errorf("the certificate of nlbd at %s is for other names: %w: ask it by one of those, or make it another certificate", c.at, err)
	case errors.As(err, &invalid):
		return fmt.Errorf("the certificate of nlbd at %s is not good: %w", c.at, err)
	case errors.As(err, &header):
		return fmt.Errorf("what answers at %s does not speak TLS: name the port of control.remote.listen", c.at)
	case strings.Contains(text, "remote error: tls: "): // crypto/tls has no type for these
		return fmt.Errorf("nlbd at %s refuses the certificate of --cert: it must be of the CA in control.remote.client_ca there, for clients, and not expired: %w", c.at, err)
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return fmt.Errorf("nlbd at %s hung up: it refuses the certificate of --cert, or has too many connections; its log says which", c.at)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("nlbd at %s does not answer: %w", c.at, err)
	}
	return fmt.Errorf("ask nlbd at %s: %w", c.at, err)
}
