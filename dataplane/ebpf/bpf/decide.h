/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef NLB_DECIDE_H
#define NLB_DECIDE_H

/* The decision of docs/DECISION.md; numbers are its paragraphs. It changes
 * nothing but the fragment table and what was heard of beacons. portrules.Decide is the same in Go. */

#include "beacon.h"
#include "nat.h"

/* has_socket asks the member's own socket table for a connection with exactly
 * these ends. A listener is none, nor is one in TIME_WAIT: its client may have come
 * back with the same port, to the new owner. */
static __always_inline bool has_socket(const struct frame *f, struct bpf_sock_tuple *tuple, __u32 size)
{
	struct bpf_sock *sk = bpf_skc_lookup_tcp(f->ctx, tuple, size, BPF_F_CURRENT_NETNS, 0);
	bool none;

	if (!sk)
		return false;
	none = sk->state == BPF_TCP_LISTEN || sk->state == BPF_TCP_TIME_WAIT;
	bpf_sk_release(sk);
	return !none;
}

/* serves says whether this member has the connection of a TCP segment: a socket, or
 * behind NAT an entry in the connection table of its kernel. */
static __always_inline bool serves(const struct frame *f, const struct packet *p)
{
	struct bpf_sock_tuple tuple = {};
	const __be16 *ports = p->transport;

	if (p->v6) {
		__builtin_memcpy(tuple.ipv6.saddr, &p->src, 16);
		__builtin_memcpy(tuple.ipv6.daddr, &p->dst, 16);
		tuple.ipv6.sport = ports[0];
		tuple.ipv6.dport = ports[1];
	} else {
		tuple.ipv4.saddr = ((__u32 *)&p->src)[3];
		tuple.ipv4.daddr = ((__u32 *)&p->dst)[3];
		tuple.ipv4.sport = ports[0];
		tuple.ipv4.dport = ports[1];
	}
	if (has_socket(f, &tuple, TUPLE_SIZE(p->v6)))
		return true;
	return f->xdp ? nat_xdp(f->ctx, &tuple, p->v6) : nat_tc(f->ctx, &tuple, p->v6);
}

static __always_inline __u32 bucket(const struct head *h, __u32 affinity, const struct packet *p,
				    __u16 port)
{
	if (p->v6)
		return bucket_v6(h, affinity, &p->src, port);
	return bucket_v4(h, affinity, ((__u32 *)&p->src)[3], port);
}

/* judge applies the flags of a bucket to a TCP or UDP packet (11). */
static __always_inline enum reason judge(const struct frame *f, const struct packet *p, __u32 flags,
					 bool tcp, bool syn)
{
	if (flags & OWN) {
		if (syn)
			return REASON_NEW;
		if (!(flags & FOREIGN))
			return REASON_OWNER;
		if (!tcp)
			return REASON_OWNER;
		return serves(f, p) ? REASON_ESTABLISHED : REASON_FOREIGN_HELD;
	}
	if (flags & RESIDUAL && tcp && !syn && serves(f, p))
		return REASON_RESIDUAL;
	return REASON_NOT_OWNER;
}

/* decide_transport is for TCP and UDP (8 to 11). */
static __always_inline enum reason decide_transport(const struct frame *f, const struct policy *policy,
						    const struct packet *p, __u32 vip, __u32 *counter)
{
	bool tcp = p->protocol == IPPROTO_TCP;
	__be16 *ports = p->transport;
	__u8 *flags = p->transport + 13;
	const struct head *head = policy->head;
	__u32 table = head->default_table, affinity = AFFINITY_SINGLE, rule;
	bool syn = false;

	if (p->transport + 8 > f->end)
		return REASON_MALFORMED;
	if (tcp) {
		if (p->transport + 20 > f->end)
			return REASON_MALFORMED;
		syn = (*flags & 0x12) == 0x02;
	}

	rule = find_rule(policy, vip, !tcp, bpf_ntohs(ports[1]));
	if (rule < MAX_RULES) {
		*counter = head->rules[rule].counter;
		if (head->rules[rule].disabled)
			return REASON_RULE_DISABLED;
		table = head->rules[rule].table;
		affinity = head->rules[rule].affinity;
	}
	return judge(f, p, flags_of(policy, table, bucket(head, affinity, p, ports[0])), tcp, syn);
}

/* decide_other is for protocols without ports (7). */
static __always_inline enum reason decide_other(const struct policy *policy, const struct packet *p)
{
	__u32 flags = flags_of(policy, policy->head->default_table,
			       bucket(policy->head, AFFINITY_SINGLE, p, 0));

	return flags & OWN ? REASON_DEFAULT_HOST : REASON_NOT_DEFAULT;
}

/* decide_packet is for a well-formed packet to a VIP (6 to 11). */
static __always_inline enum reason decide_packet(const struct frame *f, const struct policy *policy,
						 const struct packet *p, __u32 vip, __u32 *counter)
{
	struct fragment key;
	enum reason reason;
	__u8 accepted = 1;

	if (p->first || p->later) {
		key = (struct fragment){ p->src, p->dst, p->fragment_id, p->fragment_protocol };
		if (p->later)
			return bpf_map_lookup_elem(&fragments, &key) ? REASON_FRAGMENT_OF :
								       REASON_STRAY_FRAGMENT;
	}
	if (p->protocol == IPPROTO_TCP || p->protocol == IPPROTO_UDP)
		reason = decide_transport(f, policy, p, vip, counter);
	else
		reason = decide_other(policy, p);
	if (p->first && !IS_DROP(reason))
		bpf_map_update_elem(&fragments, &key, &accepted, BPF_ANY);
	return reason;
}

