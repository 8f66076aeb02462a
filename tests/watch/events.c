/* SPDX-License-Identifier: MIT */
/*
 * What a watch tells: each event of queues and participants, once and in order; deaths before anybody repairs them; and
 * what has come and gone between two looks. It never changes what it looks at.
 */
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "watch/watch_test.h"

static struct mqshm_queue_options queue_options(void)
{
	return geometry(NODES, BLOCK, 0);
}

TEST(life_of_a_queue)
{
	struct mqshm_queue_options options = queue_options();
	const char *name = test_queue("life");
	struct mqshm_watch *w = open_watch(name, 0);
	const struct mqshm_watch_event *e;
	struct mqshm_producer *p;
	struct mqshm_consumer *c;
	char comm[16];

	prctl(PR_GET_NAME, comm);
	MUST(mqshm_queue_create(name, &options), 0);
	e = NEXT(w, MQSHM_WATCH_CREATED, QUEUE, -1);
	CHECK(!strcmp(e->queue, name));
	CHECK_EQ(e->pid, 0);
	CHECK(e->time_ns > 1000000000000000000u);
	c = open_consumer(name, NULL, MQSHM_FROM_OLDEST, 0);
	e = NEXT(w, MQSHM_WATCH_ATTACHED, CONSUMER, 0);
	CHECK_EQ(e->pid, getpid());
	CHECK(!strcmp(e->comm, comm));
	CHECK_EQ(e->name[0], 0);
	p = open_producer(name, NULL);
	NEXT(w, MQSHM_WATCH_ATTACHED, PRODUCER, 0);
	MUST(mqshm_producer_close(p), 0);
	NEXT(w, MQSHM_WATCH_LEFT, PRODUCER, 0);
	NEXT(w, MQSHM_WATCH_CLOSED, QUEUE, -1);
	p = open_producer(name, NULL);
	NEXT(w, MQSHM_WATCH_ATTACHED, PRODUCER, 0);
	MUST(mqshm_producer_fail(p), 0);
	NEXT(w, MQSHM_WATCH_LEFT, PRODUCER, 0);
	NEXT(w, MQSHM_WATCH_CRASHED, QUEUE, -1);
	MUST(mqshm_consumer_close(c), 0);
	check_gone(name); /* watched or not */
	NEXT(w, MQSHM_WATCH_LEFT, CONSUMER, 0);
	NEXT(w, MQSHM_WATCH_REMOVED, QUEUE, -1);
	MUST(mqshm_queue_create(name, &options), 0);
	NEXT(w, MQSHM_WATCH_CREATED, QUEUE, -1);
	MUST(mqshm_queue_remove(name, 0), 0);
	NEXT(w, MQSHM_WATCH_REMOVED, QUEUE, -1);
	nothing_more(w);
	MUST(mqshm_watch_close(w), 0);
}

TEST(what_is_there)
{
	struct mqshm_queue_options options = queue_options();
	const char *name = test_queue("there");
	struct mqshm_producer *p = open_producer(name, &options);
	struct mqshm_consumer *c = open_consumer(name, NULL, MQSHM_FROM_OLDEST, 0);
	struct mqshm_watch *w = open_watch(name, 0);

	NEXT(w, MQSHM_WATCH_THERE, QUEUE, -1);
	NEXT(w, MQSHM_WATCH_THERE, PRODUCER, 0);
	NEXT(w, MQSHM_WATCH_THERE, CONSUMER, 0);
	nothing_more(w);
	MUST(mqshm_watch_close(w), 0);
	w = open_watch(name, MQSHM_WATCH_NEW);
	take_event(w, 0, -EAGAIN);
	MUST(mqshm_consumer_close(c), 0);
	NEXT(w, MQSHM_WATCH_LEFT, CONSUMER, 0);
	MUST(mqshm_producer_close(p), 0);
	NEXT(w, MQSHM_WATCH_LEFT, PRODUCER, 0);
	NEXT(w, MQSHM_WATCH_CLOSED, QUEUE, -1);
	NEXT(w, MQSHM_WATCH_REMOVED, QUEUE, -1);
	MUST(mqshm_watch_close(w), 0);
}

struct peer {
	const char *name;
	bool producer, create;
	const char *consumer_name;
	uint32_t ready;
};

