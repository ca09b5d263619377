/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef NLB_COOKIE_H
#define NLB_COOKIE_H

/* SYN cookies: a listener that is flooded keeps no socket for a connection before its
 * client sends the cookie back (tcp_syncookies in tcp(7)). */

#include <linux/tcp.h>

#include "packet.h"

/* gave_cookie says whether the segment at an offset has a cookie that a listener of this
 * member gave. The kernel computes none unless that listener gave some just now. */
static __always_inline bool gave_cookie(void *ctx, void *data, void *end, struct bpf_sock_tuple *tuple,
					__u32 v6, __u32 offset)
{
	void *ip = data + sizeof(struct ethhdr);
	struct bpf_sock *sk;
	struct tcphdr *tcp;
	bool gave;

	tcp = data + (offset & OFFSET_MASK);
	if (!offset || ip + sizeof(struct ipv6hdr) > end || (void *)(tcp + 1) > end)
		return false; /* with IPv4, both headers together are as long */
	sk = bpf_skc_lookup_tcp(ctx, tuple, TUPLE_SIZE(v6), BPF_F_CURRENT_NETNS, 0);
	if (!sk)
		return false;
	gave = sk->state == BPF_TCP_LISTEN &&
	       !bpf_tcp_check_syncookie(sk, ip, sizeof(struct ipv6hdr), tcp, sizeof(*tcp));
	bpf_sk_release(sk);
	return gave;
}

/* Verified on their own, and out of the way of all that asks no table. */
__noinline __u32 cookie_tc(struct __sk_buff *skb, struct bpf_sock_tuple *tuple, __u32 v6, __u32 offset)
{
	return tuple && gave_cookie(skb, (void *)(long)skb->data, (void *)(long)skb->data_end, tuple, v6, offset);
}

__noinline __u32 cookie_xdp(struct xdp_md *xdp, struct bpf_sock_tuple *tuple, __u32 v6, __u32 offset)
{
	return tuple && gave_cookie(xdp, (void *)(long)xdp->data, (void *)(long)xdp->data_end, tuple, v6, offset);
}

#endif
