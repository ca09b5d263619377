package main

import (
	"fmt"
	"io"
	"runtime"

	"github.com/spf13/cobra"
)

func (c *cli) version() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Show the version of nlbctl",
		Args:  exactly(),

		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(*cobra.Command, []string) error {
			v := struct {
				Version string `json:"version"`
				Go      string `json:"go"`
			}{version, runtime.Version()}
			return c.print(v, func(w io.Writer) { fmt.Fprintf(w, "nlbctl %s (%s)\n", v.Version, v.Go) })
		},
	}
}
