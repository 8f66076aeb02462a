/* SPDX-License-Identifier: MIT */
/*
 * Payloads that tell what they should be: every byte follows from a key (the sequence, or a producer and its count), so
 * that a torn, mixed or repeated message shows. The size follows from the key too, so that messages of 0 bytes count.
 */
#ifndef MQSHM_TEST_PAYLOAD_H
#define MQSHM_TEST_PAYLOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint64_t payload_mix(uint64_t x)
{
	x ^= x >> 31;
	x *= 0x7fb5d329728ea185u;
	x ^= x >> 27;
	x *= 0x81dadef4bc2dd44du;
	return x ^ x >> 33;
}

/* 0..most, both often. */
static inline size_t payload_size(uint64_t key, size_t most)
{
	uint64_t r = payload_mix(key + 0x9e3779b97f4a7c15u);

	if ((r & 15) == 0)
		return 0;
	if ((r & 15) == 1)
		return most;
	return (size_t)((r >> 8) % (most + 1));
}

static inline void payload_fill(void *to, size_t size, uint64_t key)
{
	uint64_t word = payload_mix(key);
	unsigned char *p = to;
	size_t i = 0;

	for (; i + 8 <= size; i += 8, word += 0x9e3779b97f4a7c15u)
		memcpy(p + i, &word, 8);
	memcpy(p + i, &word, size - i);
}

static inline bool payload_good(const void *from, size_t size, uint64_t key)
{
	uint64_t word = payload_mix(key), differ = 0, got = 0;
	const unsigned char *p = from;
	size_t i = 0;

	for (; i + 8 <= size; i += 8, word += 0x9e3779b97f4a7c15u) {
		memcpy(&got, p + i, 8);
		differ |= got ^ word;
	}
	return !differ && !memcmp(p + i, &word, size - i);
}

#endif