static void attach_and_stay(void *arg)
{
	struct peer *s = arg;
	struct mqshm_queue_options options = queue_options();
	struct mqshm_consumer_options how = { .size = sizeof how, .name = s->consumer_name,
					      .lease_ms = s->consumer_name ? 60000 : 0 };
	struct mqshm_consumer *c;

	if (s->producer)
		open_producer(s->name, s->create ? &options : NULL);
	else
		MUST(mqshm_consumer_open(&c, s->name, NULL, &how), 0);
	SET(s->ready, 1);
	for (;;)
		pause();
}

static pid_t start_peer(const char *name, bool producer, bool create, const char *consumer_name)
{
	struct peer *s = shared_memory(sizeof *s);
	pid_t pid;

	*s = (struct peer){ .name = name, .producer = producer, .create = create, .consumer_name = consumer_name };
	pid = spawn(attach_and_stay, s);
	UNTIL(GET(s->ready));
	return pid;
}

/* Does the kernel's module have it? Then a death is repaired at once. */
static bool repairs_itself(const char *name)
{
	struct mqshm_stat *s;
	bool is;

	MUST(mqshm_queue_stat(name, &s), 0);
	is = !strcmp(s->backend, "kernel");
	mqshm_stat_free(s);
	return is;
}

/* kill -9: told before anybody repairs it, and not again when somebody does. Also of the one who made the object. */
TEST(deaths)
{
	const char *name = test_queue("deaths");
	struct mqshm_watch *w = open_watch(name, 0);
	pid_t producer = start_peer(name, true, true, NULL), consumer = start_peer(name, false, false, NULL);
	const struct mqshm_watch_event *e;
	bool repaired = repairs_itself(name);

	NEXT(w, MQSHM_WATCH_CREATED, QUEUE, -1);
	NEXT(w, MQSHM_WATCH_ATTACHED, PRODUCER, 0);
	NEXT(w, MQSHM_WATCH_ATTACHED, CONSUMER, 0);
	kill_now(consumer);
	e = NEXT(w, MQSHM_WATCH_DIED, CONSUMER, 0);
	CHECK_EQ(e->pid, consumer);
	CHECK_EQ(STAT(name, consumer_count), repaired ? 0 : 1); /* it only looks */
	kill_now(producer);
	e = NEXT(w, MQSHM_WATCH_DIED, PRODUCER, 0);
	CHECK_EQ(e->pid, producer);
	if (!repaired) {
		nothing_more(w);
		CHECK_EQ(STAT(name, consumers[0].alive), 0);
		CHECK_EQ(STAT(name, producer_count), 1);
		MUST(mqshm_queue_gc(name, NULL, NULL), 1);
	}
	NEXT(w, MQSHM_WATCH_CRASHED, QUEUE, -1);
	NEXT(w, MQSHM_WATCH_REMOVED, QUEUE, -1);
	nothing_more(w);
	MUST(mqshm_watch_close(w), 0);
}

/* The slot of a dead one is given to the next between two looks. */
TEST(dead_and_followed)
{
	struct mqshm_queue_options options = geometry(NODES, BLOCK, MQSHM_PERSISTENT);
	const char *name = test_queue("followed");
	struct mqshm_watch *w = open_watch(name, 0);
	struct mqshm_consumer *c;
	pid_t child;
	int id;

	MUST(mqshm_queue_create(name, &options), 0);
	child = start_peer(name, false, false, NULL);
	NEXT(w, MQSHM_WATCH_CREATED, QUEUE, -1);
	NEXT(w, MQSHM_WATCH_ATTACHED, CONSUMER, 0);
	kill_now(child);
	c = open_consumer(name, NULL, MQSHM_FROM_OLDEST, 0);
	id = mqshm_consumer_id(c);
	if (repairs_itself(name)) { /* and takes ended slots last */
		NEXT(w, MQSHM_WATCH_DIED, CONSUMER, 0);
	} else {
		CHECK_EQ(id, 0);
		CHECK_STR(NEXT(w, MQSHM_WATCH_LEFT, CONSUMER, 0)->text, "not seen how");
	}
	CHECK_EQ(events[event_next - 1].pid, child);
	CHECK_EQ(NEXT(w, MQSHM_WATCH_ATTACHED, CONSUMER, id)->pid, getpid());
	MUST(mqshm_consumer_close(c), 0);
	NEXT(w, MQSHM_WATCH_LEFT, CONSUMER, id);
	MUST(mqshm_queue_remove(name, 0), 0);
	NEXT(w, MQSHM_WATCH_REMOVED, QUEUE, -1);
	MUST(mqshm_watch_close(w), 0);
}

