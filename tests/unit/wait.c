/* SPDX-License-Identifier: MIT */
/* Shows who is looked after while waiting: also by one that never comes to sleep. */
#include "test.h"
#include "wait.h"

static int looks, answer;

static int look_after(void *arg)
{
	(void)arg;
	looks++;
	return answer;
}

/* What is waited for is there as soon as it is spun for, again and again. */
TEST(who_never_sleeps_looks_too)
{
	struct mqshm_patience patience = { .spin_ns = 1000000000, .spin_most_ns = 1000000000 };
	static struct mqshm_info info;
	struct mqshm_mapping m = { .backend = &mqshm_backend_posix, .ring = { .info = &info } };
	__u64 position = 1;

	for (answer = 0; answer >= -1; answer--) {
		struct mqshm_wait w = {
			.mapping = &m, .patience = &patience, .watch = &position, .until = 1, .check = look_after, .timeout_ms = -1,
		};

		looks = 0;
		patience.next_check_ns = 0; /* it is time */
		CHECK_EQ(mqshm_wait(&w), answer);
		CHECK_EQ(looks, 1);
	}
}
