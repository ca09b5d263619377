package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/opennlb/opennlb/control"
)

const tlsHelp = `

With --tls, make certificates for remote administration in DIR: a CA, unless DIR has one, a certificate for each
--server, with all the names and addresses by which it is asked, and one for each --client. Files are named
after the CA, the first name of a server and the client: NAME.pem and, mode 0600, NAME.key. None is replaced.`

const tlsExample = `  nlbctl keygen --out /etc/nlb/cluster.key
  nlbctl keygen --tls ~/nlb-ca --server node1,192.0.2.1 --server node2,192.0.2.2 --client alice --client monitor`

// keygenTLS makes the certificates that are asked for.
func (c *cli) keygenTLS(dir string, servers, clients []string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make certificates: %w", err)
	}
	now := time.Now()
	ca, err := c.authority(dir, now)
	if err != nil {
		return err
	}
	for _, s := range servers {
		hosts := strings.Split(s, ",")
		err := c.issue(dir, hosts[0], func() (control.Pair, error) { return ca.Server(now, hosts...) })
		if err != nil {
			return err
		}
	}
	for _, name := range clients {
		err := c.issue(dir, name, func() (control.Pair, error) { return ca.Client(now, name) })
		if err != nil {
			return err
		}
	}
	return nil
}

// checkTLSNames refuses what cannot be a file, or a name in a certificate.
func checkTLSNames(servers, clients []string) error {
	seen := map[string]bool{"ca": true}
	for _, s := range append(append([]string{}, servers...), clients...) {
		for i, name := range strings.Split(s, ",") {
			if name == "" || len(name) > 64 || name[0] == '.' || name[0] == '-' || strings.ContainsAny(name, "/\\* \t\n") {
				return fmt.Errorf("%q is not a name for a certificate: write letters, digits, dots and dashes, at most 64", name)
			}
			if i == 0 && seen[name] {
				return fmt.Errorf("%q would be the name of two files: choose another", name)
			}
			if i == 0 {
				seen[name] = true
			}
		}
	}
	return nil
}

// authority takes up the CA of dir, or makes it.
func (c *cli) authority(dir string, now time.Time) (*control.Authority, error) {
	cert, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
	if errors.Is(err, fs.ErrNotExist) {
		ca, pair, err := control.NewAuthority(now)
		if err != nil {
			return nil, err
		}
		return ca, c.writePair(dir, "ca", pair)
	}
	key, keyErr := os.ReadFile(filepath.Join(dir, "ca.key"))
	if err := errors.Join(err, keyErr); err != nil {
		return nil, fmt.Errorf("read the CA: %w", err)
	}
	ca, err := control.ReadAuthority(control.Pair{Cert: cert, Key: key})
	if err != nil {
		return nil, fmt.Errorf("read the CA %s: %w: name another directory to make a new one", filepath.Join(dir, "ca.pem"), err)
	}
	return ca, nil
}

func (c *cli) issue(dir, name string, make func() (control.Pair, error)) error {
	pair, err := make()
	if err != nil {
		return err
	}
	return c.writePair(dir, name, pair)
}

// writePair writes the key first: a certificate without one would keep it from being made again.
func (c *cli) writePair(dir, name string, p control.Pair) error {
	for _, f := range []struct {
		name string
		text []byte
		mode os.FileMode
	}{{name + ".key", p.Key, 0o600}, {name + ".pem", p.Cert, 0o644}} {
		path := filepath.Join(dir, f.name)
		if err := writeNew(path, f.text, f.mode); err != nil {
			return err
		}
		fmt.Fprintf(c.stderr, "Wrote %s.\n", path)
	}
	return nil
}
