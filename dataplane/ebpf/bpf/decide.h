/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef NLB_DECIDE_H
#define NLB_DECIDE_H

/* The decision of docs/DECISION.md; numbers are its paragraphs. It changes
 * nothing but the fragment table, the table of clients and what was heard of beacons. portrules.Decide is the same in Go. */

#include "beacon.h"
#include "clients.h"
#include "cookie.h"
#include "nat.h"
#include "quote.h"

/* What is read of the kernel's types. */
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct inet_timewait_sock {
	__u8 tw_substate;
};
#pragma clang attribute pop

/* Since Linux 6.2. bpf_skc_to_tcp_timewait_sock would not do: it does not take what is left
 * of a connection whose listener knows MPTCP, as those of Go do. */
extern void *bpf_rdonly_cast(const void *object, __u32 type) __ksym __weak;

/* is_half_open says of a socket in TIME_WAIT whether it is in FIN_WAIT2 really: the
 * server has closed and is gone, the client has not closed yet, and must be able to, or
 * it repeats its FIN for a minute. */
static __always_inline bool is_half_open(struct bpf_sock *sk)
{
	struct inet_timewait_sock *tw = NULL;

	if (bpf_rdonly_cast)
		tw = bpf_rdonly_cast(sk, bpf_core_type_id_kernel(struct inet_timewait_sock));
	return tw && tw->tw_substate == BPF_TCP_FIN_WAIT2;
}

/* has_socket asks the member's own socket table for a connection with exactly
 * these ends. A listener is none, nor is one in TIME_WAIT that both ends have closed:
 * its client may have come back with the same port, to the new owner. */
static __always_inline bool has_socket(const struct frame *f, struct bpf_sock_tuple *tuple, __u32 size)
{
	struct bpf_sock *sk = bpf_skc_lookup_tcp(f->ctx, tuple, size, BPF_F_CURRENT_NETNS, 0);
	bool none;

	if (!sk)
		return false;
	none = sk->state == BPF_TCP_LISTEN || (sk->state == BPF_TCP_TIME_WAIT && !is_half_open(sk));
	bpf_sk_release(sk);
	return !none;
}

/* serves says whether this member has a TCP connection: a socket, or behind NAT an
 * entry in the connection table of its kernel, or nothing yet but the client's cookie. */
static __always_inline bool serves(const struct frame *f, const struct flow *flow)
{
	struct bpf_sock_tuple tuple = {};

	if (flow->v6) {
		__builtin_memcpy(tuple.ipv6.saddr, &flow->client, 16);
		__builtin_memcpy(tuple.ipv6.daddr, &flow->vip, 16);
		tuple.ipv6.sport = flow->port;
		tuple.ipv6.dport = flow->vip_port;
	} else {
		tuple.ipv4.saddr = ((__u32 *)&flow->client)[3];
		tuple.ipv4.daddr = ((__u32 *)&flow->vip)[3];
		tuple.ipv4.sport = flow->port;
		tuple.ipv4.dport = flow->vip_port;
	}
	if (has_socket(f, &tuple, TUPLE_SIZE(flow->v6)))
		return true;
	if (f->xdp)
		return nat_xdp(f->ctx, &tuple, flow->v6) || cookie_xdp(f->ctx, &tuple, flow->v6, flow->segment);
	return nat_tc(f->ctx, &tuple, flow->v6) || cookie_tc(f->ctx, &tuple, flow->v6, flow->segment);
}

static __always_inline __u64 hash(const struct head *h, __u32 how, const struct flow *flow)
{
	if (flow->v6)
		return hash_v6(h, how, &flow->client, flow->port);
	return hash_v4(h, how, ((__u32 *)&flow->client)[3], flow->port);
}

/* judge applies the flags of a bucket to a TCP or UDP packet (11). */
static __always_inline enum reason judge(const struct frame *f, const struct flow *flow, __u32 flags)
{
	bool tcp = flow->protocol == IPPROTO_TCP;

	if (flags & OWN) {
		if (flow->syn)
			return REASON_NEW;
		if (!(flags & FOREIGN))
			return REASON_OWNER;
		if (!tcp)
			return REASON_OWNER;
		return serves(f, flow) ? REASON_ESTABLISHED : REASON_FOREIGN_HELD;
	}
	if (flags & RESIDUAL && tcp && !flow->syn && serves(f, flow))
		return REASON_RESIDUAL;
	return REASON_NOT_OWNER;
}

/* decide_other is for protocols without ports (7). */
static __always_inline enum reason decide_other(const struct policy *policy, const struct flow *flow)
{
	__u32 flags = flags_of(policy, policy->head->default_table,
			       hash(policy->head, AFFINITY_SINGLE, flow));

	return flags & OWN ? REASON_DEFAULT_HOST : REASON_NOT_DEFAULT;
}

/* has_ports: portrules.transport. */
static __always_inline bool has_ports(__u8 protocol)
{
	return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP || protocol == IPPROTO_SCTP;
}

/* find_tunnel returns the rule of a protocol without ports, by the service that sets
 * such tunnels up (7), or NO_RULE. */
static __always_inline __u32 find_tunnel(const struct policy *policy, __u32 vip, __u8 protocol)
{
	__u32 rule;

	if (protocol == IPPROTO_GRE)
		return find_rule(policy, vip, IN_TCP, PORT_PPTP);
	if (protocol != IPPROTO_ESP && protocol != IPPROTO_AH)
		return NO_RULE;
	rule = find_rule(policy, vip, IN_UDP, PORT_IKE);
	return rule < MAX_RULES ? rule : find_rule(policy, vip, IN_UDP, PORT_IKE_NAT);
}

