package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
)

// Switch is the bridge br0 in its own namespace, and the place where faults are made.
type Switch struct {
	*Host
	ports  map[string]string // port -> host
	mu     sync.Mutex
	faults faults
}

// Station is an entry of a switch table: a MAC address seen at, or joined on, a port.
type Station struct {
	MAC  string // 0a:77:00:00:00:01; in the MDB the group's IP address
	Port string
	Host string // the host cabled to the port
}

// FDB returns the MAC addresses that the switch has learned as the source of frames.
func (s *Switch) FDB(ctx context.Context) ([]Station, error) {
	out, err := s.Run(ctx, "bridge", "-json", "fdb", "show", "br", "br0")
	if err != nil {
		return nil, err
	}
	var entries []struct {
		MAC    string
		Ifname string
		State  string
		Flags  []string
	}
	if err := json.Unmarshal([]byte(out), &entries); err != nil {
		return nil, fmt.Errorf("read the switch's MAC table: %w", err)
	}
	var learned []Station
	for _, e := range entries {
		if e.State == "permanent" || slices.Contains(e.Flags, "self") {
			continue // the bridge's own, not learned
		}
		learned = append(learned, Station{MAC: e.MAC, Port: e.Ifname, Host: s.ports[e.Ifname]})
	}
	return learned, nil
}

// MDB returns the multicast groups that hosts have joined by IGMP or MLD reports.
func (s *Switch) MDB(ctx context.Context) ([]Station, error) {
	out, err := s.Run(ctx, "bridge", "-json", "mdb", "show", "dev", "br0")
	if err != nil {
		return nil, err
	}
	var tables []struct {
		MDB []struct{ Port, Grp string }
	}
	if err := json.Unmarshal([]byte(out), &tables); err != nil {
		return nil, fmt.Errorf("read the switch's multicast table: %w", err)
	}
	var joined []Station
	for _, t := range tables {
		for _, e := range t.MDB {
			joined = append(joined, Station{MAC: e.Grp, Port: e.Port, Host: s.ports[e.Port]})
		}
	}
	return joined, nil
}

// CutCable unplugs h: both ends lose the carrier.
func (s *Switch) CutCable(ctx context.Context, h *Host) error {
	return s.ip(ctx, "link set "+h.Port+" down")
}

// PlugCable undoes CutCable.
func (s *Switch) PlugCable(ctx context.Context, h *Host) error {
	return s.ip(ctx, "link set "+h.Port+" up")
}
