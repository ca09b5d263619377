package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// complaint says why a text is not a value; the text itself goes before it.
type complaint struct{ what, advice string }

func anyText(s string) (string, *complaint) { return s, nil }

// number accepts decimal whole numbers from low to high.
func number[T uint8 | uint16](low, high T) func(string) (T, *complaint) {
	return func(s string) (T, *complaint) {
		n, err := strconv.ParseUint(s, 10, 16)
		if err != nil || n < uint64(low) || n > uint64(high) {
			return 0, &complaint{"is out of range", fmt.Sprintf("write a whole number from %d to %d", low, high)}
		}
		return T(n), nil
	}
}

func boolean(s string) (bool, *complaint) {
	switch s {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	return false, &complaint{"is neither true nor false", "write true or false"}
}

// word accepts one of the given words.
func word[T ~string](words ...T) func(string) (T, *complaint) {
	return func(s string) (T, *complaint) {
		if slices.Contains(words, T(s)) {
			return T(s), nil
		}
		return "", &complaint{"is not known", "write " + alternatives(words)}
	}
}

// alternatives writes "a, b or c".
func alternatives[T ~string](words []T) string {
	texts := make([]string, len(words))
	for i, w := range words {
		texts[i] = string(w)
	}
	last := len(texts) - 1
	if last == 0 {
		return texts[0]
	}
	return strings.Join(texts[:last], ", ") + " or " + texts[last]
}

func address(s string) (netip.Addr, *complaint) {
	a, err := netip.ParseAddr(s)
	if err == nil {
		return a, nil
	}
	advice := `write one such as 192.0.2.10 or "2001:db8::10"`
	if _, err := netip.ParseAddrPort(s); err == nil {
		advice = "write the address without a port"
	}
	if _, err := netip.ParsePrefix(s); err == nil {
		advice = "write the address without a prefix length"
	}
	return netip.Addr{}, &complaint{"is not an IP address", advice}
}

// vipOrAll accepts all, which is the zero address, or an address.
func vipOrAll(s string) (netip.Addr, *complaint) {
	if s == "all" {
		return netip.Addr{}, nil
	}
	a, wrong := address(s)
	if wrong != nil {
		wrong.advice = "write all, or one of cluster.vips"
	}
	return a, wrong
}

// portRange is a range of ports, both ends included.
type portRange struct{ first, last uint16 }

func ports(s string) (portRange, *complaint) {
	wrong := &complaint{"is not a port or a range of ports", "write one port such as 80, or a range such as 80-443, from 0 to 65535"}
	first, last, isRange := strings.Cut(s, "-")
	if !isRange {
		last = first
	}
	lo, err := strconv.ParseUint(strings.TrimSpace(first), 10, 16)
	if err != nil {
		return portRange{}, wrong
	}
	hi, err := strconv.ParseUint(strings.TrimSpace(last), 10, 16)
	if err != nil {
		return portRange{}, wrong
	}
	if lo > hi {
		return portRange{}, &complaint{"runs backwards", fmt.Sprintf("write %d-%d", hi, lo)}
	}
	return portRange{uint16(lo), uint16(hi)}, nil
}

func duration(s string) (time.Duration, *complaint) {
	d, err := time.ParseDuration(s)
	if err == nil {
		return d, nil
	}
	advice := "write a number and a unit, such as 30s or 10m"
	if _, err := strconv.ParseUint(s, 10, 32); err == nil {
		advice = "write the unit too, such as " + s + "s"
	}
	return 0, &complaint{"is not a duration", advice}
}

// enum makes a parser of a value's own one and the words that it takes.
func enum[T any](parse func(string) (T, error), words string) func(string) (T, *complaint) {
	return func(s string) (T, *complaint) {
		v, err := parse(s)
		if err != nil {
			return v, &complaint{"is not known", "write " + words}
		}
		return v, nil
	}
}
