package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/opennlb/opennlb/agent"
	"github.com/opennlb/opennlb/config"
)

// version is stamped by the Makefile.
var version = "devel"

// env is the world of one run.
type env struct {
	stdout, stderr io.Writer
	notify         func(state string)
}

func notify(state string) {
	_, _ = daemon.SdNotify(false, state) // not under systemd: nobody to tell
}

// run is the whole program; it returns the exit status: 0, 1 failed, 2 usage.
func run(ctx context.Context, e env, args []string) int {
	flags := flag.NewFlagSet("nlbd", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	file := flags.String("config", "/etc/nlb/nlb.yaml", "configuration `file`")
	check := flags.Bool("check", false, "only validate the configuration")
	cleanup := flags.Bool("cleanup", false, "only remove what a dead nlbd with this configuration left on the host")
	format := flags.String("log-format", "auto", "text, json, journal (structured, to journald) or auto: journal where stderr is the journal, else text")
	verbose := flags.Bool("verbose", false, "log every detail")
	showVersion := flags.Bool("version", false, "print the version")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			flags.SetOutput(e.stdout)
			flags.Usage()
			return 0
		}
		fmt.Fprintf(e.stderr, "nlbd: %v: see nlbd --help\n", err)
		return 2
	}
	if flags.NArg() > 0 {
		fmt.Fprintf(e.stderr, "nlbd: unexpected argument %q: see nlbd --help\n", flags.Arg(0))
		return 2
	}
	if *showVersion {
		fmt.Fprintln(e.stdout, "nlbd", fullVersion())
		return 0
	}
	if *format == "auto" && isJournal(e.stderr, os.Getenv("JOURNAL_STREAM")) {
		*format = "journal"
	}
	out := newLines(e.stderr)
	defer out.Close()
	e.stderr = out
	log, err := logger(out, *format, *verbose)
	if err != nil {
		fmt.Fprintln(e.stderr, "nlbd:", err)
		return 2
	}
	cfg, err := config.Load(*file)
	if err != nil {
		return e.failed(err)
	}
	if _, ok := log.Handler().(*journal); ok {
		log = log.With("cluster", cfg.Cluster.Name, "member", cfg.Member.Name) // several may run on one host
	}
	switch {
	case *check:
		if _, err := cfg.ReadKey(); err != nil {
			return e.failed(err)
		}
		agent.CheckRemote(cfg, log)
		fmt.Fprintf(e.stdout, "%s is valid\n", *file)
		return 0
	case *cleanup:
		if err := agent.Cleanup(cfg); err != nil {
			return e.failed(err)
		}
		return 0
	}
	err = agent.Run(ctx, cfg, agent.Options{
		Log:     log,
		Version: fullVersion(),
		Ready:   func() { e.notify(daemon.SdNotifyReady) },
		Reload:  reloads(ctx, *file, log),
	})
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		return 0 // told to stop before it was up
	}
	if err != nil {
		return e.failed(err)
	}
	return 0
}

func logger(w io.Writer, format string, verbose bool) (*slog.Logger, error) {
	opt := &slog.HandlerOptions{Level: slog.LevelInfo}
	if verbose {
		opt.Level = slog.LevelDebug
	}
	text := slog.NewTextHandler(w, opt)
	switch format {
	case "auto", "text":
		return slog.New(text), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, opt)), nil
	case "journal":
		j, err := newJournal(journalSocket, opt.Level, text)
		if err != nil {
			return nil, err
		}
		return slog.New(j), nil
	}
	return nil, fmt.Errorf("--log-format %q: use auto, text, json or journal", format)
}

// reloads reads the configuration anew at each SIGHUP. One that is not valid is
// logged and changes nothing.
func reloads(ctx context.Context, file string, log *slog.Logger) <-chan *config.Config {
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	out := make(chan *config.Config)
	go func() {
		defer signal.Stop(hangups)
		for {
			select {
			case <-hangups:
			case <-ctx.Done():
				return
			}
			cfg, err := config.Load(file)
			if err != nil {
				log.Error("reload: keep the running configuration", "error", err)
				continue
			}
			select {
			case out <- cfg:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}

func fullVersion() string {
	if version != "devel" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return version
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return version + "-" + s.Value[:min(12, len(s.Value))]
		}
	}
	return version
}