TEST(came_and_went_between_two_looks)
{
	struct mqshm_queue_options options = geometry(NODES, BLOCK, MQSHM_PERSISTENT);
	const char *name = test_queue("between");
	struct mqshm_watch *w = open_watch(name, 0);

	MUST(mqshm_queue_create(name, &options), 0);
	NEXT(w, MQSHM_WATCH_CREATED, QUEUE, -1);
	MUST(mqshm_consumer_close(open_consumer(name, NULL, MQSHM_FROM_OLDEST, 0)), 0);
	NEXT(w, MQSHM_WATCH_ATTACHED, CONSUMER, 0);
	NEXT(w, MQSHM_WATCH_LEFT, CONSUMER, 0);
	for (int i = 0; i < 5; i++)
		MUST(mqshm_consumer_close(open_consumer(name, NULL, MQSHM_FROM_OLDEST, 0)), 0);
	CHECK_EQ(NEXT(w, MQSHM_WATCH_MISSED, CONSUMER, 0)->count, 4);
	NEXT(w, MQSHM_WATCH_ATTACHED, CONSUMER, 0);
	NEXT(w, MQSHM_WATCH_LEFT, CONSUMER, 0);
	nothing_more(w);
	/* All of its life, and the queue's too. */
	MUST(mqshm_producer_close(open_producer(name, NULL)), 0);
	MUST(mqshm_queue_remove(name, 0), 0);
	NEXT(w, MQSHM_WATCH_ATTACHED, PRODUCER, 0);
	NEXT(w, MQSHM_WATCH_LEFT, PRODUCER, 0);
	NEXT(w, MQSHM_WATCH_CLOSED, QUEUE, -1);
	NEXT(w, MQSHM_WATCH_REMOVED, QUEUE, -1);
	MUST(mqshm_queue_create(name, &options), 0);
	MUST(mqshm_queue_remove(name, 0), 0);
	NEXT(w, MQSHM_WATCH_CREATED, QUEUE, -1);
	NEXT(w, MQSHM_WATCH_REMOVED, QUEUE, -1);
	nothing_more(w);
	MUST(mqshm_watch_close(w), 0);
}

static void slow(uint32_t policy, uint32_t type)
{
	struct mqshm_queue_options options = queue_options();
	const char *name = test_queue("slow");
	struct mqshm_watch *w = open_watch(name, 0);
	const struct mqshm_watch_event *e;
	struct mqshm_producer *p;
	struct mqshm_consumer *c;
	char block[BLOCK] = "";

	options.slow_policy = policy;
	options.slow_ms = 60;
	p = open_producer(name, &options);
	c = open_consumer(name, NULL, MQSHM_FROM_OLDEST, 0);
	NEXT(w, MQSHM_WATCH_CREATED, QUEUE, -1);
	NEXT(w, MQSHM_WATCH_ATTACHED, PRODUCER, 0);
	NEXT(w, MQSHM_WATCH_ATTACHED, CONSUMER, 0);
	for (int i = 0; i < 2 * NODES; i++)
		MUST(mqshm_producer_push(p, block, BLOCK, stall_ms()), 0);
	e = NEXT(w, type, CONSUMER, 0);
	CHECK_STR(e->text, "too slow");
	CHECK_EQ(e->by_pid, getpid());
	MUST(mqshm_consumer_close(c), 0);
	if (policy == MQSHM_SLOW_DEMOTE)
		NEXT(w, MQSHM_WATCH_LEFT, CONSUMER, 0);
	MUST(mqshm_producer_close(p), 0);
	NEXT(w, MQSHM_WATCH_LEFT, PRODUCER, 0);
	NEXT(w, MQSHM_WATCH_CLOSED, QUEUE, -1);
	NEXT(w, MQSHM_WATCH_REMOVED, QUEUE, -1);
	nothing_more(w);
	MUST(mqshm_watch_close(w), 0);
}

TEST(evicted_as_too_slow)
{
	slow(MQSHM_SLOW_EVICT, MQSHM_WATCH_EVICTED);
}

TEST(demoted_as_too_slow)
{
	slow(MQSHM_SLOW_DEMOTE, MQSHM_WATCH_DEMOTED);
}

