package main

import (
	"context"
	"errors"
	"os"
)

// leave stops the members in order and shows that nothing remains.
func (d *demo) leave(ctx context.Context) error {
	d.step("Leaving no trace",
		"An orderly stop hands over and takes its eBPF programs away. The namespaces vanish with this process.")
	stopped := d.lab.Stop(ctx)
	var pinned []string
	for _, m := range d.lab.Members {
		if _, err := os.Stat(m.PinDir()); !errors.Is(err, os.ErrNotExist) {
			pinned = append(pinned, m.PinDir())
		}
	}
	d.check(stopped == nil && len(pinned) == 0, "every nlbd ended in order and left no eBPF program (%d pins)%s", len(pinned), reason(stopped))
	if err := d.lab.Close(); err != nil {
		return err
	}
	left := d.lab.Leftovers()
	d.always(len(left) == 0, "no namespace, link, pin or process is left%s", list(left))
	return nil
}

func list(left []string) string {
	if len(left) == 0 {
		return ""
	}
	return ": " + join(left)
}
