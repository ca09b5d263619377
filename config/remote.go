package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
)

// Remote is how administrators reach this member from other hosts: TLS with
// certificates on both sides.
type Remote struct {
	Listen   netip.AddrPort // zero: off
	Cert     string         // files in PEM
	Key      string
	ClientCA string   // its certificates may connect
	Admins   []string // names in certificates; "*" for any
	Readers  []string
}

// RemotePort is where remote administrators are listened to, by default.
const RemotePort = 9921

const maxNames = 256 // in each of Admins and Readers

func decodeRemote(s section) Remote {
	s.only("listen", "cert", "key", "client_ca", "admins", "readers")
	var r Remote
	take(s, "listen", &r.Listen, listenAddress)
	take(s, "cert", &r.Cert, anyText)
	take(s, "key", &r.Key, anyText)
	take(s, "client_ca", &r.ClientCA, anyText)
	takeAll(s, "admins", &r.Admins, anyText)
	takeAll(s, "readers", &r.Readers, anyText)
	if _, ok := s.values["listen"]; !ok && len(s.keys) > 0 {
		s.doc.report(s.child("listen"), "missing", "write this member's own address, such as 192.0.2.1:"+strconv.Itoa(RemotePort))
	}
	return r
}

// listenAddress accepts an address with or without a port.
func listenAddress(s string) (netip.AddrPort, *complaint) {
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap, nil
	}
	if a, err := netip.ParseAddr(s); err == nil {
		return netip.AddrPortFrom(a, RemotePort), nil
	}
	return netip.AddrPort{}, &complaint{"is not an IP address and port", fmt.Sprintf(`write one such as 192.0.2.1:%d or "[2001:db8::1]:%d"`, RemotePort, RemotePort)}
}

func (r *Remote) check(report report, vips []netip.Addr) {
	if !r.Listen.IsValid() {
		return
	}
	const path = "control.remote"
	switch a := r.Listen.Addr(); {
	case r.Listen.Port() == 0:
		report(path+".listen", "port 0 is not a port", "write one from 1 to 65535")
	case a.IsMulticast() || a.Zone() != "" || a.Is4In6():
		report(path+".listen", a.String()+" is not an address of a host", "write this member's own address")
	case slices.Contains(vips, a):
		report(path+".listen", a.String()+" is a virtual IP address of the cluster", "write this member's own address: each member is administered by its own")
	}
	for _, f := range []struct{ key, file, what string }{
		{"cert", r.Cert, "name this member's certificate (`nlbctl keygen --tls` makes one)"},
		{"key", r.Key, "name the private key of cert"},
		{"client_ca", r.ClientCA, "name the certificate of the CA that administrators have theirs from"},
	} {
		if f.file == "" {
			report(path+"."+f.key, "missing", f.what)
			continue
		}
		absolute(report, path+"."+f.key, f.file, 4096)
	}
	if len(r.Admins)+len(r.Readers) == 0 {
		report(path+".admins", "missing", "write the names of certificates that may change things here, or of those that may look in readers")
	}
	checkNames(report, path+".admins", r.Admins)
	checkNames(report, path+".readers", r.Readers)
}

func checkNames(report report, path string, names []string) {
	if len(names) > maxNames {
		report(path, "too many names", fmt.Sprintf("write at most %d", maxNames))
		return
	}
	for i, n := range names {
		if at := fmt.Sprintf("%s[%d]", path, i); n == "" || len(n) > 253 {
			report(at, quote(n)+" is not a name", `write the common name or a DNS name of a certificate, or "*" for any`)
		} else if slices.Contains(names[:i], n) {
			report(at, quote(n)+" is there twice", "remove one")
		}
	}
}
