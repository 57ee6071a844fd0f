/*
 * Which packets are ours, and which core's socket gets them. Everything else goes on to the kernel as if this program
 * were not there: XDP_PASS is the answer to the unregistered, the unknown and the broken.
 */
#include "parse.h"

#include "hash.h"

/* The key is (queue - base_queue) * sockets_per_queue + core; with one socket a queue, the core is left out. */
struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, MAX_SOCKETS);
	__type(key, __u32);
	__type(value, __u32);
} xsks SEC(".maps");

/* The core that owns each bucket of flows. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_BUCKETS);
	__type(key, __u32);
	__type(value, __u32);
} table SEC(".maps");

/*
 * TCP to these ends is ours. The value is reserved and 0.
 *
 * A program serves one VLAN (see is_our_vlan), so the tag is no part of the key: the same address and port on another
 * VLAN of the interface are the kernel's, or another program's.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_LISTENERS);
	__type(key, struct end);
	__type(value, __u32);
} listeners SEC(".maps");

/* Connections that are ours although their local end is no listener's. The value is reserved and 0. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC); /* the bound is high, and few use it up */
	__uint(max_entries, MAX_FLOWS);
	__type(key, struct flow);
	__type(value, __u32);
} flows SEC(".maps");

/* Flows that stay with a core whatever `table` says. It only says where: that they are ours must be known otherwise. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MAX_FLOWS);
	__type(key, struct flow);
	__type(value, __u32);
} pinned SEC(".maps");

/* Addresses that the stack answers for and the kernel does not have. The value holds flags; none is defined yet. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_OWN_ADDRESSES);
	__type(key, struct address);
	__type(value, __u32);
} own_addresses SEC(".maps");

/* Flows of the process that this one has taken over from, and which of its workers has each. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MAX_FLOWS);
	__type(key, struct flow);
	__type(value, __u32);
} relayed SEC(".maps");

/* The packets of those flows. The predecessor reads them. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} relay SEC(".maps");

/* Packets that came while there were no sockets yet. This process reads them. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} held SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, COUNTER_COUNT);
	__type(key, __u32);
	__type(value, __u64);
} counters SEC(".maps");

/* Written by the loader while the program runs. */
volatile struct in_use in_use SEC(".data.in_use");

static __always_inline void count(__u32 counter)
{
	__u64 *value = bpf_map_lookup_elem(&counters, &counter);

	if (value)
		*value += 1;
}

/* The counter for a parsed packet: it says both what to do and why. */
static __always_inline __u32 decide(const struct packet *packet)
{
	int is_tcp = packet->kind == KIND_TCP;

	/*
	 * A first fragment of a listener's is redirected although the rest passes: the stack drops it by its own
	 * rule, whereas the kernel would put the segment together and answer with a reset.
	 */
	if (packet->has_ports) {
		if (bpf_map_lookup_elem(&listeners, &packet->flow.local))
			return is_tcp ? REDIRECTED_LISTENER : REDIRECTED_ICMP_ERROR;
		if (in_use.flows && bpf_map_lookup_elem(&flows, &packet->flow))
			return is_tcp ? REDIRECTED_FLOW : REDIRECTED_ICMP_ERROR;
	}
	if (!in_use.own_addresses || !bpf_map_lookup_elem(&own_addresses, &packet->flow.local.address))
		return packet->is_later_fragment ? PASSED_FRAGMENT : PASSED_UNREGISTERED;
	if (packet->kind == KIND_ARP)
		return REDIRECTED_OWN_ARP;
	return is_tcp ? REDIRECTED_OWN_TCP : REDIRECTED_OWN_ICMP;
}

/*
 * ARP and neighbour discovery go to the owner of bucket 0, as they concern every core: it tells the others. Later
 * fragments and ICMP that names no flow go by their two addresses.
 */
static __always_inline __u32 bucket_of(const struct packet *packet)
{
	if (packet->kind == KIND_ARP || packet->kind == KIND_NEIGHBOUR)
		return 0;
	return flow_hash(settings.hash_key[0], settings.hash_key[1], &packet->flow, packet->is_ipv4) &
	       settings.bucket_mask;
}

