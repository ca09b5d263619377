/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef NLB_BEACON_H
#define NLB_BEACON_H

/* Beacons (converge/beacon.go) and the fence that they raise: docs/DECISION.md,
 * "Beacons". portrules.Listener is the same in Go. */

#include "packet.h"

#define ETHERTYPE_BEACON bpf_htons(0x88b5)
#define BEACON_MAGIC ('N' | 'L' << 8 | 'B' << 16 | 1 << 24)

/* commit makes the prepared policy the active one at the beacon of its very epoch, so
 * that all members switch at the same point of the frame stream. If the agent
 * changed its mind meanwhile, the swap does nothing. */
static __always_inline void commit(const struct beacon *b)
{
	__u64 word = agent.slots;
	__u32 slot = PREPARED_SLOT(word);
	struct policy p;

	if (!load_slot(&p, slot) || !p.head->by || p.head->by != b->by ||
	    p.head->epoch != b->epoch || p.head->instance != b->instance)
		return;
	__sync_val_compare_and_swap(&agent.slots, word, SLOTS(slot, NO_SLOT, CHANGES(word) + 1));
}

/* hear judges the place of an authentic beacon in its sequence and, unless it is a
 * replay, raises the fence or switches, and tells the agent. The lock keeps two CPUs
 * from mixing up the sequences of two instances. */
static __always_inline enum reason hear(const struct beacon *b, __u64 active)
{
	bool named = b->view >> ((own_priority - 1) & 31) & 1;
	__u32 only = 0, by = b->by;
	struct heard *h = bpf_map_lookup_elem(&heard, &only);
	struct last *last;
	bool replayed;

	if (!h || by > MAX_PRIORITY)
		return REASON_BEACON_FORGED;
	last = &h->last[by];
	bpf_spin_lock(&h->lock);
	replayed = last->instance == b->instance && b->seq <= last->seq;
	if (!replayed) {
		last->instance = b->instance;
		last->seq = b->seq;
		if (!named && b->epoch >= active && b->epoch > agent.fence)
			agent.fence = b->epoch;
	}
	bpf_spin_unlock(&h->lock);
	if (replayed)
		return REASON_BEACON_REPLAYED;
	if (named && b->in_force)
		commit(b);
	bpf_ringbuf_output(&beacons, (void *)b, sizeof(*b), 0); /* full: the agent is frozen */
	return REASON_BEACON;
}

/* authentic reports whether a tag was made with one of the keys that count. */
static __always_inline bool authentic(const __u64 word[6], __u64 tag)
{
	__u32 count = agent.beacon_keys;

#pragma clang loop unroll(disable)
	for (int i = 0; i < MAX_BEACON_KEYS; i++)
		if (count >> i & 1 &&
		    siphash_words(2, 4, agent.beacon_key[i][0], agent.beacon_key[i][1], word, 6) == tag)
			return true;
	return false;
}

/* decide_beacon is for frames of the EtherType of beacons, with a policy or none. */
static __always_inline enum reason decide_beacon(void *data, void *end)
{
	const __u64 *wire = data + sizeof(struct ethhdr);
	__u64 word[6], active = 0;
	struct policy policy;
	struct beacon b;

	if (!own_priority)
		return REASON_NOT_VIP;
	if ((void *)wire + 4 > end || le32(*(const __u32 *)wire) != BEACON_MAGIC)
		return REASON_NOT_VIP;
	if ((void *)(wire + 6) > end)
		return REASON_BEACON_FORGED;
#pragma unroll
	for (int i = 0; i < 5; i++)
		word[i] = le64(wire[i]);
	word[5] = (__u64)40 << 56; /* the length that is hashed */
	if (!authentic(word, le64(wire[5])))
		return REASON_BEACON_FORGED;
	if ((__u32)word[4] < 1 || (__u32)word[4] > MAX_PRIORITY || word[4] >> 32 > 1)
		return REASON_BEACON_FORGED;
	if (load(&policy))
		active = policy.head->epoch;
	b = (struct beacon){
		.epoch = word[1], .instance = word[2], .seq = word[3], .view = word[0] >> 32,
		.by = word[4], .in_force = word[4] >> 32,
	};
	return hear(&b, active);
}

/* Verified on its own, like walk, and kept out of the way of frequent frames: inlined,
 * it costs those 3 ns. */
__noinline __u32 beacon_tc(struct __sk_buff *skb)
{
	return decide_beacon((void *)(long)skb->data, (void *)(long)skb->data_end);
}

__noinline __u32 beacon_xdp(struct xdp_md *xdp)
{
	return decide_beacon((void *)(long)xdp->data, (void *)(long)xdp->data_end);
}

#endif
