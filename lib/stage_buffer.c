/* SPDX-License-Identifier: MIT */
/* See stage_buffer.h. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "error.h"
#include "stage_buffer.h"

uint64_t stage_now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

struct timespec stage_time(uint64_t ns)
{
	return (struct timespec){ .tv_sec = (time_t)(ns / 1000000000u), .tv_nsec = (long)(ns % 1000000000u) };
}

void stage_cond_init(pthread_cond_t *cond)
{
	pthread_condattr_t attributes;

	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(cond, &attributes);
	pthread_condattr_destroy(&attributes);
}

static size_t rounded(const struct stage_buffer *b, size_t size)
{
	return (size + b->align - 1) & ~(b->align - 1);
}

int stage_buffer_init(struct stage_buffer *b, size_t most_count, size_t most_bytes, size_t block, size_t align)
{
	size_t size;

	*b = (struct stage_buffer){ .most_count = most_count, .most_bytes = most_bytes & ~(align - 1), .align = align };
	b->block = rounded(b, block);
	if (b->most_bytes < b->block)
		return mqshm_error(-EINVAL, "a buffer of %zu bytes has no room for a message of %zu", most_bytes, block);
	if (__builtin_add_overflow(b->most_bytes, b->block, &size) || size > SIZE_MAX / 2)
		return mqshm_error(-ENOMEM, "no memory for a buffer of %zu bytes", most_bytes);
	b->messages = calloc(most_count, sizeof *b->messages);
	b->bytes = aligned_alloc(64, (size + 63) & ~(size_t)63); /* pages that are never used are never there */
	if (!b->messages || !b->bytes) {
		free(b->messages);
		free(b->bytes);
		return mqshm_error(-ENOMEM, "no memory for a buffer of %zu bytes", most_bytes);
	}
	pthread_mutex_init(&b->mutex, NULL);
	stage_cond_init(&b->filled);
	stage_cond_init(&b->freed);
	return 0;
}

void stage_buffer_destroy(struct stage_buffer *b)
{
	free(b->messages); /* mutex and conditions own nothing; in a child they may look as if in use */
	free(b->bytes);
}

/*
 * Where the next message goes. Behind the last, or at the start when less than a block is left at the end: that gap, less
 * than a block, is what the block more is for. So all of most_bytes - used, or a block, is free in one piece there.
 */
static void *place(struct stage_buffer *b)
{
	if (b->used == 0 || b->most_bytes + b->block - b->tail < b->block)
		b->tail = 0;
	return b->bytes + b->tail;
}

int stage_buffer_reserve(struct stage_buffer *b, size_t least, void **to, size_t *capacity)
{
	int rc = 0;

	if (least > b->block)
		return mqshm_error(-EMSGSIZE, "a message of %zu bytes is larger than a block", least);
	pthread_mutex_lock(&b->mutex);
	while (!b->aborted && (b->count == b->most_count || b->most_bytes - b->used < rounded(b, least))) {
		b->starved = true;
		pthread_cond_signal(&b->filled);
		pthread_cond_wait(&b->freed, &b->mutex);
	}
	b->starved = false;
	if (b->aborted) {
		rc = -ECANCELED;
	} else {
		*to = place(b);
		*capacity = b->most_bytes - b->used < b->block ? b->most_bytes - b->used : b->block;
	}
	pthread_mutex_unlock(&b->mutex);
	return rc;
}

void stage_buffer_commit(struct stage_buffer *b, const struct mqshm_message *message)
{
	pthread_mutex_lock(&b->mutex);
	b->messages[(b->first + b->count) % b->most_count] = *message;
	b->tail += rounded(b, message->size);
	b->used += rounded(b, message->size);
	b->in++;
	if (++b->count > b->depth_most)
		b->depth_most = b->count;
	if (b->count >= b->wanted)
		pthread_cond_signal(&b->filled);
	pthread_mutex_unlock(&b->mutex);
}

void stage_buffer_end(struct stage_buffer *b)
{
	pthread_mutex_lock(&b->mutex);
	b->ended = true;
	pthread_cond_signal(&b->filled);
	pthread_mutex_unlock(&b->mutex);
}

/* Wait until count are there, no more can come, or the time has run out. */
static void gather(struct stage_buffer *b, size_t count, int wait_ms)
{
	struct timespec until = stage_time(stage_now_ns() + (uint64_t)(wait_ms > 0 ? wait_ms : 0) * 1000000u);
	int rc = 0;

	b->wanted = count;
	while (!rc && b->count < count && !b->ended && !b->aborted && !(b->starved && b->count))
		rc = wait_ms < 0 ? pthread_cond_wait(&b->filled, &b->mutex)
				 : pthread_cond_timedwait(&b->filled, &b->mutex, &until);
}

int stage_buffer_take(struct stage_buffer *b, struct mqshm_message *messages, size_t max, int wait_ms)
{
	int n;

	pthread_mutex_lock(&b->mutex);
	gather(b, 1, -1);
	if (wait_ms)
		gather(b, max, wait_ms);
	n = b->aborted ? -ECANCELED : (int)(b->count < max ? b->count : max);
	for (int i = 0; i < n; i++)
		messages[i] = b->messages[(b->first + (size_t)i) % b->most_count];
	pthread_mutex_unlock(&b->mutex);
	return n;
}

void stage_buffer_release(struct stage_buffer *b, size_t count, bool processed)
{
	pthread_mutex_lock(&b->mutex);
	for (size_t i = 0; i < count; i++)
		b->used -= rounded(b, b->messages[(b->first + i) % b->most_count].size);
	b->first = (b->first + count) % b->most_count;
	b->count -= count;
	*(processed ? &b->processed : &b->dropped) += count;
	pthread_cond_signal(&b->freed);
	pthread_mutex_unlock(&b->mutex);
}

void stage_buffer_abort(struct stage_buffer *b)
{
	pthread_mutex_lock(&b->mutex);
	b->aborted = true;
	pthread_cond_signal(&b->filled);
	pthread_cond_signal(&b->freed);
	pthread_mutex_unlock(&b->mutex);
}