TEST(evicted_by_hand_or_force)
{
	struct mqshm_queue_options options = queue_options();
	const char *name = test_queue("hand");
	struct mqshm_watch *w = open_watch(name, 0);
	struct mqshm_consumer *a = open_consumer(name, &options, MQSHM_FROM_OLDEST, 0);
	struct mqshm_consumer *b = open_consumer(name, NULL, MQSHM_FROM_OLDEST, 0);

	NEXT(w, MQSHM_WATCH_CREATED, QUEUE, -1);
	NEXT(w, MQSHM_WATCH_ATTACHED, CONSUMER, 0);
	NEXT(w, MQSHM_WATCH_ATTACHED, CONSUMER, 1);
	MUST(mqshm_queue_evict(name, 1), 0);
	CHECK_STR(NEXT(w, MQSHM_WATCH_EVICTED, CONSUMER, 1)->text, "by hand");
	MUST(mqshm_queue_remove(name, MQSHM_FORCE), 0);
	CHECK_STR(NEXT(w, MQSHM_WATCH_EVICTED, CONSUMER, 0)->text, "the queue was removed");
	NEXT(w, MQSHM_WATCH_REMOVED, QUEUE, -1);
	mqshm_consumer_close(a);
	mqshm_consumer_close(b);
	nothing_more(w);
	MUST(mqshm_watch_close(w), 0);
}

TEST(leases)
{
	struct mqshm_queue_options options = geometry(NODES, BLOCK, MQSHM_PERSISTENT);
	struct mqshm_consumer_options how = { .size = sizeof how, .name = "plot", .lease_ms = 60000 };
	const char *name = test_queue("lease");
	struct mqshm_watch *w = open_watch(name, 0);
	const struct mqshm_watch_event *e;
	struct mqshm_consumer *c;
	pid_t child;

	MUST(mqshm_queue_create(name, &options), 0);
	NEXT(w, MQSHM_WATCH_CREATED, QUEUE, -1);
	child = start_peer(name, false, false, "plot");
	e = NEXT(w, MQSHM_WATCH_ATTACHED, CONSUMER, 0);
	CHECK(!strcmp(e->name, "plot"));
	kill_now(child);
	if (!repairs_itself(name)) {
		NEXT(w, MQSHM_WATCH_DIED, CONSUMER, 0);
		MUST(mqshm_queue_gc(name, NULL, NULL), 0);
	}
	CHECK_STR(NEXT(w, MQSHM_WATCH_LEASED, CONSUMER, 0)->text, "died");
	MUST(mqshm_consumer_open(&c, name, NULL, &how), 0);
	e = NEXT(w, MQSHM_WATCH_RESUMED, CONSUMER, 0);
	CHECK_EQ(e->pid, getpid());
	MUST(mqshm_consumer_close(c), 0);
	CHECK_STR(NEXT(w, MQSHM_WATCH_LEASED, CONSUMER, 0)->text, "left");
	how.lease_ms = 1;
	MUST(mqshm_consumer_open(&c, name, NULL, &how), 0);
	NEXT(w, MQSHM_WATCH_RESUMED, CONSUMER, 0);
	MUST(mqshm_consumer_close(c), 0);
	NEXT(w, MQSHM_WATCH_LEASED, CONSUMER, 0);
	nap();
	UNTIL(mqshm_queue_gc(name, NULL, NULL) == 0 && STAT(name, consumer_count) == 0);
	NEXT(w, MQSHM_WATCH_EXPIRED, CONSUMER, 0);
	MUST(mqshm_queue_remove(name, 0), 0);
	NEXT(w, MQSHM_WATCH_REMOVED, QUEUE, -1);
	nothing_more(w);
	MUST(mqshm_watch_close(w), 0);
}

