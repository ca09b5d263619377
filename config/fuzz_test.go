package config

import (
	"os"
	"testing"
)

func FuzzParse(f *testing.F) {
	f.Add([]byte(minimal))
	f.Add([]byte(base))
	reference, err := os.ReadFile("../deploy/nlb.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(reference)
	f.Add([]byte("? a\n: b\n"))
	f.Add([]byte("a: *a\n<<: {a: !!int 1}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse("nlb.yaml", data)
		if (c == nil) == (err == nil) {
			t.Fatalf("configuration %v and error %v", c, err)
		}
		if err != nil {
			if err.Error() == "" {
				t.Fatal("empty message")
			}
			return
		}
		if err := c.Validate(); err != nil {
			t.Fatalf("accepted, but does not validate: %v", err)
		}
		for name, r := range c.Member.Rules {
			if c.Member.Rule(name) != r {
				t.Fatalf("rule %s", name)
			}
		}
	})
}
