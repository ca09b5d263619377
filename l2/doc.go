// Package l2 is the cluster's presence on the Ethernet segment: the MAC
// addresses derived from the VIPs, the interface that accepts the cluster MAC
// beside its own, the VIPs on the loopback interface, the answers to ARP and
// neighbour discovery, the search for other hosts that claim a VIP, and the
// IGMP reports that steer switches.
//
// Whatever opens a socket (OpenInterface, OpenResponder, OpenReporter, Watch,
// Probe) opens it in the network namespace of the calling thread. Methods on what was
// opened may then be called from any goroutine.
package l2
