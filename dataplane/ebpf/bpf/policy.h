/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef NLB_POLICY_H
#define NLB_POLICY_H

#include "maps.h"
#include "siphash.h"

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define le16(x) ((__u64)(__u16)(x))
#define le32(x) ((__u64)(__u32)(x))
#define le64(x) (x)
#define MAPPED(v4) ((__u64)(v4) << 32 | 0xffff0000)
#define IS_MAPPED(a) (!(a).hi && (__u32)(a).lo == 0xffff0000)
#else
#define le16(x) ((__u64)__builtin_bswap16(x))
#define le32(x) ((__u64)__builtin_bswap32(x))
#define le64(x) __builtin_bswap64(x)
#define MAPPED(v4) (0x0000ffff00000000 | (v4))
#define IS_MAPPED(a) (!(a).hi && (a).lo >> 32 == 0x0000ffff)
#endif

/* portrules.Flags */
#define OWN 1
#define RESIDUAL 2
#define FOREIGN 4

/* portrules.Affinity */
#define AFFINITY_NONE 0
#define AFFINITY_SINGLE 1
#define AFFINITY_NETWORK 2

struct policy {
	void *pages;
	struct head *head;
};

static __always_inline void *page(void *pages, __u32 number)
{
	return bpf_map_lookup_elem(pages, &number);
}

/* load_slot finds a policy, and false where there is none. */
static __always_inline bool load_slot(struct policy *p, __u32 slot)
{
	p->pages = bpf_map_lookup_elem(&policies, &slot);
	if (!p->pages)
		return false;
	p->head = page(p->pages, 0);
	return p->head;
}

/* load finds the active policy, and false before the first one is installed. */
static __always_inline bool load(struct policy *p)
{
	return load_slot(p, ACTIVE_SLOT(agent.slots));
}

/* find_vip returns the number of a VIP, MAX_VIPS for any other address. The hash
 * is perfect: no two VIPs share a slot, so one comparison settles it. */
static __always_inline __u32 find_vip(const struct policy *p, const struct addr *a)
{
	const struct head *h = p->head;
	__u32 slot = (a->hi * h->vip_factor[0] + a->lo * h->vip_factor[1]) >> 54;
	__u32 vip = h->vip_slots[slot & (VIP_SLOTS - 1)];

	if (vip >= MAX_VIPS || h->vips[vip].lo != a->lo || h->vips[vip].hi != a->hi)
		return MAX_VIPS;
	return vip;
}

/* Places in a directory. */
#define IN_TCP 0
#define IN_UDP 1
#define IN_SCTP 2

/* find_rule returns an index into head.rules, or NO_RULE. port: host order. */
static __always_inline __u32 find_rule(const struct policy *p, __u32 vip, __u32 protocol, __u32 port)
{
	__u32 set = p->head->port_set[vip & (MAX_VIPS - 1)];
	__u16 *directory = page(p->pages, FIRST_DIRECTORY + set / SETS_PER_PAGE);
	__u16 *ports;

	if (!directory)
		return NO_RULE;
	set = (set % SETS_PER_PAGE * PROTOCOLS + protocol) * PAGES_PER_PROTOCOL;
	ports = page(p->pages, directory[set + port / PORTS_PER_PAGE]);
	if (!ports)
		return NO_RULE;
	return ports[port % PORTS_PER_PAGE];
}

/* hash_v4 hashes what rule.how says of a client. port: network order. */
static __always_inline __u64 hash_v4(const struct head *h, __u32 how, __u32 addr, __u16 port)
{
	__u64 word = (__u64)4 << 56 | le32(addr);

	if (AFFINITY(how) == AFFINITY_NETWORK)
		word &= (__u64)0xff << 56 | __builtin_bswap32(~0U << (32 - PREFIX_V4(how)));
	if (AFFINITY(how) == AFFINITY_NONE)
		word = (__u64)6 << 56 | le16(port) << 32 | le32(addr);
	return siphash_words(1, 3, h->hash_key[0], h->hash_key[1], &word, 1);
}

static __always_inline __u64 hash_v6(const struct head *h, __u32 how,
				     const struct addr *addr, __u16 port)
{
	__u64 words[3] = { le64(addr->hi), le64(addr->lo), (__u64)16 << 56 };
	__u32 bits;

	if (AFFINITY(how) == AFFINITY_NETWORK) {
		bits = PREFIX_V6(how);
		if (bits <= 64) {
			words[0] &= __builtin_bswap64(~0ULL << (64 - bits));
			words[1] = 0;
		} else {
			words[1] &= __builtin_bswap64(~0ULL << (128 - bits));
		}
	}
	if (AFFINITY(how) == AFFINITY_NONE)
		words[2] = (__u64)18 << 56 | le16(port);
	return siphash_words(1, 3, h->hash_key[0], h->hash_key[1], words, 3);
}

/* flags_of says what this member does with the bucket of a hash; nothing, if in doubt. */
static __always_inline __u32 flags_of(const struct policy *p, __u32 table, __u64 hash)
{
	__u8 *flags = page(p->pages, table);

	return flags ? flags[hash % BUCKETS] : 0;
}

#endif
