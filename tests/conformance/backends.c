/* SPDX-License-Identifier: MIT */
/* MQSHM_BACKEND: which backends there are, where queues are found, and where they are created. With the module and without. */
#include <grp.h>

#include "conformance/peers.h"
#include "mqshm/watch.h"

static void use(const char *backend)
{
	REQUIRE_EQ(setenv("MQSHM_BACKEND", backend, 1), 0);
}

static bool module_is_there(void)
{
	return !access("/dev/mqshm/control", R_OK | W_OK);
}

/* Where a queue that is on none is created. */
static const char *first_choice(void)
{
	return module_is_there() ? "kernel" : "posix";
}

static void check_backend(const char *name, const char *backend)
{
	struct mqshm_stat *s = NULL;

	MUST(mqshm_queue_stat(name, &s), 0);
	CHECK_STR(s->backend, backend);
	mqshm_stat_free(s);
}

TEST(unknown_ones_are_refused)
{
	use("nonsense");
	EXPECT(mqshm_queue_create(test_queue("none"), NULL), -EINVAL);
	CHECK_STR(mqshm_last_error(), "MQSHM_BACKEND is 'nonsense', not auto, kernel or posix");
}

TEST(each_by_its_name)
{
	const char *name = test_queue("named");

	use("posix");
	MUST(mqshm_queue_create(name, NULL), 0);
	check_backend(name, "posix");
	EXPECT(mqshm_queue_remove(name, 0), 0);
	use("kernel");
	if (module_is_there()) {
		MUST(mqshm_queue_create(name, NULL), 0);
		check_backend(name, "kernel");
		use("posix");
		check_gone(name);
		use("kernel");
		EXPECT(mqshm_queue_remove(name, 0), 0);
		check_gone(name);
	} else {
		struct mqshm_producer *p;

		EXPECT(mqshm_queue_create(name, NULL), -ENODEV);
		CHECK_STR(mqshm_last_error(), "the kernel module is not loaded: no /dev/mqshm/control");
		EXPECT(mqshm_producer_open(&p, name, NULL, NULL), -ENODEV);
	}
}

TEST(what_is_on_the_second_is_found)
{
	struct mqshm_queue_options q = geometry(8, 64, MQSHM_PERSISTENT);
	const char *name = test_queue("old");
	struct mqshm_producer *p;
	struct mqshm_consumer *c;
	char out[64];

	use("posix");
	MUST(mqshm_queue_create(name, &q), 0);
	use("auto");
	check_backend(name, "posix");
	EXPECT(mqshm_queue_create(name, &q), 1);
	p = open_producer(name, &q);
	c = open_consumer(name, NULL, MQSHM_FROM_OLDEST, 0);
	EXPECT(mqshm_producer_push(p, "it", 2, 0), 0);
	EXPECT(mqshm_consumer_pop(c, out, sizeof out, NULL, 0), 2);
	EXPECT(mqshm_queue_remove(name, 0), -EBUSY);
	EXPECT(mqshm_queue_evict(name, (uint32_t)mqshm_consumer_id(c)), 0);
	EXPECT(mqshm_consumer_close(c), 0);
	EXPECT(mqshm_producer_close(p), 0);
	q.flags |= MQSHM_CREATE_ONLY;
	EXPECT(mqshm_queue_create(name, &q), -EEXIST);
	EXPECT(mqshm_producer_open(&p, name, &q, NULL), -EEXIST);
	EXPECT(mqshm_queue_gc(name, NULL, NULL), 0);
	EXPECT(mqshm_queue_remove(name, 0), 0);
	check_gone(name);
	EXPECT(mqshm_queue_gc(name, NULL, NULL), -ENOENT);
}

struct listed {
	const char *names[2];
	int seen[2];
	char backends[2][16];
};

static int note(const struct mqshm_stat *s, void *arg)
{
	struct listed *l = arg;

	for (int i = 0; i < 2; i++)
		if (!strcmp(s->name, l->names[i])) {
			l->seen[i]++;
			memcpy(l->backends[i], s->backend, sizeof l->backends[i]);
		}
	return 0;
}

TEST(list_shows_both)
{
	struct listed l = { .names = { test_queue("one"), test_queue("two") } };

	use("posix");
	MUST(mqshm_queue_create(l.names[0], NULL), 0);
	use("auto");
	MUST(mqshm_queue_create(l.names[1], NULL), 0);
	CHECK(CALL(mqshm_queue_list(note, &l)) >= 2);
	CHECK_EQ(l.seen[0], 1);
	CHECK_EQ(l.seen[1], 1);
	CHECK_STR(l.backends[0], "posix");
	CHECK_STR(l.backends[1], first_choice());
	for (int i = 0; i < 2; i++)
		EXPECT(mqshm_queue_remove(l.names[i], 0), 0);
}

static void create_late(void *arg)
{
	struct mqshm_queue_options q = geometry(8, 64, MQSHM_PERSISTENT);

	use("posix");
	MUST(mqshm_queue_create(arg, &q), 0);
}

