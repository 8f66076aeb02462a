/* SPDX-License-Identifier: MIT */
/*
 * Shows what becomes of a reliable consumer that lives but does not read: it blocks (default), is evicted or made lossy
 * after its time, or evicted by hand; and that it, the producer and stat say so. The slow ones are stopped processes.
 */
#include "conformance/payload.h"
#include "conformance/peers.h"
#include "waitable.h"

#define NODES 8
#define SLOW_MS 120

struct shared {
	const char *name;
	uint32_t ready, go, told, policy, slot;
	int32_t pid;
	uint64_t lag, blocked_ns, missed;
};

static struct mqshm_queue_options slow_queue(uint32_t policy, uint32_t flags)
{
	struct mqshm_queue_options q = geometry(NODES, 8, flags);

	q.slow_policy = policy;
	q.slow_ms = policy ? SLOW_MS : 0;
	return q;
}

static void note(const struct mqshm_slow *slow, void *arg)
{
	struct shared *s = arg;

	CHECK_STR(slow->queue, s->name);
	s->policy = slow->policy;
	s->slot = slow->id;
	s->pid = slow->pid;
	s->lag = slow->lag;
	s->blocked_ns = slow->blocked_ns;
	s->told++;
}

static struct mqshm_producer *open_telling(struct shared *s, const struct mqshm_queue_options *q)
{
	struct mqshm_producer_options options = { .size = sizeof options, .slow = note, .slow_arg = s };
	struct mqshm_producer *p = NULL;

	MUST(mqshm_producer_open(&p, s->name, q, &options), 0);
	return p;
}

/* Reads two, says so, then is stopped; goes on until an error that is not the end of the stream must be told. */
static void read_two_then_stop(void *arg)
{
	struct shared *s = arg;
	struct mqshm_consumer *c = open_consumer(s->name, NULL, MQSHM_FROM_OLDEST, 0);
	struct mqshm_message m;
	uint64_t value, next = 2;
	ssize_t n;

	SET(s->ready, 1);
	MUST(mqshm_consumer_pop(c, &value, sizeof value, NULL, stall_ms()), 8);
	MUST(mqshm_consumer_pop(c, &value, sizeof value, NULL, stall_ms()), 8);
	EXPECT(mqshm_consumer_demoted(c), 0);
	SET(s->ready, 2);
	raise(SIGSTOP);
	if (GET(s->go) == 1) { /* evicted */
		EXPECT(mqshm_consumer_pop(c, &value, sizeof value, NULL, stall_ms()), -ECONNABORTED);
		CHECK_STR(mqshm_last_error(), "evicted");
		EXPECT(mqshm_consumer_pop(c, &value, sizeof value, NULL, 0), -ECONNABORTED);
	} else {
		while ((n = CALL(mqshm_consumer_pop(c, &value, sizeof value, &m, stall_ms()))) == 8) {
			REQUIRE(m.sequence >= next);
			CHECK_EQ(value, m.sequence);
			s->missed += m.sequence - next;
			next = m.sequence + 1;
		}
		CHECK_EQ(n, -ESHUTDOWN);
		EXPECT(mqshm_consumer_missed(c), s->missed);
		EXPECT(mqshm_consumer_demoted(c), 1);
	}
	EXPECT(mqshm_consumer_close(c), 0);
}

static void wait_stopped(pid_t pid)
{
	int status;

	REQUIRE_EQ(waitpid(pid, &status, WUNTRACED), pid);
	REQUIRE(WIFSTOPPED(status));
}

/* Push count messages whose value is their sequence. */
static uint64_t push_numbers(struct mqshm_producer *p, uint64_t from, uint64_t count)
{
	for (uint64_t i = from; i < from + count; i++)
		MUST(mqshm_producer_push(p, &i, sizeof i, stall_ms()), 0);
	return from + count;
}

static pid_t start_slow(struct shared *s, struct mqshm_producer *p, uint64_t *next)
{
	pid_t pid = spawn(read_two_then_stop, s);

	UNTIL(GET(s->ready) == 1);
	*next = push_numbers(p, 0, 2);
	UNTIL(GET(s->ready) == 2);
	wait_stopped(pid);
	return pid;
}

static void check_told(const struct shared *s, uint32_t policy, pid_t pid)
{
	CHECK_EQ(s->told, 1);
	CHECK_EQ(s->policy, policy);
	CHECK_EQ(s->slot, 0);
	CHECK_EQ(s->pid, pid);
	CHECK_EQ(s->lag, NODES);
	CHECK(s->blocked_ns >= SLOW_MS * 1000000ull);
}

