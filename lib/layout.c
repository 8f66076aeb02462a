/* SPDX-License-Identifier: MIT */
/*
 * The geometry of a queue: planned from options, checked when read from an object that anybody may have made.
 * Invariant: after mqshm_check_info() every region lies within the object, in order and aligned.
 */
#include <limits.h>
#include <time.h>
#include <unistd.h>

#include "error.h"
#include "layout.h"

#define DEFAULT_NODES 1024
#define DEFAULT_BLOCK 12800
#define DEFAULT_CONSUMERS 32
#define DEFAULT_MODE 0600
#define STRIDE_MAX (64 << 10) /* bytes of a consumer's area: a page, of machines with large ones */

uint64_t mqshm_test_base_position;

static const char name_letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";

int mqshm_check_consumer_name(const char *name, uint32_t lease_ms)
{
	size_t length = name ? strnlen(name, MQSHM_CONSUMER_NAME_MAX + 1) : 0;

	if (!name)
		return lease_ms ? mqshm_error(-EINVAL, "lease_ms is %u, but the consumer has no name", lease_ms) : 0;
	if (length == 0 || length > MQSHM_CONSUMER_NAME_MAX || strspn(name, name_letters) != length)
		return mqshm_error(-EINVAL, "a consumer's name has 1 to %d of A-Z a-z 0-9 . _ -", MQSHM_CONSUMER_NAME_MAX);
	if (lease_ms - 1 >= MQSHM_LEASE_MS_MAX)
		return mqshm_error(-EINVAL, "lease_ms of consumer '%s' is %u, not 1..%u", name, lease_ms,
				   MQSHM_LEASE_MS_MAX);
	return 0;
}

int mqshm_check_name(const char *name)
{
	size_t length;

	if (!name)
		return mqshm_error(-EINVAL, "no queue name given");
	length = strnlen(name, MQSHM_NAME_MAX + 1);
	if (length == 0 || length > MQSHM_NAME_MAX)
		return mqshm_error(-EINVAL, "a queue name has 1 to %d characters", MQSHM_NAME_MAX);
	if (name[0] == '.')
		return mqshm_error(-EINVAL, "queue name '%s' starts with a dot", name);
	if (strspn(name, name_letters) != length)
		return mqshm_error(-EINVAL, "a queue name consists of A-Z a-z 0-9 . _ -");
	if (!strcmp(name, "control"))
		return mqshm_error(-EINVAL, "the name 'control' is reserved");
	return 0;
}

static int check_range(const char *what, uint64_t value, uint64_t most)
{
	if (value > most)
		return mqshm_error(-EINVAL, "%s is %llu, more than %llu", what, (unsigned long long)value,
				   (unsigned long long)most);
	return 0;
}

int mqshm_read_options(struct mqshm_queue_options *options, const struct mqshm_queue_options *given)
{
	int rc;

	memset(options, 0, sizeof *options);
	options->size = sizeof *options;
	if (!given)
		return 0;
	if (given->size != sizeof *options)
		return mqshm_error(-EINVAL, "struct mqshm_queue_options says its size is %zu, not %zu", given->size,
				   sizeof *options);
	*options = *given;
	if ((rc = check_range("node_count", options->node_count, MQSHM_NODES_MAX)) ||
	    (rc = check_range("block_size", options->block_size, MQSHM_BLOCK_MAX)) ||
	    (rc = check_range("max_consumers", options->max_consumers, MQSHM_CONSUMERS_MAX)) ||
	    (rc = check_range("metadata_size", options->metadata_size, MQSHM_METADATA_MAX)) ||
	    (rc = check_range("mode", options->mode, 0777)))
		return rc;
	if (options->metadata_size && !options->metadata)
		return mqshm_error(-EINVAL, "metadata_size is %zu, but metadata is NULL", options->metadata_size);
	if (options->align && options->align != 8 && options->align != 16 && options->align != 32 &&
	    options->align != 64)
		return mqshm_error(-EINVAL, "align is %u, not 8, 16, 32 or 64", options->align);
	if (options->flags & ~(uint32_t)(MQSHM_QUEUE_FLAGS | MQSHM_CREATE_ONLY | MQSHM_ANY_FLAGS))
		return mqshm_error(-EINVAL, "unknown flags 0x%x", options->flags);
	if ((options->flags & MQSHM_TIMESTAMP_OFF) && (options->flags & MQSHM_TIMESTAMP_OWN))
		return mqshm_error(-EINVAL, "timestamps can't be both off and the caller's own");
	if ((options->flags & MQSHM_OVERWRITE) && (options->flags & MQSHM_HOLD))
		return mqshm_error(-EINVAL, "a queue that overwrites can't hold messages for a first consumer");
	if (options->slow_policy > MQSHM_SLOW_DEMOTE)
		return mqshm_error(-EINVAL, "slow_policy is %u, not one of MQSHM_SLOW_...", options->slow_policy);
	if (options->slow_policy && (options->flags & MQSHM_OVERWRITE))
		return mqshm_error(-EINVAL, "nobody is too slow for a queue that overwrites: no slow_policy");
	if (options->slow_policy ? options->slow_ms - 1 >= MQSHM_SLOW_MS_MAX : options->slow_ms)
		return mqshm_error(-EINVAL, "slow_ms is %u; 1..%u with a slow_policy, else 0", options->slow_ms,
				   MQSHM_SLOW_MS_MAX);
	return 0;
}

