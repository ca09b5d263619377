package ebpf

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"github.com/opennlb/opennlb/converge"
	"github.com/opennlb/opennlb/nlbhash"
	"github.com/opennlb/opennlb/portrules"
)

// The geometry of a policy, as in bpf/maps.h.
const (
	pageLength       = 4096
	vipSlots         = 1024
	maxVIPs          = 64
	maxRules         = 256
	portsPerPage     = 2048
	pagesPerProtocol = 65536 / portsPerPage
	protocols        = 3 // tcp, udp, sctp
	setsPerPage      = 16
	noRule           = 0xffff
	policySlots      = 4
	noSlot           = 0xff
	byFlow           = 1 << 31 // BY_FLOW
)

// page is one value of the map that holds a policy.
type page [pageLength]byte

// image is a policy as the programs read it: page 0 is the head, then come the
// directory of port pages, and port pages and tables in any order. Equal pages are
// stored once, so that a policy of few rules takes a few dozen kilobytes.
type image struct {
	pages []page
	known map[page]uint16
}

// compile turns a policy into pages. maker is whose beacon switches to the policy while
// it is prepared.
func compile(p *portrules.Policy, maker converge.Epoch) ([]page, error) {
	if err := check(p); err != nil {
		return nil, err
	}
	head := nlbHead{
		Epoch:    p.Epoch,
		By:       uint32(maker.By),
		Instance: maker.Instance,
		HashKey:  keyWords(p.HashKey),
	}
	if err := placeVIPs(&head, p.VIPs); err != nil {
		return nil, err
	}

	sets := portSets(p, &head)
	im := image{known: make(map[page]uint16)}
	directory := 1
	im.pages = make([]page, directory+(len(sets)+setsPerPage-1)/setsPerPage)
	tables := make([]uint16, len(p.Tables))
	for i := range p.Tables {
		tables[i] = im.table(&p.Tables[i])
	}
	head.DefaultTable = tables[p.DefaultTable]
	for i := range p.Rules {
		head.Rules[i] = nlbRule{Id: p.Rules[i].ID, How: how(&p.Rules[i])}
		if p.Rules[i].Mode != portrules.Disabled {
			head.Rules[i].Table = tables[p.RuleTable[i]]
		}
	}
	head.Keeps, head.Keeping = im.keeps(p.Rules)
	for i, set := range sets {
		im.ports(directory+i/setsPerPage, i%setsPerPage, p.Rules, set)
	}

	encoded, err := binary.Append(nil, binary.NativeEndian, &head)
	if err != nil {
		return nil, fmt.Errorf("encode head of policy: %w", err)
	}
	copy(im.pages[0][:], encoded)
	return im.pages, nil
}

// how packs what bpf/maps.h unpacks from rule.how.
func how(r *portrules.Rule) uint16 {
	var state uint16
	switch {
	case r.Mode == portrules.Disabled && r.Reject:
		state = 2 // REJECTS
	case r.Mode == portrules.Disabled:
		state = 1 // DISABLED
	}
	v4 := cmp.Or(r.PrefixV4, portrules.DefaultPrefixV4) - portrules.MinPrefixV4
	v6 := cmp.Or(r.PrefixV6, portrules.DefaultPrefixV6) - portrules.MinPrefixV6
	return uint16(r.Affinity) | state<<2 | uint16(v4)<<4 | uint16(v6)<<9
}

// keyWords returns a key as siphash.h takes it.
func keyWords(key nlbhash.Key) [2]uint64 {
	return [2]uint64{binary.LittleEndian.Uint64(key[:8]), binary.LittleEndian.Uint64(key[8:])}
}