/* The core for a packet of ours. */
static __always_inline __u32 owner_of(const struct packet *packet, __u32 *counter)
{
	__u32 bucket, *core;

	if (packet->has_ports && in_use.pinned) {
		core = bpf_map_lookup_elem(&pinned, &packet->flow);
		if (core) {
			if (packet->kind == KIND_TCP)
				*counter = REDIRECTED_PINNED;
			return *core;
		}
	}
	bucket = bucket_of(packet);
	core = bpf_map_lookup_elem(&table, &bucket);
	return core ? *core : 0;
}

/*
 * The ring gives out rooms of fixed sizes only, so there are three.
 */
static __always_inline int keep_in(struct xdp_md *ctx, void *ring, __u32 worker, __u32 length, const __u32 room)
{
	struct kept *kept = bpf_ringbuf_reserve(ring, sizeof(*kept) + room, 0);

	if (!kept)
		return 0;
	kept->length = length;
	kept->worker = worker;
	if (bpf_xdp_load_bytes(ctx, 0, kept->bytes, length)) {
		bpf_ringbuf_discard(kept, 0);
		return 0;
	}
	bpf_ringbuf_submit(kept, 0);
	return 1;
}

/* Copies the packet into a ring; whether there was room. */
static __noinline int keep(struct xdp_md *ctx, int for_predecessor, __u32 worker)
{
	void *ring = for_predecessor ? (void *)&relay : (void *)&held;
	__u32 length = bpf_xdp_get_buff_len(ctx);

	if (length == 0)
		return 0;
	if (length <= 120)
		return keep_in(ctx, ring, worker, length, 120);
	if (length <= 2040)
		return keep_in(ctx, ring, worker, length, 2040);
	if (length <= MAX_KEPT)
		return keep_in(ctx, ring, worker, length, MAX_KEPT);
	return 0;
}

/* Keeps a packet of a flow that the predecessor has; whether it is one. */
static __always_inline int relay_flow(struct xdp_md *ctx, const struct packet *packet)
{
	__u32 *worker;

	if (!in_use.relayed || !packet->has_ports)
		return 0;
	worker = bpf_map_lookup_elem(&relayed, &packet->flow);
	if (!worker)
		return 0;
	count(keep(ctx, 1, *worker) ? RELAYED : DROPPED_NO_ROOM);
	return 1;
}

/*
 * XDP_REDIRECT if a socket is registered for the packet's queue and core; else the kernel gets the packet, but for the
 * time when the sockets are still to come: it would answer with resets.
 */
static __always_inline int redirect(struct xdp_md *ctx, const struct packet *packet, __u32 counter)
{
	__u32 queue = ctx->rx_queue_index - settings.base_queue;
	__u32 key = queue * settings.sockets_per_queue, core = 0;
	int verdict = XDP_PASS;

	/* With one socket there is nothing to choose: neither the hash nor what is pinned matters. */
	if (settings.sockets_per_queue > 1)
		core = owner_of(packet, &counter);
	/* What an own address's neighbours say concerns the predecessor too. */
	if (in_use.relayed && (packet->kind == KIND_ARP || packet->kind == KIND_NEIGHBOUR))
		keep(ctx, 1, 0);
	if (queue < settings.queues)
		verdict = bpf_redirect_map(&xsks, key + core, XDP_PASS);
	if (verdict == XDP_REDIRECT) {
		count(counter);
	} else if (in_use.holding) {
		count(keep(ctx, 0, core) ? HELD : DROPPED_NO_ROOM);
		verdict = XDP_DROP;
	} else {
		count(REDIRECT_FAILED);
	}
	return verdict;
}

SEC("xdp.frags")
int corelane_steer(struct xdp_md *ctx)
{
	struct packet packet;
	__u32 counter;

	packet.is_ipv4 = packet.is_later_fragment = packet.has_ports = 0;
	counter = parse(ctx, &packet);
	if (counter == 0) {
		if (relay_flow(ctx, &packet))
			return XDP_DROP;
		counter = decide(&packet);
	}
	if (counter < PASSED_NOT_IP)
		return redirect(ctx, &packet, counter);
	count(counter);
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
