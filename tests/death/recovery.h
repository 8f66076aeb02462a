/* SPDX-License-Identifier: MIT */
/*
 * What the tests of death share: killing at a random moment, knowing whether the kill hit inside a call, and the
 * distribution of the time until the survivors went on.
 */
#ifndef MQSHM_TEST_RECOVERY_H
#define MQSHM_TEST_RECOVERY_H

#include "conformance/payload.h"
#include "conformance/peers.h"

#define KILLS 200

/* MQSHM_TEST_KILLS, where that many would take too long. */
static inline int kills(void)
{
	const char *given = getenv("MQSHM_TEST_KILLS");
	int n = given ? atoi(given) : KILLS;

	return n < 4 ? 4 : n > KILLS ? KILLS : n;
}

struct recovery {
	const char *what;
	uint64_t ns[KILLS];
	int count, in_op, asleep;
};

static inline int by_time(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* A kill, and whether it hit inside a call. Returns the time from which recovery counts. */
static inline uint64_t recovery_kill(struct recovery *r, pid_t victim, uint32_t *in_op)
{
	bool sleeps = asleep(victim);
	uint64_t start = test_now_ns();

	kill_now(victim);
	if (GET(*in_op)) {
		r->in_op++;
		r->asleep += sleeps;
	}
	SET(*in_op, 0);
	return start;
}

static inline void recovery_add(struct recovery *r, uint64_t start)
{
	if (r->count < KILLS)
		r->ns[r->count++] = test_now_ns() - start;
}

static inline void recovery_print(struct recovery *r)
{
	qsort(r->ns, (size_t)r->count, sizeof r->ns[0], by_time);
	REQUIRE(r->count > 0);
	printf("# recovery %s: p50 %.2f ms p99 %.2f ms max %.2f ms (%d kills, %d inside an operation, %d of them asleep)\n",
	       r->what, (double)r->ns[r->count / 2] / 1e6, (double)r->ns[r->count * 99 / 100] / 1e6,
	       (double)r->ns[r->count - 1] / 1e6, r->count, r->in_op, r->asleep);
	CHECK(r->ns[r->count - 1] < stall_ns());
}

/* A random moment: after some more of what the victim counts, and then some instructions. */
static inline void random_moment(uint64_t *random, uint64_t *counter, uint64_t most)
{
	uint64_t until = GET(*counter) + test_random(random) % most, spins = test_random(random) % 3000;

	UNTIL(GET(*counter) >= until);
	for (volatile uint64_t i = 0; i < spins; i++)
		;
}

/* Mark a call, so that a kill knows whether it hit one. */
#define IN_OP(flag, expr)             \
	({                            \
		SET(flag, 1);         \
		__auto_type r_ = CALL(expr); \
		SET(flag, 0);         \
		r_;                   \
	})

#endif
