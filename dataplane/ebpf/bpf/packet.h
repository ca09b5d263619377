/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef NLB_PACKET_H
#define NLB_PACKET_H

#include "policy.h"

#define ETHERTYPE_IPV4 bpf_htons(0x0800)
#define ETHERTYPE_ARP bpf_htons(0x0806)
#define ETHERTYPE_IPV6 bpf_htons(0x86dd)
#define MAX_EXTENSIONS 6
#define OFFSET_MASK 0x3fff /* tells the verifier the limit of an offset; walk reaches no farther */
#define TUPLE_SIZE(v6) ((v6) ? sizeof(((struct bpf_sock_tuple *)0)->ipv6) : sizeof(((struct bpf_sock_tuple *)0)->ipv4))

/* A frame as tc or XDP hands it over. */
struct frame {
	void *ctx; /* struct xdp_md if xdp, else __sk_buff */
	bool xdp;
	void *data, *end;
};

/* What the decision needs of an IP packet. */
struct packet {
	struct addr src, dst;
	__u32 fragment_id;
	__u8 protocol;
	__u8 fragment_protocol;
	bool v6, first, later; /* first, later: fragment of a datagram */
	bool plain;	       /* later: portrules.Fragment.Plain */
	void *transport;
};

/* ARP for IPv4 over Ethernet (RFC 826). */
struct arp {
	__be16 htype, ptype;
	__u8 hlen, plen;
	__be16 operation;
	__u8 sender_mac[6];
	__be16 sender[2]; /* halves: the address is not aligned */
	__u8 target_mac[6];
	__be16 target[2];
};
_Static_assert(sizeof(struct arp) == 28, "ARP packet");

struct extension {
	__u8 next;
	__u8 length;
	__be16 part; /* fragment header: offset and flags */
	__be32 id;
};

static __always_inline struct addr addr_v4(__u32 a)
{
	return (struct addr){ .lo = MAPPED(a) };
}

static __always_inline struct addr addr_v6(const struct in6_addr *a)
{
	const __u32 *w = a->in6_u.u6_addr32;

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	return (struct addr){ (__u64)w[1] << 32 | w[0], (__u64)w[3] << 32 | w[2] };
#else
	return (struct addr){ (__u64)w[0] << 32 | w[1], (__u64)w[2] << 32 | w[3] };
#endif
}

static __always_inline __u32 arp_addr(const __be16 half[2])
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	return (__u32)half[1] << 16 | half[0];
#else
	return (__u32)half[0] << 16 | half[1];
#endif
}

/* arp_of returns the ARP packet in a frame, NULL where it is none that can
 * concern a VIP. */
static __always_inline struct arp *arp_of(const struct frame *f)
{
	struct arp *arp = f->data + sizeof(struct ethhdr);

	if ((void *)(arp + 1) > f->end)
		return NULL;
	if (arp->ptype != ETHERTYPE_IPV4 || arp->hlen != 6 || arp->plen != 4)
		return NULL;
	return arp;
}

static __always_inline struct iphdr *ipv4_of(const struct frame *f)
{
	struct iphdr *ip = f->data + sizeof(struct ethhdr);

	if ((void *)(ip + 1) > f->end || ip->version != 4)
		return NULL;
	return ip;
}

static __always_inline struct ipv6hdr *ipv6_of(const struct frame *f)
{
	struct ipv6hdr *ip = f->data + sizeof(struct ethhdr);

	if ((void *)(ip + 1) > f->end || ip->version != 6)
		return NULL;
	return ip;
}

/* parse_v4 reads what follows the addresses, and false where it is malformed. */
static __always_inline bool parse_v4(const struct frame *f, struct iphdr *ip, struct packet *p)
{
	__u32 length = ip->ihl * 4;
	__u16 part = bpf_ntohs(ip->frag_off);

	p->transport = (void *)ip + length;
	if (length < sizeof(*ip) || p->transport > f->end)
		return false;
	p->protocol = ip->protocol;
	p->fragment_protocol = ip->protocol;
	p->fragment_id = bpf_ntohs(ip->id);
	p->later = part & 0x1fff;
	p->first = !p->later && part & 0x2000;
	p->plain = length == sizeof(*ip);
	return true;
}

static __always_inline bool is_extension(__u8 protocol)
{
	return protocol == IPPROTO_HOPOPTS || protocol == IPPROTO_ROUTING ||
	       protocol == IPPROTO_DSTOPTS || protocol == IPPROTO_AH ||
	       protocol == IPPROTO_FRAGMENT;
}