TEST(waited_for_on_both)
{
	char name[64];
	struct mqshm_consumer *c;
	pid_t pid;

	snprintf(name, sizeof name, "%s", test_queue("late"));
	use("auto");
	pid = spawn(create_late, name);
	c = open_consumer(name, NULL, MQSHM_FROM_OLDEST, 0); /* waits */
	join(pid);
	EXPECT(mqshm_consumer_close(c), 0);
	check_backend(name, "posix");
	EXPECT(mqshm_queue_remove(name, 0), 0);
}

static void expect_event(struct mqshm_watch *w, const char *queue, uint32_t type)
{
	struct mqshm_watch_event e = { .type = 0 };

	MUST(mqshm_watch_next(w, &e, stall_ms()), 0);
	CHECK_STR(e.queue, queue);
	REQUIRE_EQ(e.type, type);
}

static void die_attached(void *arg)
{
	open_consumer(arg, NULL, MQSHM_FROM_OLDEST, 0);
	raise(SIGKILL);
}

/* The life of a queue, on whatever backend it is, seen by a watch of both. */
static void watch_one(struct mqshm_watch *w, const char *backend, char *name)
{
	struct mqshm_watch_event e;
	struct mqshm_producer *p;
	int status = 0;
	pid_t pid;

	use(backend);
	MUST(mqshm_queue_create(name, NULL), 0);
	expect_event(w, name, MQSHM_WATCH_CREATED);
	p = open_producer(name, NULL);
	expect_event(w, name, MQSHM_WATCH_ATTACHED);
	pid = spawn(die_attached, name);
	expect_event(w, name, MQSHM_WATCH_ATTACHED);
	expect_event(w, name, MQSHM_WATCH_DIED);
	REQUIRE_EQ(waitpid(pid, &status, 0), pid);
	EXPECT(mqshm_producer_close(p), 0);
	expect_event(w, name, MQSHM_WATCH_LEFT);
	expect_event(w, name, MQSHM_WATCH_CLOSED);
	expect_event(w, name, MQSHM_WATCH_REMOVED);
	EXPECT(mqshm_watch_next(w, &e, 0), -EAGAIN);
}

TEST(a_watch_sees_both)
{
	char names[2][64];
	const char *list[] = { names[0], names[1] };
	struct mqshm_watch *w;

	snprintf(names[0], sizeof names[0], "%s", test_queue("first"));
	snprintf(names[1], sizeof names[1], "%s", test_queue("second"));
	use("auto");
	MUST(mqshm_watch_open(&w, list, 2, 0), 0);
	watch_one(w, first_choice(), names[0]);
	watch_one(w, "posix", names[1]);
	EXPECT(mqshm_watch_close(w), 0);
}

#define NOBODY 65534

/* Who may not open /dev/mqshm/control uses what others have created there, and creates on posix. */
static void use_as_nobody(void *arg)
{
	struct mqshm_queue_options q = geometry(8, 64, 0);
	char(*names)[64] = arg, out[64];
	bool module = module_is_there();
	struct mqshm_producer *p;
	struct mqshm_consumer *c;

	REQUIRE_EQ(setgroups(0, NULL), 0);
	REQUIRE_EQ(setgid(NOBODY), 0);
	REQUIRE_EQ(setuid(NOBODY), 0);
	use("auto");
	check_backend(names[0], module ? "kernel" : "posix");
	c = open_consumer(names[0], NULL, MQSHM_FROM_OLDEST, 0);
	EXPECT(mqshm_consumer_pop(c, out, sizeof out, NULL, 0), 2);
	EXPECT(mqshm_consumer_close(c), 0);
	CHECK(CALL(mqshm_queue_remove(names[0], 0)) < 0);
	EXPECT(mqshm_queue_remove(names[1], 0), -ENOENT);
	p = open_producer(names[1], &q);
	check_backend(names[1], "posix");
	EXPECT(mqshm_producer_close(p), 0);
	if (!module)
		return;
	use("kernel");
	check_backend(names[0], "kernel");
	EXPECT(mqshm_producer_open(&p, names[1], &q, NULL), -EACCES);
	CHECK_STR(mqshm_last_error(), "/dev/mqshm/control may not be opened: only by root and the group mqshm");
	EXPECT(mqshm_queue_create(names[1], NULL), -EACCES);
	EXPECT(mqshm_queue_remove(names[1], 0), -ENOENT);
	EXPECT(mqshm_queue_remove(names[0], 0), -EACCES);
}

TEST(who_may_not_create_on_kernel)
{
	struct mqshm_queue_options q = geometry(8, 64, MQSHM_PERSISTENT);
	struct mqshm_producer *p;
	char names[2][64];

	if (geteuid())
		SKIP("needs root, to become another user");
	q.mode = 0666;
	snprintf(names[0], sizeof names[0], "%s", test_queue("rights"));
	snprintf(names[1], sizeof names[1], "%s", test_queue("none"));
	use("auto");
	MUST(mqshm_queue_create(names[0], &q), 0);
	p = open_producer(names[0], NULL);
	EXPECT(mqshm_producer_push(p, "it", 2, 0), 0);
	join(spawn(use_as_nobody, names));
	EXPECT(mqshm_producer_close(p), 0);
	EXPECT(mqshm_queue_remove(names[0], 0), 0);
}
