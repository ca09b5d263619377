package main

import (
	"cmp"
	"errors"

	"github.com/spf13/cobra"

	"github.com/opennlb/opennlb/control"
)

// target says which nlbd to ask: that of this host, by its socket, or a remote one.
type target struct {
	socket string
	remote string // host or host:port
	files  control.RemoteFiles
	local  bool // --socket is given
}

const defaultSocket = "/run/nlb/nlbd.sock"

// flags defines the flags; what the environment says is their default.
func (t *target) flags(root *cobra.Command, getenv func(string) string) {
	f := root.PersistentFlags()
	f.StringVar(&t.socket, "socket", defaultSocket, "control socket of the nlbd to ask")
	f.StringVar(&t.remote, "remote", getenv("NLBCTL_REMOTE"), "ask the nlbd of this `HOST[:9921]` over TLS instead ($NLBCTL_REMOTE)")
	f.StringVar(&t.files.Cert, "cert", getenv("NLBCTL_CERT"), "with --remote: your certificate, a `FILE` in PEM ($NLBCTL_CERT)")
	f.StringVar(&t.files.Key, "key", getenv("NLBCTL_KEY"), "with --remote: its private key ($NLBCTL_KEY)")
	f.StringVar(&t.files.CA, "ca", getenv("NLBCTL_CA"), "with --remote: the CA of the members' certificates ($NLBCTL_CA)")
}

// check settles what the flags mean: the socket named on the command line goes before
// a remote host that the environment names.
func (t *target) check(cmd *cobra.Command) error {
	t.local = cmd.Flags().Changed("socket")
	if t.local && cmd.Flags().Changed("remote") {
		return usageError{errors.New("--socket and --remote contradict: give one of them")}
	}
	return nil
}

// dial makes a client of the nlbd to ask; the caller closes it.
func (t *target) dial() (*control.Client, error) {
	if t.remote == "" || t.local {
		return control.Dial(cmp.Or(t.socket, defaultSocket)), nil
	}
	return control.DialRemote(t.remote, t.files)
}
