/* SPDX-License-Identifier: MIT */
/*
 * Shows that stat tells the truth in every field and that list shows every queue once, in order; that neither makes the
 * looker a user of the queue; and what remove says while a queue is used.
 */
#include <sys/stat.h>

#include "conformance/payload.h"
#include "conformance/peers.h"

#define NODES 16
#define BLOCK 40

static uint64_t realtime(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

TEST(every_field)
{
	struct mqshm_queue_options q = geometry(NODES, BLOCK, MQSHM_SHARED | MQSHM_TIMESTAMP_OFF);
	uint64_t before = realtime();
	const char *name = test_queue("stat");
	struct mqshm_consumer *reliable, *lossy;
	struct mqshm_producer *p, *second;
	struct mqshm_stat *s = (void *)1;
	unsigned char out[BLOCK];

	q.metadata = "a\0b";
	q.metadata_size = 3;
	q.max_consumers = 5;
	q.align = 16;
	q.mode = 0640;
	umask(0777); /* not applied */
	MUST(mqshm_queue_create(name, &q), 0);
	MUST(mqshm_queue_create(name, &q), 1);
	MUST(mqshm_queue_stat(name, &s), 0);
	CHECK_EQ(strcmp(s->name, name), 0);
	CHECK(s->backend[0] != 0);
	CHECK_EQ(s->error, 0);
	CHECK_EQ(s->node_count, NODES);
	CHECK_EQ(s->block_size, BLOCK);
	CHECK_EQ(s->max_consumers, 5);
	CHECK_EQ(s->max_producers, 64);
	CHECK_EQ(s->align, 16);
	CHECK_EQ(s->flags, MQSHM_SHARED | MQSHM_TIMESTAMP_OFF);
	CHECK_EQ(s->mode, 0640);
	CHECK_EQ(s->uid, geteuid());
	CHECK_EQ(s->gid, getegid());
	CHECK_EQ(s->abi_version, 2);
	CHECK(s->ring_bytes >= (NODES + 1) * 80);
	CHECK(s->total_bytes > s->ring_bytes);
	CHECK(s->created_at_ns >= before && s->created_at_ns <= realtime());
	CHECK_EQ(s->producer_state, MQSHM_PRODUCER_NONE);
	CHECK_EQ(s->metadata_size, 3);
	CHECK_EQ(memcmp(s->metadata, "a\0b", 3), 0);
	CHECK_EQ(s->total_pushed + s->total_popped + s->overwrite_count + s->bytes_pushed + s->stalls + s->depth + s->kept, 0);
	CHECK_EQ(s->consumers_ever + s->producer_count + s->consumer_count, 0);
	CHECK_EQ(s->blocked_by, -1);
	mqshm_stat_free(s);

	p = open_producer(name, NULL);
	second = open_producer(name, NULL);
	for (int i = 0; i < 3; i++)
		MUST(mqshm_producer_push(p, out, BLOCK, 0), 0);
	reliable = open_consumer(name, NULL, MQSHM_FROM_OLDEST, 0);
	lossy = open_consumer(name, NULL, MQSHM_FROM_LATEST, MQSHM_LOSSY);
	for (int i = 3; i < NODES; i++)
		MUST(mqshm_producer_push(second, out, BLOCK, 0), 0);
	EXPECT(mqshm_producer_push(p, out, 1, 0), -EAGAIN);
	MUST(mqshm_consumer_pop(lossy, out, BLOCK, NULL, 0), BLOCK);
	MUST(mqshm_queue_stat(name, &s), 0);
	CHECK_EQ(s->producer_state, MQSHM_PRODUCER_ACTIVE);
	CHECK_EQ(s->total_pushed, NODES);
	CHECK_EQ(s->total_popped, 1);
	CHECK_EQ(s->overwrite_count, 0);
	CHECK(s->bytes_pushed >= NODES * 80 && s->bytes_pushed <= s->ring_bytes);
	CHECK_EQ(s->stalls, 1);
	CHECK_EQ(s->depth, NODES);
	CHECK_EQ(s->kept, NODES);
	CHECK_EQ(s->consumers_ever, 2);
	CHECK_EQ(s->blocked_by, CALL(mqshm_consumer_id(reliable)));
	REQUIRE_EQ(s->producer_count, 2);
	REQUIRE_EQ(s->consumer_count, 2);
	for (int i = 0; i < 2; i++) {
		CHECK_EQ(s->producers[i].id, i);
		CHECK_EQ(s->producers[i].pid, getpid());
		CHECK_EQ(s->producers[i].alive, 1);
		CHECK_EQ(strcmp(s->producers[i].comm, "stat_list"), 0);
		CHECK(s->producers[i].attached_at_ns >= before && s->producers[i].attached_at_ns <= realtime());
		CHECK_EQ(s->consumers[i].id, i ? CALL(mqshm_consumer_id(lossy)) : CALL(mqshm_consumer_id(reliable)));
		CHECK_EQ(s->consumers[i].pid, getpid());
		CHECK_EQ(s->consumers[i].alive, 1);
		CHECK_EQ(s->consumers[i].lossy, i);
		CHECK_EQ(strcmp(s->consumers[i].comm, "stat_list"), 0);
		CHECK_EQ(s->consumers[i].lag, i ? NODES - 4 : NODES);
		CHECK_EQ(s->consumers[i].missed, 0);
		CHECK_EQ(s->consumers[i].popped, i);
		CHECK(s->consumers[i].attached_at_ns >= before && s->consumers[i].attached_at_ns <= realtime());
		CHECK(s->consumers[i].last_access_ns + 1000000000u > before && s->consumers[i].last_access_ns <= realtime());
	}
	mqshm_stat_free(s);

	for (int i = 0; i < NODES; i++)
		MUST(mqshm_consumer_pop(reliable, out, BLOCK, NULL, 0), BLOCK);
	CHECK_EQ(STAT(name, blocked_by), -1);
	CHECK_EQ(STAT(name, depth), 0);
	CHECK_EQ(STAT(name, total_popped), NODES + 1);
	EXPECT(mqshm_consumer_close(reliable), 0);
	CHECK_EQ(STAT(name, total_popped), NODES + 1);
	CHECK_EQ(STAT(name, depth), NODES); /* what a new one would get */
	EXPECT(mqshm_producer_close(p), 0);
	CHECK_EQ(STAT(name, producer_state), MQSHM_PRODUCER_ACTIVE);
	EXPECT(mqshm_producer_close(second), 0);
	CHECK_EQ(STAT(name, producer_state), MQSHM_PRODUCER_CLOSED);
	EXPECT(mqshm_consumer_close(lossy), 0);
	check_gone(name);
	mqshm_stat_free(NULL);
}

struct seen {
	const char *mine[3];
	char last[64];
	int count, found, end_at;
};

static int look(const struct mqshm_stat *stat, void *arg)
{
	struct seen *seen = arg;

	CHECK(strcmp(seen->last, stat->name) < 0); /* each once, in order */
	snprintf(seen->last, sizeof seen->last, "%s", stat->name);
	seen->count++;
	for (int i = 0; i < 3; i++)
		if (!strcmp(stat->name, seen->mine[i])) {
			CHECK_EQ(stat->error, 0);
			CHECK_EQ(stat->node_count, i + 1);
			seen->found++;
		}
	return seen->count == seen->end_at ? 1000 + seen->count : 0;
}

TEST(list_shows_each_queue_once_in_order)
{
	struct seen seen = { .mine = { test_queue("B"), test_queue("a"), test_queue("a-") } };

	for (uint32_t i = 0; i < 3; i++) {
		struct mqshm_queue_options q = geometry(i + 1, 8, 0);

		MUST(mqshm_queue_create(seen.mine[i], &q), 0);
	}
	CHECK(CALL(mqshm_queue_list(look, &seen)) == seen.count);
	CHECK_EQ(seen.found, 3);
	seen = (struct seen){ .mine = { seen.mine[0], seen.mine[1], seen.mine[2] }, .end_at = 2 };
	EXPECT(mqshm_queue_list(look, &seen), 1002);
	for (int i = 0; i < 3; i++) {
		EXPECT(mqshm_queue_remove(seen.mine[i], 0), 0);
		check_gone(seen.mine[i]);
		EXPECT(mqshm_queue_remove(seen.mine[i], 0), -ENOENT);
	}
}

TEST(remove_names_the_users_and_force_takes_their_roles)
{
	struct mqshm_queue_options q = geometry(4, 8, 0);
	const char *name = test_queue("remove");
	struct mqshm_producer *p = open_producer(name, &q), *p2;
	struct mqshm_consumer *c = open_consumer(name, NULL, MQSHM_FROM_OLDEST, 0);
	struct mqshm_message m;
	char out[8], pid[24];
	void *data;

	snprintf(pid, sizeof pid, "pid %d (", (int)getpid());
	MUST(mqshm_producer_push(p, "x", 1, 0), 0);
	EXPECT(mqshm_queue_remove(name, 0), -EBUSY);
	CHECK_STR(mqshm_last_error(), "in use by");
	CHECK_STR(mqshm_last_error(), pid);
	EXPECT(mqshm_queue_remove(name, 8), -EINVAL);
	EXPECT(mqshm_queue_gc(name, NULL, NULL), 0);
	MUST(mqshm_producer_reserve(p, 8, &data, 0), 0);
	EXPECT(mqshm_queue_remove(name, MQSHM_FORCE), 0);
	check_gone(name);
	memset(data, 1, 8); /* still our memory: no SIGBUS */
	EXPECT(mqshm_producer_commit(p, 8), -ESTALE);
	EXPECT(mqshm_producer_push(p, "y", 1, -1), -ESTALE);
	CHECK_STR(mqshm_last_error(), "removed");
	EXPECT(mqshm_producer_wait_drained(p, -1), -ESTALE);
	EXPECT(mqshm_producer_wait_consumers(p, 5, 0, -1), -ESTALE);
	EXPECT(mqshm_consumer_pop(c, out, sizeof out, NULL, -1), -ESTALE);
	EXPECT(mqshm_consumer_pop(c, out, sizeof out, NULL, 0), -ESTALE);
	EXPECT(mqshm_consumer_peek(c, &m, 1, -1), -ESTALE);
	EXPECT(mqshm_consumer_pop_batch(c, &m, 1, 1, out, sizeof out, -1), -ESTALE);
	/* The name is free, and the old handles don't touch the new queue. */
	p2 = open_producer(name, &q);
	EXPECT(mqshm_producer_close(p), 0);
	EXPECT(mqshm_consumer_close(c), 0);
	CHECK_EQ(STAT(name, producer_count), 1);
	EXPECT(mqshm_producer_close(p2), 0);
	check_gone(name);
}
