package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/opennlb/opennlb/config"
)

func (c *cli) keygen() *cobra.Command {
	var out, tls string
	var servers, clients []string
	cmd := &cobra.Command{
		Use:   "keygen",
		Short: "Make a cluster key, or certificates for remote administration",
		Long:  "Make a cluster key, which all members need, for membership.key_file." + tlsHelp,

		Example:           tlsExample,
		Args:              exactly(),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(*cobra.Command, []string) error {
			switch {
			case tls == "" && len(servers)+len(clients) > 0:
				return usageError{errors.New("--server and --client need --tls DIR")}
			case tls != "" && out != "":
				return usageError{errors.New("--out is for a cluster key, --tls for certificates: give one of them")}
			case tls != "":
				if err := checkTLSNames(servers, clients); err != nil {
					return usageError{err}
				}
				return c.keygenTLS(tls, servers, clients)
			}
			if out == "" {
				return c.write([]byte(config.NewKey() + "\n"))
			}
			if err := writeNew(out, []byte(config.NewKey()+"\n"), 0o600); err != nil {
				return err
			}
			fmt.Fprintf(c.stderr, "Wrote %s. Copy it to all members, mode 0600.\n", out)
			return nil
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "write it to this new file, mode 0600, instead of stdout")
	cmd.Flags().StringVar(&tls, "tls", "", "make certificates for remote administration in this `DIR`")
	cmd.Flags().StringArrayVar(&servers, "server", nil, "with --tls: `NAME[,NAME|ADDRESS...]` of a member; repeat it for more")
	cmd.Flags().StringArrayVar(&clients, "client", nil, "with --tls: `NAME` of an administrator or reader; repeat it for more")
	return cmd
}

// writeNew makes a file of key material; it never replaces one, since the cluster may live by it.
func writeNew(path string, text []byte, mode os.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s exists: move it away first if there is to be a new one", path)
	}
	if err != nil {
		return fmt.Errorf("write key material: %w", err)
	}
	_, err = f.Write(text)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		os.Remove(path) // half a key is worse than none
		return fmt.Errorf("write key material: %w", err)
	}
	return nil
}
