/* SPDX-License-Identifier: MIT */
/*
 * Every place of a queue object that a peer can write, by name, and values that are likely to hurt there. The fields
 * come from tests/abi/layout.txt, which tests/abi/layout.sh holds against abi.h: a field that is added there is
 * scribbled on here. Programs run from the root of the repository.
 */
#ifndef MQSHM_HOSTILE_PLACES_H
#define MQSHM_HOSTILE_PLACES_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "layout.h"

struct place {
	char name[128]; /* "mqshm_info.ring_bytes" */
	uint64_t offset;
	uint32_t size; /* 4 or 8 */
};

struct places {
	struct place *at;
	size_t count, room;
};

static inline struct place *place_new(struct places *p)
{
	if (p->count == p->room)
		p->at = realloc(p->at, sizeof *p->at * (p->room = p->room ? 2 * p->room : 512));
	if (!p->at)
		abort();
	return &p->at[p->count++];
}

static inline void place_add(struct places *p, const char *of, uint32_t index, const char *field, size_t byte,
			     uint64_t offset, uint32_t size)
{
	struct place *place = place_new(p);

	snprintf(place->name, sizeof place->name, "%.40s[%u].%.40s+%zu", of, index, field, byte);
	place->offset = offset;
	place->size = size;
}

/*
 * The fields of one struct, at an offset of the object. Of arrays: all words, or with few only the first two and the
 * last.
 */
static inline void places_of_struct(struct places *p, const char *of, uint32_t index, uint64_t base, bool few)
{
	FILE *f = fopen("tests/abi/layout.txt", "re");
	char line[128], name[64];
	size_t offset, size, found = 0;
	bool inside = false;

	if (!f) {
		fprintf(stderr, "tests/abi/layout.txt can't be read: run this from the root of the repository\n");
		exit(2);
	}
	while (fgets(line, sizeof line, f)) {
		if (sscanf(line, "struct %63[^:]:", name) == 1)
			inside = !strcmp(name, of);
		else if (line[0] != ' ')
			inside = false;
		else if (inside && sscanf(line, "%zu %zu %63s", &offset, &size, name) == 3) {
			uint32_t step = size % 8 || offset % 8 ? 4 : 8;

			found++;
			for (size_t word = 0; word < size; word += step)
				if (!few || word < 2 * step || word + step >= size)
					place_add(p, of, index, name, word, base + offset + word, step);
		}
	}
	fclose(f);
	if (!found) {
		fprintf(stderr, "struct %s is not in tests/abi/layout.txt\n", of);
		exit(2);
	}
}

/*
 * All of an object: info, the producer page, the slots and areas up to `slots` of each role, and the first `words`
 * words of the nodes.
 */
static inline void places_of_object(struct places *p, const struct mqshm_info *plan, uint32_t slots, size_t words, bool few)
{
	uint32_t producers = plan->max_producers < slots ? plan->max_producers : slots;
	uint32_t consumers = plan->max_consumers < slots ? plan->max_consumers : slots;

	places_of_struct(p, "mqshm_info", 0, 0, few);
	places_of_struct(p, "mqshm_producer_page", 0, plan->producer_offset, few);
	for (uint32_t i = 0; i < producers; i++)
		places_of_struct(p, "mqshm_participant", i, plan->participants_offset + i * sizeof(struct mqshm_participant),
				 few);
	for (uint32_t i = 0; i < consumers; i++) {
		uint32_t slot = plan->max_producers + i;

		places_of_struct(p, "mqshm_participant", slot,
				 plan->participants_offset + slot * sizeof(struct mqshm_participant), few);
		places_of_struct(p, "mqshm_consumer_area", i, plan->consumers_offset + (uint64_t)i * plan->consumer_stride,
				 few);
	}
	for (size_t word = 0; word < words && word < plan->ring_bytes / 8; word++)
		place_add(p, "nodes", 0, "word", 8 * word, plan->nodes_offset + 8 * word, 8);
}

/* Values near which lengths, positions, counts, states, words and bits go wrong. */
static const uint64_t nasty[] = {
	0, 1, 2, 3, 4, 7, 8, 9, 23, 24, 25, 31, 63, 64, 65, 127, 128, 255, 256, 257, 1000, 4095, 4096, 4097, 1 << 16,
	(1 << 20) - 8, 1 << 20, (1 << 20) + 64, 1 << 30, (1 << 30) + 1, 0x7fffffff, 0x80000000, 0x80000001, 0xfffffff8,
	0xffffffff, 1ull << 32, 2ull << 32, 3ull << 32, (1ull << 32) + 64, (1ull << 32) + 0xffffffff, 1ull << 40,
	1ull << 48, 1ull << 62, (1ull << 63) - 64, (1ull << 63) - 1, 1ull << 63, (1ull << 63) + 64, UINT64_MAX - 63,
	UINT64_MAX - 7, UINT64_MAX - 1, UINT64_MAX, 0x0101010101010101, 0xaaaaaaaaaaaaaaaa,
};
#define NASTY (sizeof nasty / sizeof *nasty)

/* The same, relative to what stands there and to the geometry. n: 0 .. PLACE_VALUES - 1 */
#define PLACE_VALUES (NASTY + 20)
static inline uint64_t place_value(size_t n, uint64_t now, const struct mqshm_info *plan)
{
	const uint64_t near[] = {
		now + 1, now - 1, now + 8, now - 8, now + 64, now - 64, now + (1u << 8), now + (1ull << 32), now ^ 1, now ^ 2,
		now ^ (1ull << 31), ~now, now + plan->ring_bytes, now - plan->ring_bytes, plan->ring_bytes,
		plan->ring_bytes - 8, plan->ring_bytes + 8, plan->total_bytes, plan->nodes_offset, plan->block_size + 1,
	};

	_Static_assert(sizeof near / sizeof *near == PLACE_VALUES - NASTY, "PLACE_VALUES");
	return n < NASTY ? nasty[n] : near[n - NASTY];
}

/* Text from shared memory may be anything: what is said about it is one printable line. */
static inline bool is_sentence(const char *text)
{
	if (!*text)
		return false;
	for (; *text; text++)
		if ((unsigned char)*text < ' ' || *text == 0x7f)
			return false;
	return true;
}

#endif