TEST(blocks_by_default_and_stat_says_who_and_since_when)
{
	struct mqshm_queue_options q = slow_queue(MQSHM_SLOW_BLOCK, 0);
	struct shared *s = shared_memory(sizeof *s);
	struct mqshm_producer *p;
	uint64_t next;
	pid_t pid;

	s->name = test_queue("block");
	p = open_telling(s, &q);
	pid = start_slow(s, p, &next);
	next = push_numbers(p, next, NODES);
	EXPECT(mqshm_producer_push(p, &next, sizeof next, 3 * SLOW_MS), -ETIMEDOUT);
	CHECK_STR(mqshm_last_error(), "pid");
	CHECK_EQ(STAT(s->name, blocked_by), 0);
	CHECK(STAT(s->name, consumers[0].blocks_ns) >= 3 * SLOW_MS * 1000000ull);
	CHECK_EQ(STAT(s->name, slow_policy), MQSHM_SLOW_BLOCK);
	CHECK_EQ(s->told, 0);
	SET(s->go, 2);
	kill(pid, SIGKILL);
	REQUIRE_EQ(waitpid(pid, NULL, 0), pid);
	MUST(mqshm_producer_push(p, &next, sizeof next, stall_ms()), 0);
	EXPECT(mqshm_producer_close(p), 0);
	check_gone(s->name);
}

static void evicted_after_its_time(uint32_t flags)
{
	struct mqshm_queue_options q = slow_queue(MQSHM_SLOW_EVICT, flags);
	struct shared *s = shared_memory(sizeof *s);
	struct mqshm_producer *p;
	struct mqshm_consumer *other;
	uint64_t next, value;
	pid_t pid;

	s->name = test_queue("evict");
	p = open_telling(s, &q);
	pid = start_slow(s, p, &next);
	other = open_consumer(s->name, NULL, MQSHM_FROM_OLDEST, 0);
	for (int i = 0; i < 2; i++)
		MUST(mqshm_consumer_pop(other, &value, sizeof value, NULL, 0), 8);
	next = push_numbers(p, next, NODES);
	for (int i = 0; i < NODES; i++)
		MUST(mqshm_consumer_pop(other, &value, sizeof value, NULL, 0), 8);
	next = push_numbers(p, next, 3); /* waits for the stopped one's time */
	check_told(s, MQSHM_SLOW_EVICT, pid);
	CHECK_EQ(STAT(s->name, evicted), 1);
	CHECK_EQ(STAT(s->name, consumer_count), 1);
	CHECK_EQ(STAT(s->name, blocked_by), -1);
	for (uint64_t i = next - 3; i < next; i++) {
		MUST(mqshm_consumer_pop(other, &value, sizeof value, NULL, 0), 8);
		CHECK_EQ(value, i);
	}
	SET(s->go, 1);
	kill(pid, SIGCONT);
	join(pid);
	EXPECT(mqshm_consumer_close(other), 0);
	EXPECT(mqshm_producer_close(p), 0);
	check_gone(s->name);
}

TEST(evicted_after_its_time_exclusive)
{
	evicted_after_its_time(0);
}

TEST(evicted_after_its_time_shared)
{
	evicted_after_its_time(MQSHM_SHARED);
}

TEST(demoted_after_its_time_and_told_by_missed)
{
	struct mqshm_queue_options q = slow_queue(MQSHM_SLOW_DEMOTE, 0);
	struct shared *s = shared_memory(sizeof *s);
	struct mqshm_producer *p;
	uint64_t next;
	pid_t pid;

	s->name = test_queue("demote");
	p = open_telling(s, &q);
	pid = start_slow(s, p, &next);
	next = push_numbers(p, next, 5 * NODES);
	check_told(s, MQSHM_SLOW_DEMOTE, pid);
	CHECK_EQ(STAT(s->name, demoted), 1);
	CHECK_EQ(STAT(s->name, evicted), 0);
	CHECK_EQ(STAT(s->name, consumer_count), 1);
	CHECK_EQ(STAT(s->name, consumers[0].demoted), 1);
	CHECK_EQ(STAT(s->name, consumers[0].lossy), 1);
	SET(s->go, 2);
	kill(pid, SIGCONT);
	EXPECT(mqshm_producer_close(p), 0);
	join(pid);
	CHECK(s->missed >= 4 * NODES && s->missed < 5 * NODES);
	check_gone(s->name);
}

/* Pushes that don't wait must end it too: time runs from the first that failed. */
TEST(pushes_that_do_not_wait_end_it_too)
{
	struct mqshm_queue_options q = slow_queue(MQSHM_SLOW_EVICT, 0);
	struct shared *s = shared_memory(sizeof *s);
	struct mqshm_producer *p;
	uint64_t next, fails = 0;
	pid_t pid;

	s->name = test_queue("try");
	p = open_telling(s, &q);
	pid = start_slow(s, p, &next);
	next = push_numbers(p, next, NODES);
	UNTIL(CALL(mqshm_producer_push(p, &next, sizeof next, 0)) == 0 || !++fails);
	CHECK(fails > 1);
	check_told(s, MQSHM_SLOW_EVICT, pid);
	SET(s->go, 1);
	kill(pid, SIGCONT);
	join(pid);
	EXPECT(mqshm_producer_close(p), 0);
	check_gone(s->name);
}

