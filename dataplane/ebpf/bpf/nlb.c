//go:build ignore
/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */

/* Entry points. They know tc and XDP; decide.h does not. */

#include <stdbool.h>
#include <stddef.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "decide.h"
#include "trace.h"
#include "reject.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Bytes of headers worth making linear before looking: Ethernet, IPv6 with the
 * usual extensions, TCP. */
#define HEADERS 256

#define NEXT TC_ACT_UNSPEC /* as if we were not there: other programs and filters run */

/* is_unsure says whether the decision may be another one when all bytes of the frame are
 * at hand: of ICMP errors the packet that they quote is looked at. */
static __always_inline bool is_unsure(__u32 reason)
{
	return reason == REASON_MALFORMED || reason == REASON_BEACON_FORGED ||
	       reason == REASON_DEFAULT_HOST || reason == REASON_NOT_DEFAULT;
}

static __always_inline struct frame frame_of(struct __sk_buff *skb)
{
	return (struct frame){ skb, false, (void *)(long)skb->data, (void *)(long)skb->data_end };
}

static __always_inline bool is_linear(struct __sk_buff *skb)
{
	return skb->data_end - skb->data >= skb->len;
}

/* pull makes the first bytes of a frame readable; drivers may leave no more than
 * the Ethernet header in the linear part. */
static __always_inline void pull(struct __sk_buff *skb, __u32 bytes)
{
	if (!is_linear(skb) && skb->data_end - skb->data < bytes)
		bpf_skb_pull_data(skb, skb->len < bytes ? skb->len : bytes);
}

/* is_hidden says whether a frame has two tags that only give it a priority (VLAN 0). The
 * kernel takes off both, but the second one after us: it would find a packet that nobody
 * has judged. */
static __always_inline bool is_hidden(struct __sk_buff *skb)
{
	__be16 tag;

	if (skb->protocol != bpf_htons(ETH_P_8021Q) && skb->protocol != bpf_htons(ETH_P_8021AD))
		return false;
	return !bpf_skb_load_bytes(skb, sizeof(struct ethhdr), &tag, sizeof(tag)) && !(tag & bpf_htons(0xfff));
}

/* decide_tc returns a reason and, from bit 8 up, a counter. Verified on its own, so
 * that calling it twice costs the verifier nothing. */
__noinline __u32 decide_tc(struct __sk_buff *skb, __u64 now)
{
	struct frame f = frame_of(skb);
	enum reason reason;
	__u32 counter;

	reason = decide(&f, now, &counter);
	return counter << 8 | reason;
}

static __always_inline int ingress(struct __sk_buff *skb, __u64 now)
{
	__u32 decision, reason;

	if (skb->vlan_present) {
		if (skb->vlan_tci & 0xfff) /* another segment */
			return NEXT;
		if (is_hidden(skb))
			return TC_ACT_SHOT;
	}
	pull(skb, HEADERS);
	decision = decide_tc(skb, now);
	if (is_unsure(decision & 0xff) && !is_linear(skb)) { /* cut off here only? */
		bpf_skb_pull_data(skb, skb->len);
		decision = decide_tc(skb, now);
	}
	reason = decision & 0xff;
	if (reason == REASON_NOT_VIP)
		return NEXT;
	count(decision >> 8, reason);
	if (now < tracing.until)
		trace_tc(skb, now, decision);
	if (reason == REASON_REJECTED)
		reject(skb, now);
	if (IS_DROP(reason))
		return TC_ACT_SHOT;
	if (skb->pkt_type == PACKET_BROADCAST) /* else ARP would take a stranger's claim for an answer */
		return NEXT;
	bpf_skb_store_bytes(skb, 0, (void *)own_mac, ETH_ALEN, 0);
	if (skb->pkt_type != PACKET_HOST) /* TCP takes nothing else */
		bpf_skb_change_type(skb, PACKET_HOST);
	return NEXT;
}