/* find_rare is for packets that are not simply TCP or UDP. */
static __always_inline __u32 find_rare(const struct policy *policy, __u32 vip, const struct flow *flow)
{
	__u32 protocol = IN_TCP;

	if (!has_ports(flow->protocol))
		return find_tunnel(policy, vip, flow->protocol);
	if (flow->protocol == IPPROTO_UDP)
		protocol = IN_UDP;
	if (flow->protocol == IPPROTO_SCTP)
		protocol = IN_SCTP;
	return find_rule(policy, vip, protocol, bpf_ntohs(flow->vip_port));
}

/* decide_flow is for what has ports or a rule (9 to 12). */
static __always_inline enum reason decide_flow(const struct frame *f, const struct policy *policy,
					       const struct flow *flow, __u32 rule, __u32 *counter)
{
	const struct head *head = policy->head;
	__u32 table = head->default_table, how = AFFINITY_SINGLE, flags, keep;
	struct client client = {};
	enum reason reason;

	if (rule < MAX_RULES) {
		*counter = head->rules[rule].id;
		how = head->rules[rule].how;
		if (STATE(how) == REJECTS && decide_other(policy, flow) == REASON_DEFAULT_HOST)
			return REASON_REJECTED;
		if (STATE(how))
			return REASON_RULE_DISABLED;
		table = head->rules[rule].table;
		if (AFFINITY(how) == AFFINITY_NONE && !has_ports(flow->protocol))
			how = AFFINITY_SINGLE;
	}
	client.hash = hash(head, how, flow);
	flags = flags_of(policy, table, client.hash);
	keep = keep_of(policy, rule, flow->protocol);
	if (keep) {
		client.rule = *counter;
		client.bucket = client.hash % BUCKETS;
		if (keep & BY_FLOW && is_flow(flow))
			client.hash = hash(head, AFFINITY_NONE, flow);
		reason = kept(flow, flags, &client, keep);
		if (reason)
			return reason;
	}
	return judge(f, flow, flags);
}

/* read_ports reads a header with ports (8), and false where it is malformed. */
static __always_inline bool read_ports(const struct frame *f, const struct packet *p, struct flow *flow)
{
	__be16 *ports = p->transport;
	__u8 *flags = p->transport + 13;

	if (p->transport + 8 > f->end)
		return false;
	if (p->protocol == IPPROTO_SCTP && p->transport + 12 > f->end)
		return false;
	if (p->protocol == IPPROTO_TCP) {
		if (p->transport + 20 > f->end)
			return false;
		flow->syn = (*flags & 0x12) == 0x02;
		flow->segment = p->transport - f->data;
	}
	flow->port = ports[0];
	flow->vip_port = ports[1];
	return true;
}

/* read_error puts the flow that an ICMP error is about in the place of its own (7),
 * where it is one and that can be told. */
static __always_inline void read_error(const struct frame *f, const struct packet *p, struct flow *flow)
{
	__u32 offset = p->transport - f->data, found;
	struct quote q = {};

	if (p->protocol != (p->v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP))
		return;
	found = f->xdp ? quote_xdp(f->ctx, offset, p->v6, &q) : quote_tc(f->ctx, offset, p->v6, &q);
	if (!found || q.src.hi != p->dst.hi || q.src.lo != p->dst.lo)
		return;
	flow->client = q.dst;
	flow->port = q.dport;
	flow->vip_port = q.sport;
	flow->protocol = q.protocol;
	flow->error = true;
}

/* decide_later is for fragments that have no ports (6). */
static __always_inline enum reason decide_later(const struct fragment *key, bool plain)
{
	__u8 *accepted = bpf_map_lookup_elem(&fragments, key);

	if (!accepted && plain)
		return REASON_EARLY_FRAGMENT;
	return accepted && *accepted ? REASON_FRAGMENT_OF : REASON_STRAY_FRAGMENT;
}

/* decide_packet is for a well-formed packet to a VIP (6 to 11). */
static __always_inline enum reason decide_packet(const struct frame *f, const struct policy *policy,
						 const struct packet *p, __u32 vip, __u32 *counter)
{
	struct flow flow = { .client = p->src, .vip = p->dst, .protocol = p->protocol, .v6 = p->v6 };
	struct fragment key;
	enum reason reason;
	__u8 accepted;
	__u32 rule;

	if (p->first || p->later) {
		key = (struct fragment){ p->src, p->dst, p->fragment_id, p->fragment_protocol };
		if (p->later)
			return decide_later(&key, p->plain);
	}
	if (p->protocol == IPPROTO_TCP || p->protocol == IPPROTO_UDP) {
		if (!read_ports(f, p, &flow))
			return REASON_MALFORMED;
		rule = find_rule(policy, vip, p->protocol == IPPROTO_UDP, bpf_ntohs(flow.vip_port));
	} else { /* rare */
		if (p->protocol == IPPROTO_SCTP && !read_ports(f, p, &flow))
			return REASON_MALFORMED;
		read_error(f, p, &flow);
		rule = find_rare(policy, vip, &flow);
	}
	if (rule < MAX_RULES || has_ports(flow.protocol))
		reason = decide_flow(f, policy, &flow, rule, counter);
	else
		reason = decide_other(policy, &flow);
	if (p->first) {
		accepted = !IS_DROP(reason);
		bpf_map_update_elem(&fragments, &key, &accepted, BPF_ANY);
	}
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

	*counter = NO_RULE_ID;
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
