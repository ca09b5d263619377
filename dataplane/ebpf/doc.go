// Package ebpf is the data plane in the kernel: tc programs on ingress and egress
// of one interface, and where the driver has it an XDP program in front of them.
// The programs (bpf/) take the decision of docs/DECISION.md; this package loads
// and attaches them, hands them policies and the lease, and reads their counters
// and the beacons that they heard.
//
// Links and maps are pinned under /sys/fs/bpf/nlb/CLUSTER/MEMBER. If the agent
// dies, the programs stay; when its lease is over they keep all VIP traffic from
// the kernel, until a new engine takes over from them or Remove takes them away.
package ebpf

import "github.com/opennlb/opennlb/dataplane"

var _ dataplane.Engine = (*Engine)(nil)
