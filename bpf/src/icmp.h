/*
 * ICMP: which flow an error is about, and which address a neighbour is asked for. Included by parse.h, whose cursor
 * and packet it works with.
 */
#ifndef CORELANE_ICMP_H
#define CORELANE_ICMP_H

/* RFC 792. Source quench, type 4, is deprecated (RFC 6633) and like any other message. */
#define ICMP_UNREACHABLE 3
#define ICMP_TIME_EXCEEDED 11
#define ICMP_PARAMETER_PROBLEM 12

/* RFC 4443 */
#define ICMPV6_UNREACHABLE 1
#define ICMPV6_PACKET_TOO_BIG 2
#define ICMPV6_TIME_EXCEEDED 3
#define ICMPV6_PARAMETER_PROBLEM 4

/* RFC 4861 4.3, 4.4 */
#define NEIGHBOUR_SOLICITATION 135
#define NEIGHBOUR_ADVERTISEMENT 136

/* RFC 792; every message of RFC 4443 has as much. */
struct icmp_header {
	__u8 type;
	__u8 code;
	__be16 checksum;
	__be32 rest;
};

/* What each error quotes of TCP at least (RFC 792). */
struct quoted_tcp {
	__be16 source;
	__be16 dest;
	__be32 sequence;
};

/*
 * Takes the flow from a quoted header, which went from here to there. An error goes to the sender of what it quotes
 * (RFC 1122 3.2.2, RFC 4443 2.2): one that quotes another sender names no flow of ours. What isn't understood, or is
 * cut short, leaves `packet` as it is: the message is then like any other of ICMP.
 */
static __always_inline void parse_quoted_ipv4(struct cursor *cursor, struct packet *packet, __u32 room)
{
	struct quoted_tcp *tcp;
	struct iphdr *ip;

	if (!take(cursor, ip) || ip->version != 4 || ip->ihl < 5 || ip->protocol != IPPROTO_TCP)
		return;
	if (ip->frag_off & bpf_htons(IPV4_FRAGMENT_OFFSET) || ip->saddr != packet->flow.local.address.word[3])
		return;
	if (room < ip->ihl * 4 + sizeof(*tcp) || !take_options(cursor, ip->ihl) || !take(cursor, tcp))
		return;
	packet->flow.remote.address = mapped_ipv4(ip->daddr);
	set_ports(packet, tcp->source, tcp->dest);
}

static __always_inline void parse_quoted_ipv6(struct cursor *cursor, struct packet *packet, __u32 room)
{
	struct quoted_tcp *tcp;
	struct ipv6hdr *ip;
	struct address source;

	if (room < sizeof(*ip) + sizeof(*tcp) || !take(cursor, ip) || !take(cursor, tcp))
		return;
	if (ip->version != 6 || ip->nexthdr != IPPROTO_TCP)
		return;
	source = wire_ipv6(&ip->saddr);
	if (__builtin_memcmp(&source, &packet->flow.local.address, sizeof(source)) != 0)
		return;
	packet->flow.remote.address = wire_ipv6(&ip->daddr);
	set_ports(packet, tcp->source, tcp->dest);
}

/* `room` is how many bytes the IP header promises for the message. */
static __always_inline int parse_icmp(struct cursor *cursor, struct packet *packet, __u32 room)
{
	struct icmp_header *icmp;

	packet->kind = KIND_ICMP;
	if (packet->is_later_fragment)
		return 0;
	if (!take(cursor, icmp) || room < sizeof(*icmp))
		return PASSED_MALFORMED;
	if (icmp->type == ICMP_UNREACHABLE || icmp->type == ICMP_TIME_EXCEEDED || icmp->type == ICMP_PARAMETER_PROBLEM)
		parse_quoted_ipv4(cursor, packet, room - sizeof(*icmp));
	return 0;
}

/* Solicitations mostly go to a multicast group: whose they are is said by the target. */
static __always_inline int parse_solicitation(struct cursor *cursor, struct packet *packet, __u32 room)
{
	struct in6_addr *target;

	if (!take(cursor, target) || room < sizeof(*target))
		return PASSED_MALFORMED;
	packet->flow.local.address = wire_ipv6(target);
	return is_mapped_ipv4(&packet->flow.local.address) ? PASSED_MALFORMED : 0;
}

static __always_inline int parse_icmpv6(struct cursor *cursor, struct packet *packet, __u32 room)
{
	struct icmp_header *icmp;

	if (!take(cursor, icmp) || room < sizeof(*icmp))
		return PASSED_MALFORMED;
	packet->kind = KIND_ICMP;
	switch (icmp->type) {
	case ICMPV6_UNREACHABLE:
	case ICMPV6_PACKET_TOO_BIG:
	case ICMPV6_TIME_EXCEEDED:
	case ICMPV6_PARAMETER_PROBLEM:
		parse_quoted_ipv6(cursor, packet, room - sizeof(*icmp));
		return 0;
	case NEIGHBOUR_SOLICITATION:
		packet->kind = KIND_NEIGHBOUR;
		return parse_solicitation(cursor, packet, room - sizeof(*icmp));
	case NEIGHBOUR_ADVERTISEMENT:
		packet->kind = KIND_NEIGHBOUR;
		return 0;
	default:
		return 0;
	}
}

#endif
