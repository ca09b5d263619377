package ebpf

import (
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// collection loads the programs. They know connections behind NAT where the kernel
// has all that this takes.
func (e *Engine) collection(spec *ebpf.CollectionSpec) (*ebpf.Collection, error) {
	reason := probeConntrack()
	if reason == nil {
		var c *ebpf.Collection
		if c, reason = ebpf.NewCollection(spec.Copy()); reason == nil {
			e.nat = true
			return c, nil
		}
	}
	c, err := loadWithoutNAT(spec)
	if err == nil {
		e.log.Info("connections of services behind NAT, such as containers, will break when buckets move: "+
			"to keep them takes Linux 5.18, and CAP_SYS_ADMIN where nf_conntrack is a module", "reason", reason)
	}
	return c, err
}

// loadWithoutNAT replaces what asks the connection table by the answer "nothing".
func loadWithoutNAT(spec *ebpf.CollectionSpec) (*ebpf.Collection, error) {
	spec = spec.Copy()
	for _, p := range spec.Programs {
		for i := range p.Instructions {
			if p.Instructions[i].IsKfuncCall() {
				p.Instructions[i] = asm.Mov.Imm(asm.R0, 0)
			}
		}
	}
	// What is left reads fields of NULL. The programs' own idea of those types does
	// for the kernel's, which may not know them.
	return ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{Programs: ebpf.ProgramOptions{KernelTypes: spec.Types}})
}

// probeConntrack asks the connection table for its size. That the kernel loads the
// module with it matters: the programs are bound to the module once, and the first
// container may start after nlbd.
func probeConntrack() error {
	const getStats = 5 // IPCTNL_MSG_CT_GET_STATS
	req := conntrackRequest(getStats, unix.NLM_F_ACK, unix.AF_UNSPEC)
	if _, err := req.Execute(unix.NETLINK_NETFILTER, 0); err != nil {
		return fmt.Errorf("ask for the connection table: %w", err)
	}
	return nil
}

func conntrackRequest(operation, flags int, family uint8) *nl.NetlinkRequest {
	req := nl.NewNetlinkRequest(unix.NFNL_SUBSYS_CTNETLINK<<8|operation, flags)
	req.AddData(&nl.Nfgenmsg{NfgenFamily: family, Version: nl.NFNETLINK_V0})
	return req
}
