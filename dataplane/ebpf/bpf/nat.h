/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef NLB_NAT_H
#define NLB_NAT_H

/* Connections that the kernel passes on to another address than the VIP, such as
 * that of a container: they have no socket here, but an entry in the kernel's own
 * connection table (netfilter's conntrack). */

#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_conntrack_tcp.h>
#include <linux/netfilter/nf_conntrack_tuple_common.h>

#include "packet.h"

/* What is read of the kernel's types, wherever this kernel has it. */
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct ip_ct_tcp {
	__u8 state;
};

union nf_conntrack_proto {
	struct ip_ct_tcp tcp;
};

struct nf_conn {
	unsigned long status;
	union nf_conntrack_proto proto;
};
#pragma clang attribute pop

/* struct bpf_ct_opts as it was first, without zones: every kernel takes it. */
struct lookup {
	__s32 netns;
	__s32 error;
	__u8 protocol;
	__u8 direction; /* of the packet that has these ends; set by the kernel */
	__u8 reserved[2];
};
_Static_assert(sizeof(struct lookup) == 12, "options of a lookup");

/* Kernel functions (since 5.18, may be in module nf_conntrack). Where they are not to
 * be had, the loader puts "found nothing" in the place of each call. */
extern struct nf_conn *bpf_skb_ct_lookup(struct __sk_buff *ctx, struct bpf_sock_tuple *tuple, __u32 tuple_size,
					 struct lookup *lookup, __u32 lookup_size) __ksym;
extern struct nf_conn *bpf_xdp_ct_lookup(struct xdp_md *ctx, struct bpf_sock_tuple *tuple, __u32 tuple_size,
					 struct lookup *lookup, __u32 lookup_size) __ksym;
extern void bpf_ct_release(struct nf_conn *ct) __ksym;

/* is_served says whether an entry is a connection from a client to a service behind
 * NAT that has answered and still lives. An entry without an answer proves nothing:
 * the client may have tried the next owner of its bucket since. */
static __always_inline bool is_served(const struct nf_conn *ct, const struct lookup *lookup)
{
	const unsigned long want = IPS_DST_NAT | IPS_SEEN_REPLY;
	__u8 state = ct->proto.tcp.state;

	return lookup->direction == IP_CT_DIR_ORIGINAL && (ct->status & want) == want &&
	       state >= TCP_CONNTRACK_SYN_RECV && state <= TCP_CONNTRACK_LAST_ACK;
}

#define LOOKUP (struct lookup){ .netns = BPF_F_CURRENT_NETNS, .protocol = IPPROTO_TCP }

/* Verified on their own, and out of the way of all that asks no table. */
__noinline __u32 nat_tc(struct __sk_buff *skb, struct bpf_sock_tuple *tuple, __u32 v6)
{
	struct lookup lookup = LOOKUP;
	struct nf_conn *ct;
	__u32 served;

	if (!tuple)
		return false;
	ct = bpf_skb_ct_lookup(skb, tuple, TUPLE_SIZE(v6), &lookup, sizeof(lookup));
	if (!ct)
		return false;
	served = is_served(ct, &lookup);
	bpf_ct_release(ct);
	return served;
}

__noinline __u32 nat_xdp(struct xdp_md *xdp, struct bpf_sock_tuple *tuple, __u32 v6)
{
	struct lookup lookup = LOOKUP;
	struct nf_conn *ct;
	__u32 served;

	if (!tuple)
		return false;
	ct = bpf_xdp_ct_lookup(xdp, tuple, TUPLE_SIZE(v6), &lookup, sizeof(lookup));
	if (!ct)
		return false;
	served = is_served(ct, &lookup);
	bpf_ct_release(ct);
	return served;
}

#endif
