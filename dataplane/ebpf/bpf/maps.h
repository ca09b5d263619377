/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef NLB_MAPS_H
#define NLB_MAPS_H

#include "reasons.h"

#define BUCKETS 4096
#define MAX_VIPS 64
#define MAX_RULES 256
#define NUM_RULE_IDS 1024 /* portrules.NumRuleIDs */
#define NO_RULE_ID NUM_RULE_IDS
#define MAX_FRAGMENTS 4096
#define MAX_CLIENTS 65536 /* portrules.MaxClients */
#define MAX_PRIORITY 32
#define MAX_BEACON_KEYS 2 /* the old and the new one while the key of the cluster is changed */
#define NAME_LENGTH 64

#define PAGE_LENGTH 4096
#define VIP_SLOTS 1024	/* of the perfect hash; a power of two */
#define PORTS_PER_PAGE 2048
#define PAGES_PER_PROTOCOL 32
#define PROTOCOLS 3
#define SETS_PER_PAGE 16
#define FIRST_DIRECTORY 1 /* page number; page 0 is the head */
#define NO_RULE 0xffff
#define POLICY_SLOTS 4
#define NO_SLOT 0xff

/*
 * A policy is one array of pages, built aside and published whole: a program fetches
 * the array once per frame, so it never sees half of one policy and half of another.
 * The agent writes into an array that is neither active nor prepared, and only when
 * no program can still be reading it from an earlier time. Which page is what:
 *
 *   head       the fixed part, page 0
 *   directory  [port set][protocol: tcp, udp, sctp][port / 2048] -> number of a port page
 *   ports      [port % 2048] -> index into head.rules, or NO_RULE
 *   table      [bucket] -> flags
 *   keeps      [index into head.rules] -> struct keep; none if no rule keeps clients
 */
struct addr { /* 16 bytes as on the wire, IPv4 mapped */
	__u64 hi, lo;
};

#define DISABLED 1
#define REJECTS 2

struct rule {
	__u16 table; /* page number */
	__u16 id;    /* below NUM_RULE_IDS; names the rule in counters and clients */
	__u16 how; /* see below: 256 rules leave little room in a page */
};

#define AFFINITY(how) ((how) & 3)
#define STATE(how) ((how) >> 2 & 3) /* DISABLED, REJECTS or neither */
#define PREFIX_V4(how) (((how) >> 4 & 31) + 8)
#define PREFIX_V6(how) (((how) >> 9) + 16)

struct head {
	__u64 epoch;
	__u64 instance; /* who made the epoch: its beacon switches to this policy while it is prepared */
	__u32 by;	/* 0: no beacon does */
	__u64 hash_key[2];
	__u64 vip_factor[2];	     /* multipliers of the perfect hash */
	struct addr vips[MAX_VIPS];
	__u16 default_table; /* page number */
	struct rule rules[MAX_RULES];
	__u8 port_set[MAX_VIPS];
	__u8 vip_slots[VIP_SLOTS]; /* number of a VIP, or MAX_VIPS for none */
	__u8 keeping[PROTOCOLS][MAX_RULES / 8]; /* bits of the rules that keep clients */
	__u16 keeps;				/* page number; 0: none */
};
_Static_assert(sizeof(struct head) <= PAGE_LENGTH, "head fits a page");

/* How long a client of a rule that falls silent stays with its member. */
struct keep {
	__u32 ms[PROTOCOLS]; /* 0: not at all; with BY_FLOW it is its flows that stay */
};
#define BY_FLOW 0x80000000
_Static_assert(sizeof(struct keep) * MAX_RULES <= PAGE_LENGTH, "keeps fit a page");

struct pages {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_INNER_MAP | BPF_F_MMAPABLE); /* each policy has as many as it needs */
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, PAGE_LENGTH);
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, POLICY_SLOTS + 1); /* the last is for the agent's waiting */
	__type(key, __u32);
	__array(values, struct pages);
} policies SEC(".maps");

/* Words that the agent writes, and reads, while programs run; mapped into its memory. */
struct control {
	__u64 lease;  /* CLOCK_MONOTONIC ns; from then on nothing is answered */
	__u64 slots;  /* which policy counts: ACTIVE_SLOT, PREPARED_SLOT; changed as one word by both */
	__u64 fence;  /* written by the programs: a policy of a lower epoch answers nothing */
	__u32 layout; /* LAYOUT of the program that uses the pages */
	__u32 ifindex;
	__u32 clsact; /* 0: tcx; 1: clsact filters; 2: and the qdisc is ours */
	__u32 beacon_keys; /* bits of those below that count; the others may be written */
	__u64 beacon_key[MAX_BEACON_KEYS][2];
};
volatile struct control agent SEC(".data.agent");

/* control.slots: indices into policies, and a count of the changes above them, so
 * that a program that compares and swaps cannot take a later word for the one it read. */
#define ACTIVE_SLOT(word) ((word) & 0xff)
#define PREPARED_SLOT(word) ((word) >> 8 & 0xff) /* NO_SLOT: none */
#define CHANGES(word) ((word) >> 16)
#define SLOTS(active, prepared, changes) ((active) | (__u64)(prepared) << 8 | (changes) << 16)

struct counts {
	__u64 packets[NUM_REASONS];
};

/* By rule.id; NO_RULE_ID counts traffic that no rule covers. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, NUM_RULE_IDS + 1);
	__type(key, __u32);
	__type(value, struct counts);
} counters SEC(".maps");

struct name {
	__u8 text[NAME_LENGTH];
};

/* The rule behind each ID; read and written by agents only. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, NUM_RULE_IDS);
	__type(key, __u32);
	__type(value, struct name);
} names SEC(".maps");

struct fragment {
	struct addr src, dst;
	__u32 id;
	__u32 protocol;
};

/* Datagrams whose first fragment came, and whether it was accepted here. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MAX_FRAGMENTS);
	__type(key, struct fragment);
	__type(value, __u8);
} fragments SEC(".maps");

/* A client, or a flow of it: portrules.ClientKey. */
struct client {
	__u64 hash;
	__u16 rule; /* its id */
	__u16 bucket;
	__u32 unused;
};

/* What is known of it. */
struct known {
	struct addr addr; /* one of those that the key stands for */
	__u64 seen;	  /* CLOCK_MONOTONIC_COARSE, ns */
	__be16 port;
	__u8 mine; /* this member answered; else another does */
	__u8 unused[5];
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MAX_CLIENTS);
	__type(key, struct client);
	__type(value, struct known);
} clients SEC(".maps");

/* A beacon as the agent is told of it. */
struct beacon {
	__u64 epoch, instance, seq;
	__u32 view;
	__u32 by;
	__u32 in_force;
	__u32 unused;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096); /* a page; set before loading */
} beacons SEC(".maps");

#define SAMPLE_LENGTH 256

/* The beginning of a frame that the agent is to reject. */
struct sample {
	__u32 length;
	__u8 bytes[SAMPLE_LENGTH];
	__u32 unused;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096); /* pages; set before loading */
} rejected SEC(".maps");

struct last {
	__u64 instance, seq;
};

/* The last beacon of each member, by priority. */
struct heard {
	struct bpf_spin_lock lock; /* also of agent.fence */
	struct last last[MAX_PRIORITY + 1];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct heard);
} heard SEC(".maps");

/* Set before loading. */
const volatile __u8 own_mac[6];
const volatile __u8 source_mac[6];
const volatile __u8 cluster_mac[6];
const volatile __u8 own_priority; /* 0: beacons are frames like any other */

#endif
