/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef NLB_QUOTE_H
#define NLB_QUOTE_H

/* ICMP errors, which quote the packet that they are about. portrules/quote.go is the
 * same in Go. */

#include "packet.h"

/* What is read of a quoted packet. */
struct quote {
	struct addr src, dst;
	__be16 sport, dport;
	__u8 protocol;
};

/* is_icmp_error: portrules.isICMPError. */
static __always_inline bool is_icmp_error(bool v6, __u8 type)
{
	if (v6)
		return type >= 1 && type <= 4;
	return type == 3 || type == 11 || type == 12;
}

/* quoted_v4 reads the header of a packet quoted at an offset and returns the offset of
 * what follows it, 0 where it cannot tell. */
static __always_inline __u32 quoted_v4(void *data, void *end, __u32 offset, struct quote *q)
{
	struct iphdr *ip = data + offset;
	__u32 length;

	if ((void *)(ip + 1) > end || ip->version != 4)
		return 0;
	length = ip->ihl * 4;
	if (length < sizeof(*ip) || (void *)ip + length > end || ip->frag_off & bpf_htons(0x1fff))
		return 0;
	q->src = addr_v4(ip->saddr);
	q->dst = addr_v4(ip->daddr);
	q->protocol = ip->protocol;
	return offset + length;
}

static __always_inline __u32 quoted_v6(void *data, void *end, __u32 offset, struct quote *q)
{
	struct ipv6hdr *ip = data + offset;
	__u64 found;

	if ((void *)(ip + 1) > end || ip->version != 6)
		return 0;
	q->src = addr_v6(&ip->saddr);
	q->dst = addr_v6(&ip->daddr);
	found = walk(data, end, offset);
	if (found & (WALK_MALFORMED | WALK_LATER))
		return 0;
	q->protocol = WALK_PROTOCOL(found);
	return WALK_OFFSET(found);
}

/* read_quote reads what the ICMP message at an offset quotes, and false where it is no
 * error or cannot be read. */
static __always_inline bool read_quote(void *data, void *end, __u32 offset, bool v6, struct quote *q)
{
	__u8 *type;
	__be16 *ports;

	offset &= OFFSET_MASK;
	type = data + offset;
	if ((void *)type + 8 > end || !is_icmp_error(v6, *type))
		return false;
	offset += 8;
	offset = v6 ? quoted_v6(data, end, offset, q) : quoted_v4(data, end, offset, q);
	ports = data + offset;
	if (!offset || (void *)ports + 8 > end) /* RFC 792 quotes no less */
		return false;
	if (q->protocol == IPPROTO_TCP || q->protocol == IPPROTO_UDP || q->protocol == IPPROTO_SCTP) {
		q->sport = ports[0];
		q->dport = ports[1];
		return true;
	}
	return q->protocol == IPPROTO_GRE || q->protocol == IPPROTO_ESP || q->protocol == IPPROTO_AH;
}

/* Verified on their own, like walk, and out of the way of frequent frames. */
__noinline __u32 quote_tc(struct __sk_buff *skb, __u32 offset, __u32 v6, struct quote *q)
{
	return q && read_quote((void *)(long)skb->data, (void *)(long)skb->data_end, offset, v6, q);
}

__noinline __u32 quote_xdp(struct xdp_md *xdp, __u32 offset, __u32 v6, struct quote *q)
{
	return q && read_quote((void *)(long)xdp->data, (void *)(long)xdp->data_end, offset, v6, q);
}

#endif
