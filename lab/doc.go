// Package lab builds a cluster on one machine: a switch, members and a client
// host, each in a network namespace of its own, with real nlbd processes.
//
//	              switch (bridge br0)
//	     m1 ┌────────┬┴───────┬──────────┐ client
//	   node1      node2    node3      client host
//	10.77.0.1  10.77.0.2  10.77.0.3   10.77.0.250, clients 10.77.1.1 ...
//	         VIP 10.77.0.100, fd77::100
//
// Nothing of it is in the root namespace. The namespaces have no name: they are
// held by threads and file descriptors of this process, and every child dies with
// the thread that started it, so the kernel clears them away however this process
// ends. What the kernel keeps, pins in bpffs and a directory, carries the owner's
// process id and is removed by [Lab.Close], or by the next [New] that finds the
// owner gone.
//
// Needs root, iproute2 and nft; captures need tcpdump.
package lab
