// Package membership tells this member which other members are alive and
// carries messages between them. It is a thin layer over
// github.com/hashicorp/memberlist (SWIM: Das, Gupta, Motivala, "SWIM:
// Scalable Weakly-consistent Infection-style Process Group Membership
// Protocol", DSN 2002) that adds what a cluster of 2 to 32 members needs:
// unique priorities and names, typed reasons why a member is refused, bounded
// queues, healing after a partition, and death of a process whose event loop
// is stuck.
//
// What it promises about messages: a message arrives whole, from a holder of
// the cluster key, at the process it was meant for (not at an earlier or later
// one of that name), from the present process of a live member, and at most once. What it does not promise: that it
// arrives, or in which order.
package membership
