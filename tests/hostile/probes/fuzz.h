/* SPDX-License-Identifier: MIT */
/* How fuzz targets take their input: bytes from the front, zeros when there are no more. */
#ifndef MQSHM_HOSTILE_FUZZ_H
#define MQSHM_HOSTILE_FUZZ_H

#include "hostile/probes/places.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
	const uint8_t *at;
	size_t left;
};

static inline unsigned input_8(struct input *in)
{
	if (!in->left)
		return 0;
	in->left--;
	return *in->at++;
}

static inline unsigned input_16(struct input *in)
{
	unsigned low = input_8(in);

	return low | input_8(in) << 8;
}

static inline uint64_t input_64(struct input *in)
{
	uint64_t value = 0;

	for (int i = 0; i < 8; i++)
		value |= (uint64_t)input_8(in) << 8 * i;
	return value;
}

/* Of the table of nasty values, or any. */
static inline uint64_t input_value(struct input *in, uint64_t now, const struct mqshm_info *plan)
{
	unsigned n = input_8(in);

	return n < 2 * PLACE_VALUES ? place_value(n % PLACE_VALUES, now, plan) : input_64(in);
}

#endif
