package config

// EventKinds are the words for all kinds of events, in the order in which help lists
// them. An event's kind itself has a space where its word has an underscore.
func EventKinds() []string {
	return []string{
		"join", "leave", "state", "default_host", "converged", "command", "drained", "config",
		"out", "held_back", "refused", "conflict", "link", "no_owner", "owner", "key", "hook",
	}
}
