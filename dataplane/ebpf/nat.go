package ebpf

import (
	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"github.com/opennlb/opennlb/dataplane/sockets"
)

// collection loads the programs. They know connections behind NAT where the kernel
// has all that this takes.
func (e *Engine) collection(spec *ebpf.CollectionSpec) (*ebpf.Collection, error) {
	reason := sockets.ProbeForwarded()
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
