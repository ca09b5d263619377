/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * SipHash-c-d (Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012)
 * over messages already cut into 64-bit words. nlbhash.SipHash is the same in Go.
 *
 * The includer provides __u64 and __always_inline (vmlinux.h or linux/types.h,
 * and bpf/bpf_helpers.h).
 */
#ifndef NLB_SIPHASH_H
#define NLB_SIPHASH_H

static __always_inline __u64 siphash_rotl(__u64 x, int bits)
{
	return (x << bits) | (x >> (64 - bits));
}

static __always_inline void siphash_rounds(__u64 v[4], int rounds)
{
#ifdef __clang__
#pragma unroll
#endif
	for (int i = 0; i < rounds; i++) {
		v[0] += v[1];
		v[2] += v[3];
		v[1] = siphash_rotl(v[1], 13) ^ v[0];
		v[3] = siphash_rotl(v[3], 16) ^ v[2];
		v[0] = siphash_rotl(v[0], 32);
		v[2] += v[1];
		v[0] += v[3];
		v[1] = siphash_rotl(v[1], 17) ^ v[2];
		v[3] = siphash_rotl(v[3], 21) ^ v[0];
		v[2] = siphash_rotl(v[2], 32);
	}
}

/*
 * siphash_words hashes n words with c rounds per word and d at the end.
 *
 * words: the message in 8-byte little-endian blocks, including the final block,
 * which holds the bytes left over (0 to 7 of them, zero-padded) and, in its top
 * byte, the length of the message in bytes modulo 256. So n is length / 8 + 1.
 * k0, k1: the two halves of the key, little-endian.
 *
 * Pass constants for c, d and n: everything unrolls to straight-line code.
 */
static __always_inline __u64 siphash_words(int c, int d, __u64 k0, __u64 k1,
					   const __u64 *words, int n)
{
	__u64 v[4] = {
		k0 ^ 0x736f6d6570736575ULL, /* "somepseudorandomlygeneratedbytes" */
		k1 ^ 0x646f72616e646f6dULL,
		k0 ^ 0x6c7967656e657261ULL,
		k1 ^ 0x7465646279746573ULL,
	};

#ifdef __clang__
#pragma unroll
#endif
	for (int i = 0; i < n; i++) {
		v[3] ^= words[i];
		siphash_rounds(v, c);
		v[0] ^= words[i];
	}
	v[2] ^= 0xff;
	siphash_rounds(v, d);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

#endif
