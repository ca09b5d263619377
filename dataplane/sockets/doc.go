// Package sockets asks the kernel about the sockets of the host, and about connections
// that it passes on behind NAT: they are what an engine, and the agent, know of
// connections. It is for Linux's sock_diag(7) and ctnetlink.
package sockets
