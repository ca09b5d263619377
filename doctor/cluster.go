package doctor

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/opennlb/opennlb/control"
	"github.com/opennlb/opennlb/portrules"
)

// fewPorts: a rule with more covers ports that are meant to be free.
const fewPorts = 16

func nlbd(f *Facts) []Finding {
	switch {
	case f.Status == nil && f.StatusErr == nil:
		return nil
	case f.Status == nil && !f.Root:
		return warning(f.StatusErr.Error(), "run nlbctl doctor as root, or as a member of the group nlb")
	case f.Status == nil && f.Unit.Enabled:
		return problem(f.StatusErr.Error(), "see journalctl -u nlbd")
	case f.Status == nil:
		return warning(f.StatusErr.Error(), "start it when the rest is in order: systemctl enable --now nlbd")
	}
	if self := f.self(); self != nil && self.State != "started" {
		how := "nlbctl start"
		if self.State == "suspended" {
			how = "nlbctl resume and nlbctl start"
		}
		return warning(fmt.Sprintf("this member is %s: it gets no new clients", self.State), "run "+how+" if that is not meant")
	}
	if !f.Status.Lease {
		return problem("this member answers nothing: its lease is over", "see nlbctl status and its log")
	}
	return ok(fmt.Sprintf("%s is started and answers its share", f.Status.Self))
}

func version(f *Facts) []Finding {
	if f.Status == nil || f.Version == "" || f.Status.Version == f.Version {
		return nil
	}
	return warning(fmt.Sprintf("nlbd is %s, nlbctl %s", f.Status.Version, f.Version), "restart nlbd after an upgrade: nlbctl drain --wait && systemctl restart nlbd && nlbctl start")
}

// members compares what this host reaches with whom nlbd sees. Who is alive was heard
// within a second.
func members(f *Facts) []Finding {
	var found []Finding
	reached := 0
	for _, r := range f.Reach {
		if finding := f.member(r); len(finding) > 0 {
			found = append(found, finding...)
			continue
		}
		reached++
	}
	if len(f.Reach) == 0 {
		return nil
	}
	return orOK(found, fmt.Sprintf("%d others reached at their membership port", reached))
}

func (f *Facts) member(r Reach) []Finding {
	port := uint16(7946)
	if f.Config != nil {
		port = f.Config.Membership.Port
	}
	seen := f.Status != nil && slices.ContainsFunc(f.Status.Members, func(m control.Member) bool { return m.Address == r.Addr && m.Alive })
	open := fmt.Sprintf("open TCP and UDP port %d between all members, in both directions", port)
	switch {
	case r.Refused:
		return warning(r.title()+": nothing listens on the membership port", "start nlbd there, or open the port if a firewall refuses")
	case r.TCP != nil && r.Echo:
		return problem(r.title()+" answers a ping, but not TCP to the membership port: "+r.TCP.Error(), open)
	case r.TCP != nil && seen:
		return problem(r.title()+" is alive, but TCP to its membership port gets no answer: "+r.TCP.Error(), open)
	case r.TCP != nil:
		return warning(r.title()+" is not reached: "+r.TCP.Error(), "it is off, or the network between is not right, or a firewall drops: "+open)
	case !r.UDP:
		return problem(r.title()+" refuses UDP to its membership port", open)
	case f.Status != nil && !seen:
		return problem(r.title()+" is reached by TCP, but nlbd does not see it alive", "it may be of another cluster or key, or UDP is blocked: "+open+"; see the log of both")
	}
	return nil
}

func (r Reach) title() string {
	if r.Name == "" {
		return r.Addr.String()
	}
	return fmt.Sprintf("%s (%s)", r.Name, r.Addr)
}

// cluster passes on nlbd's own warnings.
func cluster(f *Facts) []Finding {
	if f.Status == nil {
		return nil
	}
	var found []Finding
	for _, w := range f.Status.Warnings {
		what, advice, ok := cut(w)
		if !ok {
			what, advice = w, "see nlbctl status and nlbctl events"
		}
		found = append(found, warning(what, advice)...)
	}
	if !f.Status.Converged {
		found = append(found, warning("the members have not agreed yet, or are just changing", "look again in some seconds: nlbctl status")...)
	}
	alive := 0
	for _, m := range f.Status.Members {
		if m.Alive {
			alive++
		}
	}
	if alive == 1 {
		found = append(found, warning("this member is alone: if it fails, nobody answers", "start the others, or see why they are not heard")...)
	}
	return orOK(found, fmt.Sprintf("%d of %d members alive, epoch %d, configuration %d", alive, len(f.Status.Members), f.Status.Epoch, f.Status.Config))
}

// cut parts a warning of nlbd, "what: what to do", at its last colon.
func cut(w string) (what, advice string, ok bool) {
	i := strings.LastIndex(w, ": ")
	if i < 0 {
		return "", "", false
	}
	return w[:i], w[i+2:], true
}

// services looks for listeners while no nlbd does, which knows more: it warns in its status.
func services(f *Facts) []Finding {
	if f.Status != nil || f.Config == nil || f.Listening == nil {
		return nil
	}
	var found []Finding
	for i := range f.Config.Cluster.Rules {
		r := &f.Config.Cluster.Rules[i]
		if r.Mode == portrules.Disabled || r.Protocol == portrules.SCTP || int(r.Last)-int(r.First) >= fewPorts {
			continue
		}
		if !slices.ContainsFunc(f.Listening, func(s Socket) bool { return serves(f, r, s) }) {
			found = append(found, warning(fmt.Sprintf("rule %s: no service listens here on any of its ports", r.Name), "start the service, on all addresses or on the VIPs")...)
		}
	}
	return orOK(found, "listen for every rule of few ports")
}

// serves says whether a socket gets what a rule lets in.
func serves(f *Facts, r *portrules.Rule, s Socket) bool {
	port := s.Addr.Port()
	if port < r.First || port > r.Last || s.Protocol == "tcp" && r.Protocol == portrules.UDP || s.Protocol == "udp" && r.Protocol == portrules.TCP {
		return false
	}
	at := s.Addr.Addr()
	return at.IsUnspecified() || at == r.VIP || !r.VIP.IsValid() && slices.Contains(f.VIPs(), at)
}

// sysctl is the value in force of a setting that holds for an interface and for all.
func (f *Facts) sysctl(dir, name, setting string) int {
	value := func(name string) (n int) {
		_, _ = fmt.Sscan(cmp.Or(f.Sysctl[dir+"/"+name+"/"+setting], "0"), &n) // not a number: 0
		return n
	}
	return max(value("all"), value(name))
}