/* from_vip says whether a frame speaks for a VIP; *arp is set where it is ARP. */
static __always_inline bool from_vip(const struct frame *f, bool *is_arp)
{
	struct ethhdr *eth = f->data;
	struct policy policy;
	struct ipv6hdr *v6;
	struct iphdr *v4;
	struct arp *arp;
	struct addr src;

	*is_arp = false;
	if ((void *)(eth + 1) > f->end || !load(&policy))
		return false;
	if (eth->h_proto == ETHERTYPE_IPV4) {
		v4 = ipv4_of(f);
		if (!v4)
			return false;
		src = addr_v4(v4->saddr);
	} else if (eth->h_proto == ETHERTYPE_IPV6) {
		v6 = ipv6_of(f);
		if (!v6)
			return false;
		src = addr_v6(&v6->saddr);
		if (IS_MAPPED(src))
			return false;
	} else if (eth->h_proto == ETHERTYPE_ARP) {
		arp = arp_of(f);
		if (!arp)
			return false;
		src = addr_v4(arp_addr(arp->sender));
		*is_arp = true;
	} else {
		return false;
	}
	return find_vip(&policy, &src) < MAX_VIPS;
}

static __always_inline bool from_cluster_mac(const struct frame *f)
{
	struct ethhdr *eth = f->data;

	if ((void *)(eth + 1) > f->end)
		return false;
#pragma unroll
	for (int i = 0; i < ETH_ALEN; i++)
		if (eth->h_source[i] != cluster_mac[i])
			return false;
	return true;
}

static __always_inline int egress(struct __sk_buff *skb)
{
	struct frame f;
	bool vip, is_arp;

	pull(skb, sizeof(struct ethhdr) + sizeof(struct ipv6hdr));
	f = frame_of(skb);
	vip = from_vip(&f, &is_arp);
	if (!vip && !from_cluster_mac(&f))
		return NEXT;
	bpf_skb_store_bytes(skb, offsetof(struct ethhdr, h_source), (void *)source_mac, ETH_ALEN, 0);
	if (vip && is_arp)
		bpf_skb_store_bytes(skb, sizeof(struct ethhdr) + offsetof(struct arp, sender_mac),
				    (void *)cluster_mac, ETH_ALEN, 0);
	return NEXT;
}

/* filter drops what tc would drop, only sooner. It leaves to tc what it would
 * accept, which tc counts, neighbours, which the agent must see, and what is to be rejected. */
static __always_inline int filter(struct xdp_md *xdp, __u64 now)
{
	struct frame f = { xdp, true, (void *)(long)xdp->data, (void *)(long)xdp->data_end };
	enum reason reason;
	__u32 counter;

	reason = decide(&f, now, &counter);
	if (!IS_DROP(reason) || reason == REASON_NEIGHBOR || reason == REASON_REJECTED)
		return XDP_PASS;
	if (is_unsure(reason) && bpf_xdp_get_buff_len(xdp) > xdp->data_end - xdp->data)
		return XDP_PASS; /* the rest is in another buffer */
	count(counter, reason);
	if (now < tracing.until)
		trace_xdp(xdp, now, counter << 8 | reason);
	return XDP_DROP;
}

SEC("tc")
int nlb_tc_in(struct __sk_buff *skb)
{
	return ingress(skb, bpf_ktime_get_coarse_ns());
}

SEC("tc")
int nlb_tc_out(struct __sk_buff *skb)
{
	return egress(skb);
}

SEC("xdp.frags")
int nlb_xdp(struct xdp_md *xdp)
{
	return filter(xdp, bpf_ktime_get_coarse_ns());
}

/* Types that only the Go side names must be mentioned to reach the BTF. */
const struct head *mention_head __attribute__((unused));
const struct beacon *mention_beacon __attribute__((unused));
const struct traced *mention_traced __attribute__((unused));
const struct sample *mention_sample __attribute__((unused));
const enum reason *mention_reason __attribute__((unused));
