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
	var out string
	cmd := &cobra.Command{
		Use:   "keygen",
		Short: "Make a cluster key",
		Long:  "Make a cluster key, which all members need, for membership.key_file.",
		Args:  exactly(),
		RunE: func(*cobra.Command, []string) error {
			if out == "" {
				return c.write([]byte(config.NewKey() + "\n"))
			}
			if err := writeKey(out); err != nil {
				return err
			}
			fmt.Fprintf(c.stderr, "Wrote %s. Copy it to all members, mode 0600.\n", out)
			return nil
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "write it to this new file, mode 0600, instead of stdout")
	return cmd
}

// writeKey makes the file; it never replaces one, since the cluster may live by it.
func writeKey(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s exists: move it away first if the cluster is to have a new key", path)
	}
	if err != nil {
		return fmt.Errorf("write the key: %w", err)
	}
	_, err = f.WriteString(config.NewKey() + "\n")
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		os.Remove(path) // half a key is worse than none
		return fmt.Errorf("write the key: %w", err)
	}
	return nil
}
