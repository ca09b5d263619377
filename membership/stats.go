package membership

import "sync/atomic"

// Stats counts what was refused or dropped since Start.
type Stats struct {
	BadMetadata       uint64 // announcements of members that could not be understood
	DuplicateName     uint64 // announcements refused because the name is taken
	DuplicatePriority uint64 // announcements refused because the priority is taken
	WrongKey          uint64 // packets and connections from holders of another key
	WrongCluster      uint64 // packets and connections of another cluster
	WrongDetection    uint64 // announcements and state exchanges of members with another cluster.detection
	BadMessage        uint64 // received messages malformed or too large
	Misdirected       uint64 // received messages for an earlier process, or not from the present one of a live member
	Replayed          uint64 // received messages seen before
	InboxFull         uint64 // received messages dropped because Messages was not read
	OutboxFull        uint64 // sends dropped because the peer's queue is full
	TooLarge          uint64 // sends refused because of their size
	NoSuchPeer        uint64 // sends to a name that is not a live peer
	SendErrors        uint64 // messages that the network refused to take
	TooManyStreams    uint64 // inbound connections closed because too many were open
	Deaf              uint64 // packets and connections dropped while not Healthy
}

type counters struct {
	badMetadata, duplicateName, duplicatePriority, wrongKey, wrongCluster, wrongDetection,
	badMessage, misdirected, replayed, inboxFull, outboxFull,
	tooLarge, noSuchPeer, sendErrors, tooManyStreams, deaf atomic.Uint64
}

func (c *counters) read() Stats {
	return Stats{
		BadMetadata:       c.badMetadata.Load(),
		DuplicateName:     c.duplicateName.Load(),
		DuplicatePriority: c.duplicatePriority.Load(),
		WrongKey:          c.wrongKey.Load(),
		WrongCluster:      c.wrongCluster.Load(),
		WrongDetection:    c.wrongDetection.Load(),
		BadMessage:        c.badMessage.Load(),
		Misdirected:       c.misdirected.Load(),
		Replayed:          c.replayed.Load(),
		InboxFull:         c.inboxFull.Load(),
		OutboxFull:        c.outboxFull.Load(),
		TooLarge:          c.tooLarge.Load(),
		NoSuchPeer:        c.noSuchPeer.Load(),
		SendErrors:        c.sendErrors.Load(),
		TooManyStreams:    c.tooManyStreams.Load(),
		Deaf:              c.deaf.Load(),
	}
}