/* One that reads, however little, is not too slow. */
TEST(who_moves_is_not_too_slow)
{
	struct mqshm_queue_options q = slow_queue(MQSHM_SLOW_EVICT, 0);
	struct shared *s = shared_memory(sizeof *s);
	struct mqshm_consumer *c;
	struct mqshm_producer *p;
	uint64_t next, value, end = test_now_ns() + 4 * SLOW_MS * 1000000ull, read = 0, pushed = NODES;

	s->name = test_queue("little");
	p = open_telling(s, &q);
	c = open_consumer(s->name, NULL, MQSHM_FROM_OLDEST, 0);
	next = push_numbers(p, 0, NODES);
	while (test_now_ns() < end) { /* full nearly all the time */
		uint64_t until = test_now_ns() + SLOW_MS * 1000000ull / 4;

		while (test_now_ns() < until)
			if (CALL(mqshm_producer_push(p, &next, sizeof next, 0)) == 0)
				next++, pushed++;
			else
				nap();
		MUST(mqshm_consumer_pop(c, &value, sizeof value, NULL, 0), 8);
		CHECK_EQ(value, read++);
	}
	CHECK_EQ(s->told, 0);
	CHECK_EQ(STAT(s->name, evicted), 0);
	CHECK(pushed > NODES);
	EXPECT(mqshm_consumer_close(c), 0);
	EXPECT(mqshm_producer_close(p), 0);
}

TEST(evicted_by_hand)
{
	struct mqshm_queue_options q = geometry(NODES, 8, 0);
	struct shared *s = shared_memory(sizeof *s);
	struct mqshm_producer *p;
	struct mqshm_consumer *c;
	uint64_t next, value = 0;
	pid_t pid;

	s->name = test_queue("hand");
	EXPECT(mqshm_queue_evict(s->name, 0), -ENOENT);
	p = open_telling(s, &q);
	pid = start_slow(s, p, &next);
	c = open_consumer(s->name, NULL, MQSHM_FROM_LATEST, 0);
	EXPECT(mqshm_queue_evict(s->name, 7), -ESRCH);
	EXPECT(mqshm_queue_evict(s->name, 1000), -ESRCH);
	next = push_numbers(p, next, NODES);
	EXPECT(mqshm_producer_push(p, &next, sizeof next, 0), -EAGAIN);
	EXPECT(mqshm_queue_evict(s->name, 0), 0);
	EXPECT(mqshm_queue_evict(s->name, 0), -ESRCH);
	MUST(mqshm_consumer_pop(c, &value, sizeof value, NULL, 0), 8);
	EXPECT(mqshm_producer_push(p, &next, sizeof next, 0), 0);
	CHECK_EQ(s->told, 0);
	CHECK_EQ(STAT(s->name, evicted), 1);
	EXPECT(mqshm_queue_evict(s->name, (uint32_t)mqshm_consumer_id(c)), 0); /* our own, between two calls */
	EXPECT(mqshm_consumer_pop(c, &value, sizeof value, NULL, 0), -ECONNABORTED);
	CHECK_STR(mqshm_last_error(), "by hand");
	EXPECT(mqshm_consumer_release(c, 0), 0);
	EXPECT(mqshm_consumer_close(c), 0);
	SET(s->go, 1);
	kill(pid, SIGCONT);
	join(pid);
	EXPECT(mqshm_producer_close(p), 0);
	check_gone(s->name);
}

/* It learns that it was evicted also when it asks after the queue has gone with its last user. */
TEST(evicted_and_the_queue_gone)
{
	struct mqshm_queue_options q = slow_queue(MQSHM_SLOW_EVICT, 0);
	const char *name = test_queue("gone");
	struct mqshm_producer *p = open_producer(name, &q);
	struct mqshm_consumer *c = open_consumer(name, NULL, MQSHM_FROM_OLDEST, 0);
	uint64_t value;

	push_numbers(p, 0, 2 * NODES);
	EXPECT(mqshm_producer_close(p), 0);
	check_gone(name);
	EXPECT(mqshm_consumer_pop(c, &value, sizeof value, NULL, 0), -ECONNABORTED);
	CHECK_STR(mqshm_last_error(), "evicted");
	EXPECT(mqshm_consumer_close(c), 0);

	q.slow_policy = MQSHM_SLOW_DEMOTE; /* who was only demoted learns of the removal */
	p = open_producer(name, &q);
	c = open_consumer(name, NULL, MQSHM_FROM_OLDEST, 0);
	push_numbers(p, 0, 2 * NODES);
	EXPECT(mqshm_consumer_demoted(c), 1);
	EXPECT(mqshm_queue_remove(name, MQSHM_FORCE), 0);
	EXPECT(mqshm_consumer_pop(c, &value, sizeof value, NULL, 0), -ESTALE);
	EXPECT(mqshm_consumer_close(c), 0);
	EXPECT(mqshm_producer_close(p), 0);
}

