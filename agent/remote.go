package agent

import (
	"context"
	"log/slog"
	"net"

	"github.com/opennlb/opennlb/config"
	"github.com/opennlb/opennlb/control"
)

// CheckRemote warns of certificates that the configuration names and that are not good.
// It is no error: systemd would not start a member for it.
func CheckRemote(cfg *config.Config, log *slog.Logger) {
	if !cfg.Control.Remote.Listen.IsValid() {
		return
	}
	if _, err := openAccess(&cfg.Control.Remote, log); err != nil {
		log.Warn(noRemote, "error", err)
	}
}

const noRemote = "no remote administration: correct control.remote, then restart"

func openAccess(r *config.Remote, log *slog.Logger) (*control.Access, error) {
	return control.OpenAccess(control.AccessFiles{Cert: r.Cert, Key: r.Key, ClientCA: r.ClientCA}, r.Admins, r.Readers, log)
}

// listenRemote opens the listener for remote administration and returns what serves it;
// nil without one. That it cannot is not worth losing a member for.
func listenRemote(cfg *config.Config, log *slog.Logger, undo *undo) func(context.Context, *control.Server) error {
	r := &cfg.Control.Remote
	if !r.Listen.IsValid() {
		return nil
	}
	access, err := openAccess(r, log)
	if err != nil {
		log.Error(noRemote, "error", err)
		return nil
	}
	l, err := net.Listen("tcp", r.Listen.String())
	if err != nil {
		log.Error("no remote administration: choose another control.remote.listen, then restart", "error", err)
		return nil
	}
	undo.add("close remote administration", closer(l))
	log.Info("remote administration is on", "listen", l.Addr().String(), "admins", r.Admins, "readers", r.Readers)
	return func(ctx context.Context, s *control.Server) error { return s.ServeRemote(ctx, l, access) }
}

// openAudit opens the log of changes in state_dir; nil, which keeps none, if it cannot.
func openAudit(dir string, log *slog.Logger, undo *undo) *control.Audit {
	audit, err := control.OpenAudit(dir)
	if err != nil {
		log.Error("no audit log: changes are in this log only", "error", err)
		return nil
	}
	undo.add("close audit log", audit.Close)
	return audit
}