static __always_inline enum reason decide_arp(const struct frame *f, const struct policy *policy)
{
	struct arp *arp = arp_of(f);
	struct addr sender, target;

	if (!arp)
		return REASON_NOT_VIP;
	sender = addr_v4(arp_addr(arp->sender));
	target = addr_v4(arp_addr(arp->target));
	if (find_vip(policy, &sender) < MAX_VIPS)
		return REASON_NEIGHBOR;
	if (find_vip(policy, &target) >= MAX_VIPS)
		return REASON_NOT_VIP;
	return arp->operation == bpf_htons(2) ? REASON_NEIGHBOR_REPLY : REASON_NEIGHBOR;
}

/* The clock that costs little steps 4 ms and, on a virtual machine, was seen to lag 9 ms:
 * near its end the lease is held against the exact one. */
#define LEASE_NEAR (100 * 1000 * 1000ULL) /* ns */

static __always_inline bool lease_over(__u64 coarse)
{
	__u64 lease = agent.lease;

	return coarse + LEASE_NEAR >= lease && bpf_ktime_get_ns() >= lease;
}

/* silence says why this member answers nothing at all (4), REASON_NOT_VIP where it
 * may answer. */
static __always_inline enum reason silence(const struct policy *policy, __u64 now)
{
	if (lease_over(now))
		return REASON_LEASE_OVER;
	if (agent.fence && agent.fence >= policy->head->epoch)
		return REASON_FENCED;
	return REASON_NOT_VIP;
}

static __always_inline enum reason decide_v4(const struct frame *f, const struct policy *policy,
					     __u64 now, __u32 *counter)
{
	struct iphdr *ip = ipv4_of(f);
	struct packet p = {};
	enum reason silent;
	__u32 vip;

	if (!ip)
		return REASON_NOT_VIP;
	p.dst = addr_v4(ip->daddr);
	vip = find_vip(policy, &p.dst);
	if (vip >= MAX_VIPS)
		return REASON_NOT_VIP;
	silent = silence(policy, now);
	if (silent)
		return silent;
	p.src = addr_v4(ip->saddr);
	if (!parse_v4(f, ip, &p))
		return REASON_MALFORMED;
	return decide_packet(f, policy, &p, vip, counter);
}

/* decide_ndp is for the solicitations and advertisements of neighbours (2), and
 * returns REASON_NOT_VIP where another paragraph decides. */
static __always_inline enum reason decide_ndp(const struct frame *f, const struct policy *policy,
					      struct ipv6hdr *ip, bool to_vip)
{
	struct {
		__u8 type, code;
		__be16 checksum;
		__be32 flags;
		struct in6_addr target;
	} *ndp = (void *)(ip + 1);
	struct addr target;

	if ((void *)(ndp + 1) > f->end || (ndp->type != 135 && ndp->type != 136))
		return REASON_NOT_VIP;
	target = addr_v6(&ndp->target);
	if (!IS_MAPPED(target) && find_vip(policy, &target) < MAX_VIPS)
		return REASON_NEIGHBOR;
	return to_vip && ndp->type == 136 ? REASON_NEIGHBOR_REPLY : REASON_NOT_VIP;
}

static __always_inline enum reason decide_v6(const struct frame *f, const struct policy *policy,
					     __u64 now, __u32 *counter)
{
	struct ipv6hdr *ip = ipv6_of(f);
	struct packet p = { .v6 = true };
	enum reason reason;
	__u32 vip;

	if (!ip)
		return REASON_NOT_VIP;
	p.dst = addr_v6(&ip->daddr);
	vip = IS_MAPPED(p.dst) ? MAX_VIPS : find_vip(policy, &p.dst);
	if (ip->nexthdr == IPPROTO_ICMPV6) {
		reason = decide_ndp(f, policy, ip, vip < MAX_VIPS);
		if (reason != REASON_NOT_VIP)
			return reason;
	}
	if (vip >= MAX_VIPS)
		return REASON_NOT_VIP;
	reason = silence(policy, now);
	if (reason)
		return reason;
	p.src = addr_v6(&ip->saddr);
	if (!parse_v6(f, ip, &p))
		return REASON_MALFORMED;
	return decide_packet(f, policy, &p, vip, counter);
}

/* decide says why a frame is passed, accepted or dropped, and which counter
 * counts it. now: CLOCK_MONOTONIC, ns. */
static __always_inline enum reason decide(const struct frame *f, __u64 now, __u32 *counter)
{
	struct ethhdr *eth = f->data;
	struct policy policy;

	*counter = 0;
	if ((void *)(eth + 1) > f->end)
		return REASON_NOT_VIP;
	if (eth->h_proto == ETHERTYPE_BEACON)
		return f->xdp ? beacon_xdp(f->ctx) : beacon_tc(f->ctx);
	if (!load(&policy))
		return REASON_NOT_VIP;
	if (eth->h_proto == ETHERTYPE_IPV4)
		return decide_v4(f, &policy, now, counter);
	if (eth->h_proto == ETHERTYPE_IPV6)
		return decide_v6(f, &policy, now, counter);
	if (eth->h_proto == ETHERTYPE_ARP)
		return decide_arp(f, &policy);
	return REASON_NOT_VIP;
}

static __always_inline void count(__u32 counter, enum reason reason)
{
	struct counts *c = bpf_map_lookup_elem(&counters, &counter);

	if (c && reason < NUM_REASONS)
		c->packets[reason]++;
}

#endif
