/*
 * Which bucket a flow belongs to: SipHash-1-3 (Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012, with
 * one round a word and three at the end) over its two ends, the lower one first, so that both directions agree.
 * hash.rs computes the same. Nobody who lacks the key can choose flows that all end on one core.
 *
 * The bytes hashed are address and port of the lower end, then of the higher, in network order: 12 for IPv4, 36 for
 * IPv6. They are never laid out in memory: the words of SipHash are put together from the parts.
 *
 * A packet should cost as little as it can, so the loader computes what the key alone decides: the four words of the
 * state and, of the first word's round, the part that the word has no influence on. Only the low bits of the result are
 * computed, those that may count a bucket.
 */
#ifndef CORELANE_HASH_H
#define CORELANE_HASH_H

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "shared.h"

#define HASHED_IPV4 12ULL
#define HASHED_IPV6 36ULL

struct siphash {
	__u64 v0, v1, v2, v3;
};

static __always_inline __u64 rotated(__u64 value, int bits)
{
	return value << bits | value >> (64 - bits);
}

/* The part of a round that goes before v3, and so before the word that is mixed into it. */
static __always_inline void sip_round_begin(struct siphash *state)
{
	state->v0 += state->v1;
	state->v1 = rotated(state->v1, 13) ^ state->v0;
	state->v0 = rotated(state->v0, 32);
}

static __always_inline void sip_round_end(struct siphash *state)
{
	state->v2 += state->v3;
	state->v3 = rotated(state->v3, 16) ^ state->v2;
	state->v0 += state->v3;
	state->v3 = rotated(state->v3, 21) ^ state->v0;
	state->v2 += state->v1;
	state->v1 = rotated(state->v1, 17) ^ state->v2;
	state->v2 = rotated(state->v2, 32);
}

/* Mixes the first word into a state whose round has begun. */
static __always_inline void sip_first_word(struct siphash *state, __u64 word)
{
	state->v3 ^= word;
	sip_round_end(state);
	state->v0 ^= word;
}

static __always_inline void sip_word(struct siphash *state, __u64 word)
{
	sip_round_begin(state);
	sip_first_word(state, word);
}

static __always_inline void sip_round(struct siphash *state)
{
	sip_round_begin(state);
	sip_round_end(state);
}

static __always_inline __u32 sip_end(struct siphash *state)
{
	state->v2 ^= 0xff;
	sip_round(state);
	sip_round(state);
	sip_round(state);
	return (state->v0 ^ state->v1 ^ state->v2 ^ state->v3) & (MAX_BUCKETS - 1);
}

/* The six bytes of an IPv4 end. */
static __always_inline __u64 ipv4_bytes(const struct end *end)
{
	return (__u64)end->port << 32 | end->address.word[3];
}

static __always_inline __u32 hash_ipv4(struct siphash state, const struct flow *flow)
{
	__u64 local = ipv4_bytes(&flow->local), remote = ipv4_bytes(&flow->remote);
	/* They are of 48 bits each, so the sign of the difference is their order. */
	__u64 is_local_low = (bpf_be64_to_cpu(local) >> 16) - (bpf_be64_to_cpu(remote) >> 16);
	__u64 differing, low, high;

	/* All ones or none. Written out, as the compiler would jump, and no processor foresees the order of flows. */
	asm("%0 s>>= 63" : "+r"(is_local_low));
	differing = (local ^ remote) & is_local_low;
	low = remote ^ differing;
	high = local ^ differing;
	sip_first_word(&state, low | high << 48);
	sip_word(&state, high >> 16 | HASHED_IPV4 << 56);
	return sip_end(&state);
}

/* Two words of an address as the eight bytes that they are, for SipHash. */
static __always_inline __u64 pair(const struct address *address, int first)
{
	return (__u64)address->word[first + 1] << 32 | address->word[first];
}

static __always_inline int is_ordered_ipv6(const struct end *a, const struct end *b)
{
	__u64 x = bpf_be64_to_cpu(pair(&a->address, 0)), y = bpf_be64_to_cpu(pair(&b->address, 0));

	if (x != y)
		return x < y;
	x = bpf_be64_to_cpu(pair(&a->address, 2));
	y = bpf_be64_to_cpu(pair(&b->address, 2));
	if (x != y)
		return x < y;
	return bpf_ntohs(a->port) <= bpf_ntohs(b->port);
}

static __always_inline __u32 hash_ipv6(struct siphash state, const struct flow *flow)
{
	int local_first = is_ordered_ipv6(&flow->local, &flow->remote);
	const struct end *low = local_first ? &flow->local : &flow->remote;
	const struct end *high = local_first ? &flow->remote : &flow->local;
	__u64 first = pair(&high->address, 0), second = pair(&high->address, 2);

	sip_first_word(&state, pair(&low->address, 0));
	sip_word(&state, pair(&low->address, 2));
	sip_word(&state, low->port | first << 16);
	sip_word(&state, first >> 48 | second << 16);
	sip_word(&state, second >> 48 | (__u64)high->port << 16 | HASHED_IPV6 << 56);
	return sip_end(&state);
}

/* The low bits of a flow's hash; `begin` is the state that the loader has computed. */
static __always_inline __u32 flow_hash(const volatile __u64 *begin, const struct flow *flow, int is_ipv4)
{
	struct siphash state = { begin[0], begin[1], begin[2], begin[3] };

	return is_ipv4 ? hash_ipv4(state, flow) : hash_ipv6(state, flow);
}

#endif