int mqshm_plan(struct mqshm_info *info, const char *name, const struct mqshm_queue_options *o, size_t consumer_stride)
{
	uint32_t page = (uint32_t)sysconf(_SC_PAGESIZE);
	struct timespec now;

	memset(info, 0, sizeof *info);
	info->magic = MQSHM_MAGIC;
	info->abi_version = MQSHM_ABI_VERSION;
	info->info_bytes = sizeof *info;
	info->node_count = o->node_count ? o->node_count : DEFAULT_NODES;
	info->block_size = o->block_size ? o->block_size : DEFAULT_BLOCK;
	info->max_consumers = o->max_consumers ? o->max_consumers : DEFAULT_CONSUMERS;
	info->max_producers = o->flags & MQSHM_SHARED ? MQSHM_PRODUCER_SLOTS_SHARED : 1;
	info->node_align = o->align ? o->align : 8;
	info->flags = o->flags & MQSHM_QUEUE_FLAGS;
	info->page_bytes = page;
	info->slow_policy = o->slow_policy;
	info->slow_ms = o->slow_ms;
	info->consumer_stride = (uint32_t)consumer_stride;

	mqshm_lay_out(info);
	if (info->total_bytes > (uint64_t)SSIZE_MAX)
		return mqshm_error(-EFBIG, "queue '%s' would have %llu bytes, more than this process can map", name,
				   (unsigned long long)info->total_bytes);

	info->metadata_bytes = (uint32_t)o->metadata_size;
	if (o->metadata_size)
		memcpy(info->metadata, o->metadata, o->metadata_size);
	memcpy(info->name, name, strlen(name));
	info->base_position = mqshm_test_base_position;
	info->hold = !!(o->flags & MQSHM_HOLD);
	clock_gettime(CLOCK_REALTIME, &now);
	info->created_at_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
	return 0;
}

void mqshm_format(void *object, const struct mqshm_info *plan)
{
	struct mqshm_producer_page *p = (void *)((char *)object + plan->producer_offset);

	shared_copy(object, plan, sizeof *plan);
	WRITE_ONCE(p->record[0].end, plan->base_position);
	WRITE_ONCE(p->head, plan->base_position);
	WRITE_ONCE(p->tail, plan->base_position);
}

int mqshm_check_info(const struct mqshm_info *info, const char *name, uint64_t file_bytes)
{
	struct mqshm_info right = *info;
	uint64_t page = info->page_bytes;

	if (info->magic != MQSHM_MAGIC)
		return mqshm_error(-EBADMSG, "the object of queue '%s' is not a queue (no magic number)", name);
	if (info->abi_version != MQSHM_ABI_VERSION)
		return mqshm_error(-EPROTONOSUPPORT, "queue '%s' has ABI version %u, this library (%s) knows %u", name,
				   info->abi_version, MQSHM_VERSION, MQSHM_ABI_VERSION);
	if (info->info_bytes != sizeof *info || info->total_bytes != file_bytes)
		return mqshm_error(-EBADMSG, "queue '%s' is damaged: it should have %llu bytes and has %llu", name,
				   (unsigned long long)info->total_bytes, (unsigned long long)file_bytes);
	if (file_bytes > (uint64_t)SSIZE_MAX)
		return mqshm_error(-EFBIG, "queue '%s' has %llu bytes, more than this process can map", name,
				   (unsigned long long)file_bytes);

	/* Counts first, so that no sum below can overflow. */
	if (info->node_count - 1 >= MQSHM_NODES_MAX || info->block_size - 1 >= MQSHM_BLOCK_MAX ||
	    info->max_consumers - 1 >= MQSHM_CONSUMERS_MAX || info->max_producers - 1 >= MQSHM_PRODUCER_SLOTS_SHARED ||
	    info->metadata_bytes > MQSHM_METADATA_MAX || (info->flags & ~(uint32_t)MQSHM_QUEUE_FLAGS))
		goto damaged;
	if ((info->node_align != 8 && info->node_align != 16 && info->node_align != 32 && info->node_align != 64) ||
	    page < 4096 || page > 1 << 20 || (page & (page - 1)) ||
	    info->consumer_stride < sizeof(struct mqshm_consumer_area) || info->consumer_stride > STRIDE_MAX ||
	    info->consumer_stride % sizeof(struct mqshm_consumer_area))
		goto damaged;
	/* Exactly one after the other: who looks at all but the nodes needs no more memory than they take. */
	mqshm_lay_out(&right);
	if (info->node_header_bytes != right.node_header_bytes || info->ring_bytes != right.ring_bytes ||
	    info->participants_offset != right.participants_offset || info->producer_offset != right.producer_offset ||
	    info->consumers_offset != right.consumers_offset || info->nodes_offset != right.nodes_offset ||
	    info->total_bytes != right.total_bytes)
		goto damaged;
	if (info->slow_policy > MQSHM_SLOW_DEMOTE || info->slow_ms > MQSHM_SLOW_MS_MAX)
		goto damaged;
	if (info->base_position % 64 || info->base_position >= MQSHM_POSITION_MAX)
		goto damaged;
	return 0;
damaged:
	return mqshm_error(-EBADMSG, "queue '%s' is damaged: its geometry makes no sense", name);
}

