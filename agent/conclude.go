package agent

import (
	"fmt"
	"slices"
	"strings"

	"github.com/opennlb/opennlb/control"
)

// conclude says who answers, once the members have spoken. e has an owner.
func conclude(e *control.Explanation) {
	for i := range e.Members {
		say(e, "%s", partWords(&e.Members[i]))
	}
	i := slices.IndexFunc(e.Members, func(p control.Part) bool { return p.Priority == e.OwnerPriority })
	if i < 0 {
		e.Conclusion = "Nobody is known to answer: the owner is not among the members."
		return
	}
	owner := &e.Members[i]
	answering := owner
	what := fmt.Sprintf("%s owns bucket %d", owner.Member, e.Bucket)
	keeper := slices.IndexFunc(e.Members, func(p control.Part) bool {
		return p.Priority != e.OwnerPriority && p.Epoch == e.Epoch && p.Lease && p.New.Verdict == "accept"
	})
	switch {
	case keeper >= 0:
		e.Answered, answering = true, &e.Members[keeper]
		what = fmt.Sprintf("it keeps this client, though %s", what)
		e.Conclusion = fmt.Sprintf("%s answers: %s.", answering.Member, what)
	case owner.Error != "":
		e.Conclusion = fmt.Sprintf("%s, but %s: if it is lost, the others take over within a second or two.", what, reach(owner.Error))
	case owner.Epoch != e.Epoch:
		e.Conclusion = fmt.Sprintf("%s by epoch %d, but is at epoch %d itself: the members are converging; ask again.", what, e.Epoch, owner.Epoch)
	case !owner.Lease:
		e.Conclusion = fmt.Sprintf("Nobody answers: %s, but its lease is over, so it is silent.", what)
	case owner.New.Verdict != "accept":
		e.Conclusion = fmt.Sprintf("Nobody answers: %s, but drops the packet (%s).", what, owner.New.Reason)
	default:
		e.Answered = true
		what = fmt.Sprintf("it owns bucket %d", e.Bucket)
		e.Conclusion = fmt.Sprintf("%s answers: %s.", owner.Member, what)
	}
	if e.Answered && answering.Listens == "no" {
		instead := "drain " + answering.Member
		if e.Rule != "" {
			instead = fmt.Sprintf("run nlbctl rule drain %s --member %s", e.Rule, answering.Member)
		}
		e.Conclusion = fmt.Sprintf("%s answers, with a refusal: %s, but nothing listens on %s there. Start the service, or %s. "+
			"(One behind DNAT shows only while it has connections.)", answering.Member, what, target(e.ExplainRequest), instead)
	}
	for i := range e.Members {
		if p := &e.Members[i]; p != answering && p.Existing.Verdict == "accept" && p.Connections > 0 {
			e.Conclusion += fmt.Sprintf(" %s goes on to answer %s of this client, made before.", p.Member, plural(p.Connections, "connection"))
		}
	}
}

// reach turns the error of a question into a clause.
func reach(err string) string {
	if strings.HasPrefix(err, "context ") {
		return "the question was broken off"
	}
	return "it " + err
}

// partWords is a member's part in one sentence.
func partWords(p *control.Part) string {
	if p.Error != "" {
		return fmt.Sprintf("%s: %s, %s", p.Member, p.State, p.Error)
	}
	lease := "lease over"
	if p.Lease {
		lease = "lease runs"
	}
	text := fmt.Sprintf("%s: %s, %s, flag %s; a new connection: %s", p.Member, p.State, lease, p.Flag, exitWords(p.New))
	switch {
	case p.Existing == p.New && p.Unknown == p.New:
		text += ", one made before: the same"
	case p.Existing == p.Unknown:
		text += ", one made before: " + exitWords(p.Existing)
	default:
		text += fmt.Sprintf(", one that it has: %s, one that it does not have: %s", exitWords(p.Existing), exitWords(p.Unknown))
	}
	if p.Connections > 0 {
		text += fmt.Sprintf("; it has %s of this client", plural(p.Connections, "connection"))
	}
	switch p.Listens {
	case "no":
		text += "; nothing listens on that port there"
	case "nat":
		text += "; its service is behind NAT"
	}
	return text
}

func exitWords(e control.Exit) string { return fmt.Sprintf("%s (%s)", e.Verdict, e.Reason) }