/* What a walk over IPv6 extension headers found: offset of the transport header in
 * the frame, its protocol, offset of the fragment header (0: none), and flags.
 * One word, because a function that the verifier checks on its own returns no more. */
#define WALK(offset, protocol, fragment) \
	((__u64)(fragment) << 24 | (__u64)(protocol) << 16 | (offset))
#define WALK_OFFSET(walk) ((walk) & 0x7fff) /* tells the verifier the limit */
#define WALK_PROTOCOL(walk) ((walk) >> 16 & 0xff)
#define WALK_FRAGMENT(walk) ((walk) >> 24 & 0x3fff)
#define WALK_MALFORMED (1ULL << 40)
#define WALK_FIRST (1ULL << 41)
#define WALK_LATER (1ULL << 42)

/* walk reads the extension headers (RFC 8200 section 4, RFC 4302) of the IPv6 packet
 * at an offset, which the caller has bounded. */
static __always_inline __u64 walk(void *data, void *end, __u32 offset)
{
	struct ipv6hdr *ip = data + offset;
	__u32 fragment = 0, size;
	struct extension *e;
	__u64 flags = 0;
	__u8 protocol;

	if ((void *)(ip + 1) > end)
		return WALK_MALFORMED;
	protocol = ip->nexthdr;
	offset += sizeof(*ip);
	for (int i = 0; i < MAX_EXTENSIONS && is_extension(protocol); i++) {
		e = data + offset;
		if ((void *)(e + 1) > end)
			return WALK_MALFORMED;
		size = (e->length + 1) * 8;
		if (protocol == IPPROTO_AH)
			size = (e->length + 2) * 4;
		if (protocol == IPPROTO_FRAGMENT) {
			size = 8;
			if (e->part & bpf_htons(0xfff9)) { /* else "atomic": whole (RFC 6946) */
				fragment = offset;
				flags = e->part & bpf_htons(0xfff8) ? WALK_LATER : WALK_FIRST;
			}
		}
		protocol = e->next;
		offset += size;
		if (data + offset > end)
			return WALK_MALFORMED;
		if (flags & WALK_LATER) /* what follows is payload */
			return flags | WALK(offset, 0, fragment);
	}
	if (is_extension(protocol))
		return WALK_MALFORMED;
	return flags | WALK(offset, protocol, fragment);
}

/* Called where there are extensions; verified once, on its own: inlined, the many
 * ways through it would multiply with the ways through the rest. */
__noinline __u64 walk_tc(struct __sk_buff *skb)
{
	return walk((void *)(long)skb->data, (void *)(long)skb->data_end, sizeof(struct ethhdr));
}

__noinline __u64 walk_xdp(struct xdp_md *xdp)
{
	return walk((void *)(long)xdp->data, (void *)(long)xdp->data_end, sizeof(struct ethhdr));
}

/* is_plain: portrules.isPlainFragment, of a later fragment whose header comes first. */
static __always_inline bool is_plain(__u32 part, __u32 length)
{
	return length > 8 && (!(part & 1) || length % 8 == 0) &&
	       (part & 0xfff8) + length - 8 <= 65535;
}

/* parse_v6 reads what follows the addresses, and false where it is malformed. */
static __always_inline bool parse_v6(const struct frame *f, struct ipv6hdr *ip, struct packet *p)
{
	struct extension *e;
	__u64 found;

	p->protocol = ip->nexthdr;
	p->transport = ip + 1;
	if (!is_extension(p->protocol))
		return true;

	found = f->xdp ? walk_xdp(f->ctx) : walk_tc(f->ctx);
	if (found & WALK_MALFORMED)
		return false;
	p->protocol = WALK_PROTOCOL(found);
	p->transport = f->data + WALK_OFFSET(found);
	p->first = found & WALK_FIRST;
	p->later = found & WALK_LATER;
	if (!p->first && !p->later)
		return true;
	e = f->data + WALK_FRAGMENT(found);
	if ((void *)(e + 1) > f->end)
		return false;
	p->fragment_id = bpf_ntohl(e->id);
	p->fragment_protocol = e->next;
	p->plain = WALK_FRAGMENT(found) == sizeof(struct ethhdr) + sizeof(*ip) &&
		   is_plain(bpf_ntohs(e->part), bpf_ntohs(ip->payload_len));
	return true;
}

#endif