TEST(only_these_names)
{
	struct mqshm_queue_options options = queue_options();
	const char *a = test_queue("a"), *b = test_queue("b"), *c = test_queue("c");
	const char *names[] = { a, c }, *bad = "no/name";
	struct mqshm_watch *w = NULL;

	EXPECT(mqshm_watch_open(&w, &bad, 1, 0), -EINVAL);
	CHECK(w == NULL);
	EXPECT(mqshm_watch_open(&w, NULL, 0, 2), -EINVAL);
	MUST(mqshm_watch_open(&w, names, 2, 0), 0);
	MUST(mqshm_queue_create(b, &options), 0);
	MUST(mqshm_queue_create(a, &options), 0);
	MUST(mqshm_queue_create(c, &options), 0);
	CHECK(!strcmp(NEXT(w, MQSHM_WATCH_CREATED, QUEUE, -1)->queue, a));
	CHECK(!strcmp(NEXT(w, MQSHM_WATCH_CREATED, QUEUE, -1)->queue, c));
	MUST(mqshm_queue_remove(a, 0), 0);
	MUST(mqshm_queue_remove(b, 0), 0);
	MUST(mqshm_queue_remove(c, 0), 0);
	NEXT(w, MQSHM_WATCH_REMOVED, QUEUE, -1);
	NEXT(w, MQSHM_WATCH_REMOVED, QUEUE, -1);
	nothing_more(w);
	MUST(mqshm_watch_close(w), 0);
	MUST(mqshm_watch_close(NULL), 0);
}

/* ---- what can't be read ---- */

/* No descriptor is left for a second queue; when the first goes, it is seen. */
TEST(too_few_descriptors)
{
	struct mqshm_queue_options options = geometry(NODES, BLOCK, MQSHM_PERSISTENT);
	const char *names[] = { test_queue("one"), test_queue("two") };
	struct mqshm_watch *w = NULL;
	struct rlimit limit, few;
	int free_fd;

	MUST(mqshm_watch_open(&w, names, 2, 0), 0);
	MUST(mqshm_queue_create(names[0], &options), 0);
	NEXT(w, MQSHM_WATCH_CREATED, QUEUE, -1);
	MUST(mqshm_queue_create(names[1], &options), 0);
	free_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	close(free_fd);
	REQUIRE_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
	few = (struct rlimit){ (rlim_t)free_fd, limit.rlim_max };
	REQUIRE_EQ(setrlimit(RLIMIT_NOFILE, &few), 0);
	NEXT(w, MQSHM_WATCH_CREATED, QUEUE, -1);
	CHECK_EQ(NEXT(w, MQSHM_WATCH_UNREADABLE, QUEUE, -1)->error, -EMFILE);
	REQUIRE_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
	take_event(w, 2000, -ETIMEDOUT); /* tried again each second */
	MUST(mqshm_consumer_close(open_consumer(names[1], NULL, MQSHM_FROM_OLDEST, 0)), 0);
	NEXT(w, MQSHM_WATCH_ATTACHED, CONSUMER, 0);
	NEXT(w, MQSHM_WATCH_LEFT, CONSUMER, 0);
	MUST(mqshm_queue_remove(names[0], 0), 0);
	MUST(mqshm_queue_remove(names[1], 0), 0);
	NEXT(w, MQSHM_WATCH_REMOVED, QUEUE, -1);
	NEXT(w, MQSHM_WATCH_REMOVED, QUEUE, -1);
	MUST(mqshm_watch_close(w), 0);
}

/* ---- the handle ---- */

static void in_a_child(void *arg)
{
	struct mqshm_watch_event event;

	EXPECT(mqshm_watch_next(arg, &event, 0), -ECHILD);
	EXPECT(mqshm_watch_close(arg), -ECHILD);
}

static void on_alarm(int signal_number)
{
	(void)signal_number;
}

TEST(waits_and_forks)
{
	struct mqshm_queue_options options = queue_options();
	const char *name = test_queue("waits");
	struct mqshm_watch *w = open_watch(name, 0);
	struct sigaction action = { .sa_handler = on_alarm };
	struct mqshm_watch_event event;
	timer_t timer;

	take_event(w, 0, -EAGAIN);
	take_event(w, 20, -ETIMEDOUT);
	sigaction(SIGUSR1, &action, NULL);
	REQUIRE_EQ(timer_create(CLOCK_MONOTONIC, &(struct sigevent){ .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1 },
				&timer), 0);
	timer_settime(timer, 0, &(struct itimerspec){ { 0, 30000000 }, { 0, 30000000 } }, NULL);
	take_event(w, -1, -EINTR);
	timer_delete(timer);
	join(spawn(in_a_child, w));
	MUST(mqshm_queue_create(name, &options), 0); /* the child has taken nothing from us */
	NEXT(w, MQSHM_WATCH_CREATED, QUEUE, -1);
	MUST(mqshm_queue_remove(name, 0), 0);
	MUST(mqshm_watch_next(w, &event, stall_ms()), 0);
	CHECK_EQ(event.type, MQSHM_WATCH_REMOVED);
	MUST(mqshm_watch_close(w), 0);
}
