/* SPDX-License-Identifier: MIT */
/*
 * A clock for who polls until something is as it should be, with naps in between: a round counts as what it takes where
 * there is not too much to do. Virtual machines stand for 20 s, or crawl, and then nothing has had its chance; but whoever
 * polls has not been served often, either.
 */
#ifndef MQSHM_TEST_FELT_H
#define MQSHM_TEST_FELT_H

#include <stdint.h>
#include <time.h>

#define FELT_MOST_NS 2000000u /* of a round */

static inline uint64_t felt_ns(void)
{
	static uint64_t last, felt;
	struct timespec t;
	uint64_t now, round;

	clock_gettime(CLOCK_MONOTONIC, &t);
	now = (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
	round = last ? now - last : 0;
	last = now;
	felt += round < FELT_MOST_NS ? round : FELT_MOST_NS;
	return felt;
}

#endif