/* What a zero-copy reader looks at while it is made lossy is only confirmed by release. */
TEST(demoted_while_it_looks)
{
	struct mqshm_queue_options q = slow_queue(MQSHM_SLOW_DEMOTE, 0);
	struct mqshm_message m[4];
	struct mqshm_consumer *c;
	struct mqshm_producer *p;
	const char *name = test_queue("looks");
	uint64_t next, value;

	p = open_producer(name, &q);
	c = open_consumer(name, NULL, MQSHM_FROM_OLDEST, 0);
	next = push_numbers(p, 0, NODES);
	EXPECT(mqshm_consumer_peek(c, m, 4, 0), 4);
	next = push_numbers(p, next, 2 * NODES); /* demotes it on the way */
	EXPECT(mqshm_consumer_release(c, 4), -ESTALE);
	EXPECT(mqshm_consumer_demoted(c), 1);
	MUST(mqshm_consumer_pop(c, &value, sizeof value, NULL, 0), 8);
	CHECK(value >= 2 * NODES && value < next);
	EXPECT(mqshm_consumer_missed(c), value);
	EXPECT(mqshm_consumer_close(c), 0);
	EXPECT(mqshm_producer_close(p), 0);
	check_gone(name);
}

/* A producer that is slow to punish must not hit who has come into the slot since. */
TEST(only_the_one_that_is_meant)
{
	struct mqshm_queue_options q = slow_queue(MQSHM_SLOW_DEMOTE, 0);
	const char *name = test_queue("meant");
	struct mqshm_producer *p = open_producer(name, &q);
	struct mqshm_consumer *c = open_consumer(name, NULL, MQSHM_FROM_OLDEST, 0);
	struct mqshm_waitable w;
	struct mqshm_mapping *m;
	uint32_t i, word;
	uint64_t value;

	push_numbers(p, 0, 2);
	mqshm_producer_waitable(p, &w);
	m = w.mapping;
	i = m->ring.max_producers + (uint32_t)mqshm_consumer_id(c);
	word = m->ring.participants[i].state;
	CHECK(!m->backend->evict(m, i, word - 0x100, MQSHM_WHY_SLOW));
	CHECK(!m->backend->demote(m, i, word - 0x100, MQSHM_WHY_SLOW));
	EXPECT(mqshm_consumer_pop(c, &value, sizeof value, NULL, 0), 8);
	EXPECT(mqshm_consumer_demoted(c), 0);
	CHECK(m->backend->demote(m, i, word, MQSHM_WHY_SLOW));
	EXPECT(mqshm_consumer_demoted(c), 1);
	EXPECT(mqshm_consumer_close(c), 0);
	EXPECT(mqshm_producer_close(p), 0);
	check_gone(name);
}

TEST(options_are_checked)
{
	struct mqshm_queue_options q = slow_queue(MQSHM_SLOW_EVICT, MQSHM_OVERWRITE);
	const char *name = test_queue("options");

	EXPECT(mqshm_queue_create(name, &q), -EINVAL);
	q = slow_queue(3, 0);
	EXPECT(mqshm_queue_create(name, &q), -EINVAL);
	q = slow_queue(MQSHM_SLOW_DEMOTE, 0);
	q.slow_ms = 0;
	EXPECT(mqshm_queue_create(name, &q), -EINVAL);
	q.slow_ms = MQSHM_SLOW_MS_MAX + 1u;
	EXPECT(mqshm_queue_create(name, &q), -EINVAL);
	q = geometry(8, 8, 0);
	q.slow_ms = 5;
	EXPECT(mqshm_queue_create(name, &q), -EINVAL);
	q = slow_queue(MQSHM_SLOW_DEMOTE, 0);
	EXPECT(mqshm_queue_create(name, &q), 0);
	q.slow_policy = MQSHM_SLOW_EVICT;
	EXPECT(mqshm_queue_create(name, &q), -EEXIST);
	CHECK_STR(mqshm_last_error(), "slow_policy");
	q = geometry(8, 8, 0);
	EXPECT(mqshm_queue_create(name, &q), 1);
	EXPECT(mqshm_queue_remove(name, 0), 0);
}