func check(p *portrules.Policy) error {
	if n := len(p.VIPs); n > maxVIPs {
		return fmt.Errorf("policy has %d VIPs: at most %d fit", n, maxVIPs)
	}
	if n := len(p.Rules); n > maxRules {
		return fmt.Errorf("policy has %d rules: at most %d fit", n, maxRules)
	}
	if len(p.RuleTable) != len(p.Rules) {
		return fmt.Errorf("policy has %d rules but names tables for %d", len(p.Rules), len(p.RuleTable))
	}
	if p.DefaultTable < 0 || p.DefaultTable >= len(p.Tables) {
		return fmt.Errorf("policy has no default table %d", p.DefaultTable)
	}
	for i, t := range p.RuleTable {
		if p.Rules[i].Mode != portrules.Disabled && (t < 0 || t >= len(p.Tables)) {
			return fmt.Errorf("rule %q has no table %d", p.Rules[i].Name, t)
		}
	}
	return p.CheckIDs()
}

// portSets groups the VIPs that the same rules cover: they share one port set. A
// set is a list of indices into p.Rules.
func portSets(p *portrules.Policy, head *nlbHead) [][]int {
	var sets [][]int
	for i, vip := range p.VIPs {
		set := covering(p.Rules, vip)
		n := slices.IndexFunc(sets, func(s []int) bool { return slices.Equal(s, set) })
		if n < 0 {
			n = len(sets)
			sets = append(sets, set)
		}
		head.PortSet[i] = uint8(n)
	}
	return sets
}

func covering(rules []portrules.Rule, vip netip.Addr) []int {
	var set []int
	for i := range rules {
		if !rules[i].VIP.IsValid() || rules[i].VIP == vip {
			set = append(set, i)
		}
	}
	return set
}

func (im *image) table(b *portrules.Buckets) uint16 {
	var pg page
	for i, flags := range b {
		pg[i] = byte(flags)
	}
	return im.add(&pg)
}

// keeps writes how long each rule keeps its clients, and returns the number of that
// page, or 0 where none does, and which rules do, by protocol.
func (im *image) keeps(rules []portrules.Rule) (number uint16, keeping [protocols][maxRules / 8]uint8) {
	var pg page
	for i := range rules {
		for place, protocol := range [protocols]portrules.Protocol{portrules.TCP, portrules.UDP, portrules.SCTP} {
			if keep := rules[i].KeepClients(protocol); keep > 0 {
				ms := uint32(keep.Milliseconds())
				if rules[i].ByFlow() {
					ms |= byFlow
				}
				binary.NativeEndian.PutUint32(pg[4*(protocols*i+place):], ms) // struct keep
				keeping[place][i/8] |= 1 << (i % 8)
			}
		}
	}
	if pg == (page{}) {
		return 0, keeping
	}
	return im.add(&pg), keeping
}

// ports writes the port pages of one set and their numbers into a directory page.
func (im *image) ports(directory, set int, rules []portrules.Rule, covering []int) {
	for place, protocol := range [protocols]portrules.Protocol{portrules.TCP, portrules.UDP, portrules.SCTP} {
		var byPort [65536]uint16
		for port := range byPort {
			byPort[port] = noRule
		}
		for _, i := range slices.Backward(covering) { // the first rule wins
			if !rules[i].Protocol.Has(protocol) {
				continue
			}
			for port := int(rules[i].First); port <= int(rules[i].Last); port++ {
				byPort[port] = uint16(i)
			}
		}
		for n := range pagesPerProtocol {
			var pg page
			for i, rule := range byPort[n*portsPerPage : (n+1)*portsPerPage] {
				binary.NativeEndian.PutUint16(pg[2*i:], rule)
			}
			number := im.add(&pg) // may move im.pages
			entry := (set*protocols+place)*pagesPerProtocol + n
			binary.NativeEndian.PutUint16(im.pages[directory][2*entry:], number)
		}
	}
}

// add returns the number of a page, which it appends unless an equal one is there.
func (im *image) add(pg *page) uint16 {
	if n, ok := im.known[*pg]; ok {
		return n
	}
	n := uint16(len(im.pages))
	im.pages = append(im.pages, *pg)
	im.known[*pg] = n
	return n
}
