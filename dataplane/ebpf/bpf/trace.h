/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef NLB_TRACE_H
#define NLB_TRACE_H

/* A look at live decisions: samples of counted IP packets, for as long as an agent
 * asks for them. While it does not, that costs one comparison per counted packet. */

#include "packet.h"

#define TRACE_WINDOW 27	 /* log2 of ns: 134 ms */
#define TRACE_BUDGET 128 /* samples in a window: 954 per second */

struct tracing {
	__u64 until;		     /* CLOCK_MONOTONIC ns: over from then on, whatever became of the agent */
	__u64 client[2], mask[2];    /* struct addr: only sources that are client under mask */
	__u32 port;		     /* only to this port; 0: to any, or none */
	__u32 unused;
	__u64 window, taken, missed; /* written by the programs; missed: packets that matched and were not told */
};
volatile struct tracing tracing SEC(".data.tracing");

struct traced {
	__u64 at; /* CLOCK_MONOTONIC ns, coarse */
	struct addr src, dst;
	__u16 sport, dport; /* 0 where there are none */
	__u16 rule; /* id, or NO_RULE_ID */
	__u8 protocol; /* of the fixed header */
	__u8 reason;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 65536);
} traces SEC(".maps");

/* ports_at reads the ports of TCP or UDP behind a fixed header. */
static __always_inline void ports_at(struct traced *s, const __be16 *ports, const void *end)
{
	if ((s->protocol != IPPROTO_TCP && s->protocol != IPPROTO_UDP) || (void *)(ports + 2) > end)
		return;
	s->sport = bpf_ntohs(ports[0]);
	s->dport = bpf_ntohs(ports[1]);
}

static __always_inline bool describe(const struct frame *f, struct traced *s)
{
	struct ethhdr *eth = f->data;
	struct ipv6hdr *v6;
	struct iphdr *v4;

	if ((void *)(eth + 1) > f->end)
		return false;
	if (eth->h_proto == ETHERTYPE_IPV4) {
		v4 = ipv4_of(f);
		if (!v4)
			return false;
		s->src = addr_v4(v4->saddr);
		s->dst = addr_v4(v4->daddr);
		s->protocol = v4->protocol;
		if (!(v4->frag_off & bpf_htons(0x1fff))) /* later fragments have no ports */
			ports_at(s, (void *)v4 + v4->ihl * 4, f->end);
		return true;
	}
	if (eth->h_proto != ETHERTYPE_IPV6)
		return false;
	v6 = ipv6_of(f);
	if (!v6)
		return false;
	s->src = addr_v6(&v6->saddr);
	s->dst = addr_v6(&v6->daddr);
	s->protocol = v6->nexthdr;
	ports_at(s, (void *)(v6 + 1), f->end);
	return true;
}

/* spend takes one sample from the budget of the present window. CPUs that meet at its
 * edge may take a few too many. */
static __always_inline bool spend(__u64 now)
{
	__u64 window = now >> TRACE_WINDOW;

	if (tracing.window != window) {
		tracing.window = window;
		tracing.taken = 0;
	}
	if (tracing.taken >= TRACE_BUDGET)
		return false;
	__sync_fetch_and_add(&tracing.taken, 1);
	return true;
}

static __always_inline __u32 trace(const struct frame *f, __u64 now, __u32 decision)
{
	struct traced s = { .at = now, .rule = decision >> 8, .reason = decision };

	if (!describe(f, &s))
		return 0;
	if ((s.src.hi & tracing.mask[0]) != tracing.client[0] ||
	    (s.src.lo & tracing.mask[1]) != tracing.client[1] ||
	    (tracing.port && tracing.port != s.dport))
		return 0;
	if (!spend(now) || bpf_ringbuf_output(&traces, &s, sizeof(s), 0))
		__sync_fetch_and_add(&tracing.missed, 1);
	return 0;
}

/* Verified on their own, and out of the way of the frames that nobody traces. */
__noinline __u32 trace_tc(struct __sk_buff *skb, __u64 now, __u32 decision)
{
	struct frame f = { skb, false, (void *)(long)skb->data, (void *)(long)skb->data_end };

	return trace(&f, now, decision);
}

__noinline __u32 trace_xdp(struct xdp_md *xdp, __u64 now, __u32 decision)
{
	struct frame f = { xdp, true, (void *)(long)xdp->data, (void *)(long)xdp->data_end };

	return trace(&f, now, decision);
}

#endif
