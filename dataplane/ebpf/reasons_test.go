package ebpf

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"

	"github.com/opennlb/opennlb/portrules"
)

// bpf/reasons.h numbers and names the reasons as portrules does.
func TestReasons(t *testing.T) {
	spec, err := loadNlb()
	if err != nil {
		t.Fatal(err)
	}
	var enum *btf.Enum
	if err := spec.Types.TypeByName("reason", &enum); err != nil {
		t.Fatal(err)
	}
	if len(enum.Values) != int(portrules.NumReasons)+1 {
		t.Errorf("C has %d values, want %d and NUM_REASONS", len(enum.Values), portrules.NumReasons)
	}
	for _, v := range enum.Values {
		want := "NUM_REASONS"
		if r := portrules.Reason(v.Value); r < portrules.NumReasons {
			want = "REASON_" + strings.ReplaceAll(strings.ToUpper(r.String()), "-", "_")
		}
		if v.Name != want {
			t.Errorf("reason %d is %s in C, want %s", v.Value, v.Name, want)
		}
	}
}

// The constants of image.go and portrules are those of bpf/maps.h.
func TestGeometry(t *testing.T) {
	spec, err := loadNlb()
	if err != nil {
		t.Fatal(err)
	}
	var head nlbHead
	for _, c := range []struct {
		name      string
		got, want int
	}{
		{"page", int(spec.Maps[nlbMapPolicies].InnerMap.ValueSize), pageLength},
		{"VIPs", len(head.Vips), maxVIPs},
		{"rules", len(head.Rules), maxRules},
		{"VIP slots", len(head.VipSlots), vipSlots},
		{"counters", int(spec.Maps[nlbMapCounters].MaxEntries), portrules.NumRuleIDs + 1},
		{"names", int(spec.Maps[nlbMapNames].MaxEntries), portrules.NumRuleIDs},
		{"limit of rules", portrules.MaxRules, maxRules},
		{"limit of VIPs", portrules.MaxVIPs, maxVIPs},
	} {
		if c.got != c.want {
			t.Errorf("%s: %d, want %d", c.name, c.got, c.want)
		}
	}
	if binary.Size(head) > pageLength {
		t.Errorf("head of %d bytes does not fit a page", binary.Size(head))
	}
	if portrules.MaxName >= len(nlbName{}.Text) {
		t.Errorf("rule names of %d bytes do not fit", portrules.MaxName)
	}
}
