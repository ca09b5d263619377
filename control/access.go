package control

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// AccessFiles are the certificates of a listener for remote administration, in PEM.
type AccessFiles struct {
	Cert     string // of this member, with intermediate ones
	Key      string
	ClientCA string // whose certificates may connect at all
}

// Access decides who may administer from afar: holders of certificates, by name.
// Files that change are read anew; what they say counts from the next request on.
type Access struct {
	files           AccessFiles
	admins, readers []string
	log             *slog.Logger
	now             func() time.Time

	mu     sync.Mutex
	looked time.Time
	stamps [3]stamp
	config *tls.Config
}

// stamp tells a changed file.
type stamp struct {
	size  int64
	mtime time.Time
}

// lookEvery is how often the files are looked at, at most.
const lookEvery = time.Second

// maxName is the most bytes of a name, as the configuration takes them.
const maxName = 253

// Anybody in a list of names stands for every certificate of the CA.
const Anybody = "*"

// OpenAccess reads the files. Names are the common name or a DNS name of a certificate.
func OpenAccess(files AccessFiles, admins, readers []string, log *slog.Logger) (*Access, error) {
	a := &Access{files: files, admins: admins, readers: readers, log: log, now: time.Now}
	a.stamps = a.look()
	var err error
	a.config, err = files.load()
	if err != nil {
		return nil, err
	}
	if info, err := os.Stat(files.Key); err == nil && info.Mode().Perm()&0o077 != 0 {
		log.Warn("the key for remote administration is open to other users: run chmod 600, and make a new one if others may have read it",
			"file", files.Key, "mode", fmt.Sprintf("%04o", info.Mode().Perm()))
	}
	return a, nil
}

// load makes the configuration of the server's side.
func (f AccessFiles) load() (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(f.Cert, f.Key)
	if err != nil {
		return nil, fmt.Errorf("read the certificate for remote administration (control.remote.cert and key): %w", err)
	}
	pool, err := readPool(f.ClientCA)
	if err != nil {
		return nil, fmt.Errorf("read whose certificates may administer (control.remote.client_ca): %w", err)
	}
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{pair},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    pool,
		// A resumed session would outlive the certificate that began it.
		SessionTicketsDisabled: true,
	}, nil
}

func readPool(file string) (*x509.CertPool, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s holds no certificate in PEM", file)
	}
	return pool, nil
}

func (a *Access) look() (s [3]stamp) {
	for i, file := range []string{a.files.Cert, a.files.Key, a.files.ClientCA} {
		if info, err := os.Stat(file); err == nil {
			s[i] = stamp{info.Size(), info.ModTime()}
		}
	}
	return s
}

// current is the configuration that the files ask for; while they are unusable, as
// between two writes, the one before.
func (a *Access) current() *tls.Config {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.now()
	if now.Sub(a.looked) < lookEvery {
		return a.config
	}
	a.looked = now
	stamps := a.look()
	if stamps == a.stamps {
		return a.config
	}
	a.stamps = stamps
	config, err := a.files.load()
	if err != nil {
		a.log.Warn("keep the earlier certificates for remote administration", "error", err)
		return a.config
	}
	a.config = config
	a.log.Info("certificates for remote administration read anew")
	return config
}

// server is the configuration for a listener.
func (a *Access) server() *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return a.current(), nil },
	}
}

// caller tells who holds the certificate of a request. A connection may be older than
// the present CA and the certificate's end, so that is looked at again.
func (a *Access) caller(r *http.Request) (Caller, error) {
	remote, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return Caller{}, errors.New("no certificate")
	}
	cert := r.TLS.PeerCertificates[0]
	between := x509.NewCertPool()
	for _, c := range r.TLS.PeerCertificates[1:] {
		between.AddCert(c)
	}
	_, err = cert.Verify(x509.VerifyOptions{
		Roots: a.current().ClientCAs, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	name, role := a.role(cert)
	again := func() error { _, err := a.caller(r); return err }
	name = strings.ToValidUTF8(name[:min(len(name), maxName)], "") // it goes into logs
	return Caller{Name: name, Role: role, Remote: netip.AddrPortFrom(remote.Addr().Unmap(), remote.Port()), again: again}, err
}

// role is what the lists say of a certificate, and the name by which they do.
func (a *Access) role(cert *x509.Certificate) (string, Role) {
	names := append([]string{cert.Subject.CommonName}, cert.DNSNames...)
	names = slices.DeleteFunc(names, func(n string) bool { return n == "" || n == Anybody })
	name := fmt.Sprintf("serial %x", cert.SerialNumber)
	if len(names) > 0 {
		name = names[0]
	}
	for _, of := range []struct {
		list []string
		role Role
	}{{a.admins, Admin}, {a.readers, Reader}} {
		for _, n := range names {
			if slices.Contains(of.list, n) {
				return n, of.role
			}
		}
		if slices.Contains(of.list, Anybody) {
			return name, of.role
		}
	}
	return name, Nobody
}
