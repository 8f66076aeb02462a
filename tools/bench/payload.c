/* SPDX-License-Identifier: MIT */
/*
 * Payloads of mqshm bench, the same for mqshm and the baseline. A copied message starts with its sequence number
 * and ends with that number's low byte, and the consumer checks both. A zero-copy message is written and read whole.
 */
#include "bench.h"

#include <stdlib.h>
#include <string.h>

/* Two words at once: plain loops, vectorised whatever the compiler's options. */
typedef uint64_t pair __attribute__((vector_size(16), may_alias));

/* 8 bytes hold both: the low byte of sequence comes last in memory. */
static uint64_t stamp_of_8(uint64_t sequence)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	return sequence << 56 | sequence >> 8;
#else
	return sequence;
#endif
}

static void stamp(unsigned char *data, unsigned size, uint64_t sequence)
{
	uint64_t first = size == 8 ? stamp_of_8(sequence) : sequence;

	memcpy(data, &first, sizeof(first));
	if (size > 8)
		data[size - 1] = (unsigned char)sequence;
}

/* count: messages that are handed over at once, or 1: then as many as stay warm in the first-level cache. */
int bench_source_init(struct bench_source *s, unsigned size, unsigned count)
{
	unsigned warm = 16384;

	s->size = size;
	s->stride = (size + 63) / 64 * 64;
	s->count = count;
	s->ahead = 0;
	if (count == 1) {
		for (s->count = 2; s->count < 32 && 2 * s->count * s->stride <= warm;)
			s->count *= 2;
		s->ahead = s->count / 2;
	}
	s->next = 0;
	s->buffers = aligned_alloc(64, (size_t)s->stride * s->count);
	if (!s->buffers)
		return -1;
	memset(s->buffers, 0x5a, (size_t)s->stride * s->count);
	for (unsigned i = 0; i < s->ahead; i++)
		stamp(s->buffers + (size_t)i * s->stride, size, i);
	return 0;
}

/* The next message; stamps the one that comes `ahead` later. */
void *bench_source_next(struct bench_source *s)
{
	uint64_t sequence = s->next++, later = sequence + s->ahead;

	stamp(s->buffers + (size_t)(later & (s->count - 1)) * s->stride, s->size, later);
	return s->buffers + (size_t)(sequence & (s->count - 1)) * s->stride;
}

bool bench_payload_check(const void *data, size_t size, uint64_t sequence)
{
	uint64_t first;

	memcpy(&first, data, sizeof(first));
	if (size == 8)
		return first == stamp_of_8(sequence);
	return first == sequence && ((const unsigned char *)data)[size - 1] == (unsigned char)sequence;
}

void bench_payload_fill(void *data, size_t size, uint64_t sequence)
{
	pair *to = data, value = { sequence, sequence + 1 };
	size_t pairs = size / sizeof(pair);

	if (size == 8) {
		memcpy(data, &sequence, 8);
		return;
	}
	for (size_t i = 0; i < pairs; i++) {
		memcpy(to + i, &value, sizeof(value)); /* the ring aligns to 8 bytes, not to 16 */
		value += 2;
	}
}

bool bench_payload_check_all(const void *data, size_t size, uint64_t sequence)
{
	const unsigned char *from = data;
	pair a = { 0, 0 }, b = { 0, 0 }, x, y;
	uint64_t words = size / 8, first;
	size_t i;

	if (size == 8) {
		memcpy(&first, data, 8);
		return first == sequence;
	}
	for (i = 0; i + 2 * sizeof(pair) <= size; i += 2 * sizeof(pair)) {
		memcpy(&x, from + i, sizeof(x));
		memcpy(&y, from + i + sizeof(x), sizeof(y));
		a += x;
		b += y;
	}
	a += b;
	memcpy(&first, data, 8);
	return first == sequence && a[0] + a[1] == words * sequence + words * (words - 1) / 2;
}
