/*
 * Which packets are ours, and which socket gets them. Everything else goes on to the kernel as if this program were
 * not there: XDP_PASS is the answer to the unregistered, the unknown and the broken.
 */
#include "parse.h"

struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, MAX_SOCKETS);
	__type(key, __u32);
	__type(value, __u32);
} xsks SEC(".maps");

/* The value is reserved and 0. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_LISTENERS);
	__type(key, struct listener_key);
	__type(value, __u32);
} listeners SEC(".maps");

/* Addresses that the stack answers for and the kernel does not have. The value holds flags; none is defined yet. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_OWN_ADDRESSES);
	__type(key, struct address);
	__type(value, __u32);
} own_addresses SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct config);
} config SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, COUNTER_COUNT);
	__type(key, __u32);
	__type(value, __u64);
} counters SEC(".maps");

static __always_inline void count(__u32 counter)
{
	__u64 *value = bpf_map_lookup_elem(&counters, &counter);

	if (value)
		*value += 1;
}

static __always_inline int is_own(const struct packet *packet)
{
	return bpf_map_lookup_elem(&own_addresses, &packet->destination) != NULL;
}

static __always_inline int is_listener(const struct packet *packet)
{
	struct listener_key key = {
		.address = packet->destination,
		.port = packet->port,
		.protocol = IPPROTO_TCP,
	};

	return bpf_map_lookup_elem(&listeners, &key) != NULL;
}

/* The counter for a parsed packet: it says both what to do and why. */
static __always_inline __u32 decide(const struct packet *packet)
{
	/*
	 * A first fragment of a listener's is redirected although the rest passes: the stack drops it by its own
	 * rule, whereas the kernel would put the segment together and answer with a reset.
	 */
	if (packet->kind == KIND_TCP && !packet->later_fragment && is_listener(packet))
		return REDIRECTED_LISTENER;
	if (!is_own(packet))
		return packet->later_fragment ? PASSED_FRAGMENT : PASSED_UNREGISTERED;
	switch (packet->kind) {
	case KIND_ARP:
		return REDIRECTED_OWN_ARP;
	case KIND_ICMP:
		return REDIRECTED_OWN_ICMP;
	default:
		return REDIRECTED_OWN_TCP;
	}
}

static __always_inline __u32 socket_key(const struct config *config, __u32 queue)
{
	return (queue - config->base_queue) * config->sockets_per_queue;
}

/* XDP_REDIRECT if a socket is registered for the packet's queue; else the kernel gets the packet. */
static __always_inline int redirect(struct xdp_md *ctx, __u32 counter)
{
	__u32 zero = 0;
	struct config *layout = bpf_map_lookup_elem(&config, &zero);
	int verdict = XDP_PASS;

	if (layout)
		verdict = bpf_redirect_map(&xsks, socket_key(layout, ctx->rx_queue_index), XDP_PASS);
	count(verdict == XDP_REDIRECT ? counter : REDIRECT_FAILED);
	return verdict;
}

SEC("xdp.frags")
int corelane_steer(struct xdp_md *ctx)
{
	struct packet packet = {};
	__u32 counter = parse(ctx, &packet);

	if (counter == 0)
		counter = decide(&packet);
	if (counter < PASSED_NOT_IP)
		return redirect(ctx, counter);
	count(counter);
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
