// Package afpacket is the data plane for kernels and containers without eBPF. It
// sees the frames of one interface through a packet socket, asks portrules.Decide,
// and hands what this member accepts back to the kernel:
//
//	eth0 ─┬─ ring ──▶ judge ──▶ injector ──▶ nlb…o │ nlb…i ──tc mirred──▶ eth0, marked
//	      └─ nft ingress: drops what concerns a VIP and has no mark ◀───────────┘
//
// What drops is a table of nftables (family netdev) and not this process: if the
// agent dies or stands still, nothing reaches the VIPs, until a new engine takes over
// or Remove takes the table away.
//
// Frames come from a ring of TPACKET_V2 of our own (see ring). gopacket's package afpacket needs
// no cgo either, but does not show the header with checksum and segmentation in front
// of a frame, without which half of them could not be handed on, asks for it in a way
// that Linux before 6.5 refuses, and reads words that the kernel writes without
// memory barriers.
package afpacket

import "github.com/opennlb/opennlb/dataplane"

var _ dataplane.Engine = (*Engine)(nil)
