/*
 * From bytes to the few facts that steering needs. A cursor walks over the headers; each take is checked against the
 * end of the packet, so no header is read that is not there whole. What isn't understood is named by the counter
 * under which it passes.
 */
#ifndef CORELANE_PARSE_H
#define CORELANE_PARSE_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "shared.h"

#define ICMP_HEADER_LENGTH 8 /* RFC 792; every message of RFC 4443 has as much */
#define ARP_HARDWARE_ETHERNET 1
#define IPV4_FRAGMENT_OFFSET 0x1fff /* RFC 791 3.1: the low 13 bits, in units of 8 bytes */

/* IEEE 802.1Q: the tag after the type 0x8100. */
struct vlan_header {
	__be16 control;
	__be16 type;
};

/* RFC 826 for Ethernet and IPv4. Packed, as the addresses lie at odd places. (<linux/if_arp.h> wants the C library.) */
struct arp_ipv4 {
	__be16 hardware;
	__be16 protocol;
	__u8 hardware_length;
	__u8 protocol_length;
	__be16 operation;
	__u8 sender_mac[ETH_ALEN];
	__be32 sender;
	__u8 target_mac[ETH_ALEN];
	__be32 target;
} __attribute__((packed));

enum kind { KIND_ARP, KIND_ICMP, KIND_TCP };

struct packet {
	enum kind kind;
	struct address destination; /* ARP: the target protocol address */
	__be16 port;		    /* destination; 0 unless the headers hold one */
	__u8 later_fragment;	    /* not the first one: there is no header after IPv4's */
};

struct cursor {
	void *at;
	void *end;   /* of the bytes that may be read */
	__u64 ahead; /* bytes from `at` to the packet's end: beyond `end` if it lies in several buffers */
};

/* The next `length` bytes, or NULL if the packet ends before. */
static __always_inline void *take(struct cursor *cursor, __u32 length)
{
	void *taken = cursor->at;

	if (taken + length > cursor->end)
		return NULL;
	cursor->at = taken + length;
	cursor->ahead -= length;
	return taken;
}

static __always_inline struct address mapped_ipv4(__be32 ipv4)
{
	return (struct address){ { 0, 0, bpf_htonl(0xffff), ipv4 } };
}

/* A mapped address is never on the wire as IPv6; were it let through, it would look like an IPv4 listener's. */
static __always_inline int is_mapped_ipv4(const struct address *address)
{
	return address->word[0] == 0 && address->word[1] == 0 && address->word[2] == bpf_htonl(0xffff);
}

/* Returns 0 and fills `packet`, or the counter under which it passes; so do the functions below. */
static __always_inline int parse_arp(struct cursor *cursor, struct packet *packet)
{
	struct arp_ipv4 *arp = take(cursor, sizeof(*arp));

	if (!arp)
		return PASSED_MALFORMED;
	if (arp->hardware != bpf_htons(ARP_HARDWARE_ETHERNET) || arp->protocol != bpf_htons(ETH_P_IP) ||
	    arp->hardware_length != ETH_ALEN || arp->protocol_length != sizeof(__be32))
		return PASSED_MALFORMED;
	packet->kind = KIND_ARP;
	packet->destination = mapped_ipv4(arp->target);
	return 0;
}

/* `room` is how many bytes the IP header promises for what follows it. */
static __always_inline int parse_transport(struct cursor *cursor, struct packet *packet, __u8 protocol, __u32 room)
{
	struct tcphdr *tcp;

	if (protocol == IPPROTO_ICMP || protocol == IPPROTO_ICMPV6)
		packet->kind = KIND_ICMP;
	else if (protocol == IPPROTO_TCP)
		packet->kind = KIND_TCP;
	else
		return PASSED_OTHER_PROTOCOL;
	if (packet->later_fragment)
		return 0;
	if (packet->kind == KIND_ICMP)
		return room < ICMP_HEADER_LENGTH || !take(cursor, ICMP_HEADER_LENGTH) ? PASSED_MALFORMED : 0;
	tcp = take(cursor, sizeof(*tcp));
	if (!tcp || room < sizeof(*tcp))
		return PASSED_MALFORMED;
	packet->port = tcp->dest;
	return 0;
}

static __always_inline int parse_ipv4(struct cursor *cursor, struct packet *packet)
{
	__u64 available = cursor->ahead;
	struct iphdr *ip = take(cursor, sizeof(*ip));
	__u32 header_length, total_length;

	if (!ip || ip->version != 4 || ip->ihl < 5)
		return PASSED_MALFORMED;
	header_length = ip->ihl * 4;
	total_length = bpf_ntohs(ip->tot_len);
	if (total_length < header_length || total_length > available)
		return PASSED_MALFORMED;
	if (!take(cursor, header_length - sizeof(*ip)))
		return PASSED_MALFORMED;
	if (ip->protocol == IPPROTO_ICMPV6)
		return PASSED_OTHER_PROTOCOL;
	packet->destination = mapped_ipv4(ip->daddr);
	packet->later_fragment = (ip->frag_off & bpf_htons(IPV4_FRAGMENT_OFFSET)) != 0;
	return parse_transport(cursor, packet, ip->protocol, total_length - header_length);
}

static __always_inline int parse_ipv6(struct cursor *cursor, struct packet *packet)
{
	struct ipv6hdr *ip = take(cursor, sizeof(*ip));
	__u32 payload_length;

	if (!ip || ip->version != 6)
		return PASSED_MALFORMED;
	payload_length = bpf_ntohs(ip->payload_len);
	if (payload_length > cursor->ahead)
		return PASSED_MALFORMED;
	__builtin_memcpy(&packet->destination, &ip->daddr, sizeof(packet->destination));
	if (is_mapped_ipv4(&packet->destination))
		return PASSED_MALFORMED;
	if (ip->nexthdr == IPPROTO_ICMP)
		return PASSED_OTHER_PROTOCOL;
	return parse_transport(cursor, packet, ip->nexthdr, payload_length);
}

static __always_inline int parse(struct xdp_md *ctx, struct packet *packet)
{
	struct cursor cursor = {
		.at = (void *)(long)ctx->data,
		.end = (void *)(long)ctx->data_end,
		.ahead = bpf_xdp_get_buff_len(ctx),
	};
	struct ethhdr *ethernet = take(&cursor, sizeof(*ethernet));
	struct vlan_header *vlan;
	__be16 type;

	if (!ethernet)
		return PASSED_MALFORMED;
	type = ethernet->h_proto;
	if (type == bpf_htons(ETH_P_8021Q)) {
		vlan = take(&cursor, sizeof(*vlan));
		if (!vlan)
			return PASSED_MALFORMED;
		type = vlan->type;
	}
	if (type == bpf_htons(ETH_P_IP))
		return parse_ipv4(&cursor, packet);
	if (type == bpf_htons(ETH_P_IPV6))
		return parse_ipv6(&cursor, packet);
	if (type == bpf_htons(ETH_P_ARP))
		return parse_arp(&cursor, packet);
	return PASSED_NOT_IP;
}

#endif
