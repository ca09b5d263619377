// Package doctor examines a host that is, or is to become, a member of a cluster.
//
// [Gather] takes a snapshot of facts and changes nothing; [Examine] judges it and has
// no effects, so that every judgement can be tested with facts that are made up.
package doctor

// Result is how serious a finding is.
type Result string

const (
	OK      Result = "ok"
	Warning Result = "warning" // works, but not as well or not for long
	Problem Result = "problem" // does not work
)

// Finding is the outcome of a check.
type Finding struct {
	Check   string `json:"check"`
	Result  Result `json:"result"`
	Message string `json:"message"`
	Advice  string `json:"advice,omitempty"` // what the operator should do
}

// check looks at one thing. No finding at all: it does not apply here, or the fact is
// not known.
type check struct {
	name string
	look func(*Facts) []Finding
}

func checks() []check {
	return []check{
		{"configuration", configuration},
		{"privilege", privilege},
		{"kernel", kernel},
		{"dataplane", dataplane},
		{"nat", nat},
		{"interface", iface},
		{"address", address},
		{"mtu", mtu},
		{"lro", lro},
		{"cluster MAC", clusterMAC},
		{"VIPs", vips},
		{"network setup", networkSetup},
		{"other interfaces", otherInterfaces},
		{"rp_filter", rpFilter},
		{"IPv6", ipv6},
		{"key", key},
		{"state_dir", stateDir},
		{"clock", clock},
		{"other balancers", otherBalancers},
		{"services", services},
		{"systemd", systemd},
		{"nlbd", nlbd},
		{"version", version},
		{"members", members},
		{"cluster", cluster},
	}
}

// Examine judges a snapshot, in the order in which one would look for a fault: from the
// host to the cluster.
func Examine(f *Facts) []Finding {
	var all []Finding
	for _, c := range checks() {
		for _, finding := range c.look(f) {
			finding.Check = c.name
			all = append(all, finding)
		}
	}
	for _, gap := range f.Gaps {
		all = append(all, Finding{"facts", Warning, gap, "run nlbctl doctor as root"})
	}
	return all
}

func ok(message string) []Finding              { return []Finding{{Result: OK, Message: message}} }
func warning(message, advice string) []Finding { return []Finding{{"", Warning, message, advice}} }
func problem(message, advice string) []Finding { return []Finding{{"", Problem, message, advice}} }

// orOK is the findings, or that all is well.
func orOK(found []Finding, message string) []Finding {
	if len(found) == 0 {
		return ok(message)
	}
	return found
}