void mqshm_ring_init(struct mqshm_ring *ring, const struct mqshm_info *info, void *object)
{
	char *start = object;

	*ring = (struct mqshm_ring){
		.info = object,
		.participants = (void *)(start + info->participants_offset),
		.producer = (void *)(start + info->producer_offset),
		.consumers = (void *)(start + info->consumers_offset),
		.nodes = (void *)(start + info->nodes_offset),
		.ring_bytes = info->ring_bytes,
		.base = info->base_position,
		.node_count = info->node_count,
		.block_size = info->block_size,
		.header = info->node_header_bytes,
		.align = info->node_align,
		.round = info->node_header_bytes + info->node_align - 1,
		.mask = ~(uint64_t)(info->node_align - 1),
		.consumer_stride = info->consumer_stride,
		.max_producers = info->max_producers,
		.max_consumers = info->max_consumers,
		.flags = info->flags,
		.slow_policy = info->slow_policy,
		.slow_ms = info->slow_ms,
	};
}

static const char *const flag_names[][2] = {
	{ "exclusive", "shared" },	 { "blocking when full", "overwriting when full" },
	{ "without hold", "with hold" }, { "transient", "persistent" },
	{ "with the clock's timestamps or the caller's own", "without timestamps" },
	{ "without the caller's own timestamps", "with the caller's own timestamps" },
};

int mqshm_match(const struct mqshm_info *info, const char *name, const struct mqshm_queue_options *wanted)
{
	const struct {
		const char *what;
		uint32_t has, wants;
	} fields[] = {
		{ "node_count", info->node_count, wanted->node_count },
		{ "block_size", info->block_size, wanted->block_size },
		{ "max_consumers", info->max_consumers, wanted->max_consumers },
		{ "align", info->node_align, wanted->align },
		{ "slow_policy", info->slow_policy, wanted->slow_policy },
		{ "slow_ms", info->slow_ms, wanted->slow_ms },
	};
	uint32_t differ = (info->flags ^ wanted->flags) & MQSHM_QUEUE_FLAGS;

	for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
		if (fields[i].wants && fields[i].wants != fields[i].has)
			return mqshm_error(-EEXIST, "queue '%s' exists with %s %u, not %u", name,
					   fields[i].what, fields[i].has, fields[i].wants);
	if (differ && !(wanted->flags & MQSHM_ANY_FLAGS)) {
		int bit = __builtin_ctz(differ);

		return mqshm_error(-EEXIST, "queue '%s' exists %s, not %s", name,
				   flag_names[bit][info->flags >> bit & 1], flag_names[bit][wanted->flags >> bit & 1]);
	}
	return 0;
}

void mqshm_fill_info(const struct mqshm_ring *ring, const char *name, struct mqshm_queue_info *out)
{
	const struct mqshm_info *info = ring->info;
	uint32_t metadata = READ_ONCE(info->metadata_bytes);

	*out = (struct mqshm_queue_info){
		.node_count = ring->node_count,
		.block_size = ring->block_size,
		.max_consumers = ring->max_consumers,
		.align = ring->align,
		.flags = ring->flags,
		.ring_bytes = ring->ring_bytes,
		.created_at_ns = READ_ONCE(info->created_at_ns),
		.slow_policy = ring->slow_policy,
		.slow_ms = ring->slow_ms,
	};
	strcpy(out->name, name);
	out->metadata_size = metadata < MQSHM_METADATA_MAX ? metadata : MQSHM_METADATA_MAX;
	memcpy(out->metadata, info->metadata, out->metadata_size);
}
