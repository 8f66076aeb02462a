/* SPDX-License-Identifier: MIT */
/*
 * A nap lasts as long as it was told to. cross.sh runs this for other processors, and for 32 bit with a 64-bit time_t,
 * where what the kernel reads is no struct timespec.
 */
#include "backend.h"
#include "test.h"

/* Nobody wakes, so what comes back early has misread how long to sleep; what misread it the other way is killed. */
static void nap(uint64_t ns)
{
	uint32_t word = 1;
	uint64_t before = mqshm_now_ns();

	CHECK_EQ(mqshm_backend_posix.sleep(NULL, &word, 1, ns), 0);
	CHECK(mqshm_now_ns() - before >= ns);
}

TEST(naps_of_all_lengths)
{
	nap(1);
	nap(1000);
	nap(1000000);
	nap(50000000);
	nap(1050000000);
}

TEST(a_word_that_has_changed_is_not_slept_on)
{
	uint32_t word = 2;
	uint64_t before = mqshm_now_ns();

	CHECK_EQ(mqshm_backend_posix.sleep(NULL, &word, 1, 50000000000u), 0);
	CHECK(mqshm_now_ns() - before < 50000000000u);
}
