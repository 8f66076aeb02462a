/* SPDX-License-Identifier: MIT */
/*
 * See manager.h. A shared handle is busy from lock to unlock; who opens or closes it has it for itself too. Two kinds of
 * mutexes, held for a few instructions only, never while a queue is opened, waited for or closed:
 *
 *	mqshm_manager.mutex   the table, and each entry's state in it
 *	mqshm_shared.mutex    busy, owner, closed; may be taken while the manager's is held, not the other way round
 *
 * Who closes says so first (closed), then cancels the wait that goes on, then waits until it is not busy: each thread that
 * has it leaves, and nobody gets it any more. Only then is the handle closed, and nobody is in it.
 *
 * Handles are opened and used by the functions of mqshm.h and merge.h alone, so on every backend.
 */
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

#include "backend.h"
#include "error.h"
#include "mqshm/manager.h"

#define OPEN_SLICE_MS 50	    /* how soon an open that waits for a queue notices that it is not wanted any more */
#define CANCEL_AGAIN_NS 100000000u  /* to a thread that went on waiting after a cancel */

enum state { OPENING, OPEN, CLOSING };

struct mqshm_shared {
	pthread_mutex_t mutex;
	pthread_cond_t changed; /* not busy any more */
	pthread_t owner;	/* while busy */
	bool busy;
	bool closed;	     /* nobody gets it any more */
	uint32_t waiting;    /* threads, for changed */
	uint32_t references; /* the manager's while it is in the table, and the users' */
	uint32_t kind;	       /* MQSHM_MANAGED_... */
	unsigned forks;
	char name[MQSHM_NAME_MAX + 1];
	struct mqshm_queue_info info; /* producers, consumers */

	struct mqshm_producer *producer;   /* one of these, by kind. Set before others can find it, NULL when closed */
	struct mqshm_consumer **consumers; /* a consumer's one; a merge's all */
	size_t count;
	struct mqshm_merge *merge;

	uint64_t uses, contended;

	enum state state; /* with the manager's mutex */
	struct mqshm_shared *next;
};

struct mqshm_manager {
	pthread_mutex_t mutex;
	pthread_cond_t changed; /* the table, or calls */
	struct mqshm_shared *table;
	uint32_t calls; /* threads in a function of the manager */
	bool closing;
	unsigned forks;
};

/* What a caller asks for. */
struct request {
	uint32_t kind;
	const char *const *names;
	size_t count;
	int sync_timeout_ms;
	const struct mqshm_queue_options *queue;
	const struct mqshm_producer_options *producer;
	const struct mqshm_consumer_options *consumer;
};

static unsigned forks; /* of which this process is the child: a copied mutex may be held by a thread that is not there */

static void after_fork_in_child(void)
{
	forks++;
}

static void register_fork_handler(void)
{
	pthread_atfork(NULL, NULL, after_fork_in_child);
}

static int child(void)
{
	return mqshm_error(-ECHILD, "the manager belongs to a parent process");
}

static int closed(const struct mqshm_shared *s)
{
	return mqshm_error(-EBADF, "%s of queue '%s' was closed by its manager",
			   s->kind == MQSHM_MANAGED_PRODUCER ? "the producer"
			   : s->kind == MQSHM_MANAGED_CONSUMER ? "the consumer" : "the merge", s->name);
}

static bool is_closed(struct mqshm_shared *s)
{
	bool is;

	pthread_mutex_lock(&s->mutex);
	is = s->closed;
	pthread_mutex_unlock(&s->mutex);
	return is;
}

/* ---- a shared handle: lock, use, unlock ---- */

/* With the mutex: wait until it is not busy, or (not for who closes it) closed, or a CLOCK_MONOTONIC time. */
static int wait_for_turn(struct mqshm_shared *s, uint64_t deadline, bool to_close)
{
	struct timespec until = { (time_t)(deadline / 1000000000u), (long)(deadline % 1000000000u) };
	int error = 0;

	s->waiting++;
	while (s->busy && (to_close || !s->closed) && !error)
		error = deadline == MQSHM_FOREVER ? pthread_cond_wait(&s->changed, &s->mutex)
						  : pthread_cond_timedwait(&s->changed, &s->mutex, &until);
	s->waiting--;
	return s->busy && (to_close || !s->closed) ? -ETIMEDOUT : 0;
}

/* *left is what remains of timeout_ms then. With the mutex. */
static int wait_to_lock(struct mqshm_shared *s, int timeout_ms, int *left)
{
	uint64_t deadline, now;

	if (pthread_equal(s->owner, pthread_self()))
		return mqshm_error(-EDEADLK, "this thread has the lock of queue '%s' already", s->name);
	if (timeout_ms == 0)
		return -EAGAIN;
	deadline = mqshm_deadline(timeout_ms);
	if (wait_for_turn(s, deadline, false))
		return mqshm_error(-ETIMEDOUT, "timed out after %d ms: another thread is using queue '%s'", timeout_ms,
				   s->name);
	s->contended++;
	if (timeout_ms > 0) {
		now = mqshm_now_ns();
		*left = now < deadline ? (int)((deadline - now) / 1000000u) : 0;
	}
	return 0;
}

static int lock(struct mqshm_shared *s, int timeout_ms, int *left)
{
	int rc = 0;

	*left = timeout_ms;
	if (s->forks != forks)
		return child();
	pthread_mutex_lock(&s->mutex);
	if (s->busy && !s->closed)
		rc = wait_to_lock(s, timeout_ms, left);
	if (!rc && s->closed)
		rc = closed(s);
	if (!rc) {
		s->busy = true;
		s->owner = pthread_self();
		s->uses++;
	}
	pthread_mutex_unlock(&s->mutex);
	return rc;
}

static void unlock(struct mqshm_shared *s)
{
	pthread_mutex_lock(&s->mutex);
	s->busy = false;
	if (s->waiting && s->closed)
		pthread_cond_broadcast(&s->changed); /* none of them takes it, and who closes it is among them */
	else if (s->waiting)
		pthread_cond_signal(&s->changed);
	pthread_mutex_unlock(&s->mutex);
}

int mqshm_shared_lock(struct mqshm_shared *s, int timeout_ms)
{
	KEEP_ERRNO;
	int left;

	return lock(s, timeout_ms, &left);
}

void mqshm_shared_unlock(struct mqshm_shared *s)
{
	if (s->forks == forks)
		unlock(s);
}

struct mqshm_producer *mqshm_shared_producer(const struct mqshm_shared *s)
{
	return s->producer;
}

struct mqshm_consumer *mqshm_shared_consumer(const struct mqshm_shared *s)
{
	return s->kind == MQSHM_MANAGED_CONSUMER && s->consumers ? s->consumers[0] : NULL;
}

struct mqshm_merge *mqshm_shared_merge(const struct mqshm_shared *s)
{
	return s->merge;
}

static int wrong_kind(const struct mqshm_shared *s, const char *what)
{
	return mqshm_error(-EINVAL, "the shared handle of queue '%s' is no %s", s->name, what);
}

int mqshm_shared_push(struct mqshm_shared *s, const void *data, size_t size, int timeout_ms)
{
	KEEP_ERRNO;
	int rc, left;

	if (s->kind != MQSHM_MANAGED_PRODUCER)
		return wrong_kind(s, "producer");
	rc = lock(s, timeout_ms, &left);
	if (rc)
		return rc;
	rc = mqshm_producer_push(s->producer, data, size, left);
	unlock(s);
	return rc == -ECANCELED && is_closed(s) ? closed(s) : rc;
}

ssize_t mqshm_shared_pop(struct mqshm_shared *s, void *buffer, size_t capacity, struct mqshm_message *message,
			 int timeout_ms)
{
	KEEP_ERRNO;
	ssize_t rc;
	int left;

	if (s->kind == MQSHM_MANAGED_PRODUCER)
		return wrong_kind(s, "consumer or merge");
	rc = lock(s, timeout_ms, &left);
	if (rc)
		return rc;
	if (s->kind == MQSHM_MANAGED_MERGE)
		rc = mqshm_merge_next(s->merge, buffer, capacity, message, NULL, left);
	else
		rc = mqshm_consumer_pop(s->consumers[0], buffer, capacity, message, left);
	unlock(s);
	return rc == -ECANCELED && is_closed(s) ? closed(s) : rc;
}

void mqshm_shared_get(struct mqshm_shared *s)
{
	__atomic_add_fetch(&s->references, 1, __ATOMIC_RELAXED);
}

void mqshm_shared_put(struct mqshm_shared *s)
{
	if (!s || s->forks != forks || __atomic_sub_fetch(&s->references, 1, __ATOMIC_ACQ_REL))
		return;
	pthread_cond_destroy(&s->changed);
	pthread_mutex_destroy(&s->mutex);
	free(s);
}

/* ---- opening and closing one, while nobody else can have it ---- */

static void close_handles(struct mqshm_shared *s)
{
	mqshm_producer_close(s->producer);
	mqshm_merge_close(s->merge);
	for (size_t i = 0; s->consumers && i < s->count; i++)
		mqshm_consumer_close(s->consumers[i]);
	free(s->consumers);
	s->producer = NULL;
	s->merge = NULL;
	s->consumers = NULL;
}

/* Waiting for a queue can't be cancelled: so it is done in slices. */
static int open_consumer(struct mqshm_shared *s, struct mqshm_consumer **out, const char *name, const struct request *r)
{
	struct mqshm_consumer_options options;
	uint64_t deadline, now;
	int rc;

	if (!r->consumer || r->consumer->size != sizeof options || r->consumer->wait_ms == 0)
		return mqshm_consumer_open(out, name, r->queue, r->consumer);
	options = *r->consumer;
	deadline = mqshm_deadline(options.wait_ms);
	do {
		now = mqshm_now_ns();
		options.wait_ms = now >= deadline ? 0
				  : deadline - now < OPEN_SLICE_MS * 1000000u ? (int)((deadline - now + 999999) / 1000000)
									      : OPEN_SLICE_MS;
		if (is_closed(s))
			return closed(s);
		rc = mqshm_consumer_open(out, name, r->queue, &options);
	} while ((rc == -ENOENT || rc == -ETIMEDOUT) && now < deadline);
	return rc;
}

static int open_handles(struct mqshm_shared *s, const struct request *r)
{
	int rc = 0;

	if (r->kind == MQSHM_MANAGED_PRODUCER) {
		rc = mqshm_producer_open(&s->producer, r->names[0], r->queue, r->producer);
		return rc ? rc : mqshm_producer_info(s->producer, &s->info);
	}
	s->consumers = calloc(r->count, sizeof(struct mqshm_consumer *));
	if (!s->consumers)
		return mqshm_error(-ENOMEM, "no memory for %zu consumers", r->count);
	s->count = r->count;
	for (size_t i = 0; !rc && i < r->count; i++)
		rc = open_consumer(s, &s->consumers[i], r->names[i], r);
	if (rc || r->kind == MQSHM_MANAGED_CONSUMER)
		return rc ? rc : mqshm_consumer_info(s->consumers[0], &s->info);
	rc = mqshm_merge_open(&s->merge, r->sync_timeout_ms);
	for (size_t i = 0; !rc && i < r->count; i++)
		rc = mqshm_merge_add(s->merge, s->consumers[i]);
	return rc;
}

/* Wherever it waits. A cancel that finds no wait ends the next one: there is none after closed. */
static void cancel(struct mqshm_shared *s)
{
	if (s->producer)
		mqshm_producer_cancel(s->producer);
	for (size_t i = 0; s->consumers && i < s->count; i++)
		mqshm_consumer_cancel(s->consumers[i]);
}

static struct mqshm_shared *new_shared(const struct request *r)
{
	struct mqshm_shared *s = calloc(1, sizeof *s);
	pthread_condattr_t attributes;

	if (!s)
		return NULL;
	pthread_mutex_init(&s->mutex, NULL);
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&s->changed, &attributes);
	pthread_condattr_destroy(&attributes);
	s->references = 1;
	s->kind = r->kind;
	s->forks = forks;
	strcpy(s->name, r->names[0]); /* mqshm_check_name() has looked at its length */
	return s;
}

/* ---- the table; with the manager's mutex ---- */

/* Each function of the manager is between these: it is not freed meanwhile. */
static int enter(struct mqshm_manager *m)
{
	if (m->forks != forks)
		return child();
	pthread_mutex_lock(&m->mutex);
	m->calls++;
	return 0;
}

static int leave(struct mqshm_manager *m, int rc)
{
	m->calls--;
	pthread_cond_broadcast(&m->changed);
	pthread_mutex_unlock(&m->mutex);
	return rc;
}

static struct mqshm_shared *find(const struct mqshm_manager *m, uint32_t kind, const char *name)
{
	struct mqshm_shared *s;

	for (s = m->table; s; s = s->next)
		if (s->kind == kind && !strcmp(s->name, name))
			break;
	return s;
}

static bool is_there(const struct mqshm_manager *m, const struct mqshm_shared *shared)
{
	for (const struct mqshm_shared *s = m->table; s; s = s->next)
		if (s == shared)
			return true;
	return false;
}

static void remove_from_table(struct mqshm_manager *m, struct mqshm_shared *s)
{
	struct mqshm_shared **link = &m->table;

	while (*link != s)
		link = &(*link)->next;
	*link = s->next;
	pthread_cond_broadcast(&m->changed);
	mqshm_shared_put(s);
}

/* Does this thread have its lock? Then it must not wait for who closes it. */
static bool is_ours(struct mqshm_shared *s)
{
	bool is;

	pthread_mutex_lock(&s->mutex);
	is = s->busy && pthread_equal(s->owner, pthread_self());
	pthread_mutex_unlock(&s->mutex);
	return is;
}

/* Nobody gets it any more; when this returns nobody has it. */
static void drive_out(struct mqshm_shared *s)
{
	int rc;

	do {
		cancel(s);
		pthread_mutex_lock(&s->mutex);
		rc = wait_for_turn(s, mqshm_now_ns() + CANCEL_AGAIN_NS, true);
		pthread_mutex_unlock(&s->mutex);
	} while (rc);
}

static void set_closed(struct mqshm_shared *s)
{
	pthread_mutex_lock(&s->mutex);
	s->closed = true;
	pthread_mutex_unlock(&s->mutex);
}

/* Close one that is in the table, or wait until who closes it has. */
static int close_one(struct mqshm_manager *m, struct mqshm_shared *s)
{
	if (is_ours(s))
		return mqshm_error(-EDEADLK, "this thread has the lock of queue '%s'", s->name);
	set_closed(s);
	if (s->state == OPEN) {
		s->state = CLOSING;
		pthread_mutex_unlock(&m->mutex);
		drive_out(s);
		close_handles(s);
		pthread_mutex_lock(&m->mutex);
		remove_from_table(m, s);
		return 0;
	}
	mqshm_shared_get(s); /* that no other gets its address */
	while (is_there(m, s))
		pthread_cond_wait(&m->changed, &m->mutex);
	mqshm_shared_put(s);
	return 0;
}

static int match(const struct mqshm_shared *s, const struct mqshm_queue_options *given)
{
	struct mqshm_queue_options wanted;
	struct mqshm_info info = { 0 };
	int rc;

	if (!given)
		return 0;
	rc = mqshm_read_options(&wanted, given);
	if (rc)
		return rc;
	info.node_count = s->info.node_count;
	info.block_size = s->info.block_size;
	info.max_consumers = s->info.max_consumers;
	info.node_align = s->info.align;
	info.flags = s->info.flags;
	info.slow_policy = wanted.slow_policy; /* not known here */
	info.slow_ms = wanted.slow_ms;
	return mqshm_match(&info, s->name, &wanted);
}

/* Open it, outside of the manager's mutex: others find it and wait until it is open. */
static int open_one(struct mqshm_manager *m, struct mqshm_shared **out, const struct request *r)
{
	struct mqshm_shared *s = new_shared(r);
	int rc;

	if (!s)
		return mqshm_error(-ENOMEM, "no memory for a shared handle");
	s->state = OPENING;
	s->next = m->table;
	m->table = s;
	pthread_mutex_unlock(&m->mutex);
	rc = open_handles(s, r);
	pthread_mutex_lock(&m->mutex);
	if (!rc && is_closed(s))
		rc = closed(s);
	if (rc) {
		pthread_mutex_unlock(&m->mutex);
		close_handles(s);
		pthread_mutex_lock(&m->mutex);
		remove_from_table(m, s);
		return rc;
	}
	s->state = OPEN;
	pthread_cond_broadcast(&m->changed);
	mqshm_shared_get(s);
	*out = s;
	return 0;
}

/* Until another thread has opened or closed it. 0: look again. An open that is closed ends for all who wait for it. */
static int wait_for_another(struct mqshm_manager *m, struct mqshm_shared *s)
{
	bool opening = s->state == OPENING;
	int rc = 0;

	if (!opening && is_ours(s))
		return mqshm_error(-EDEADLK, "queue '%s' is being closed, and this thread has its lock", s->name);
	mqshm_shared_get(s);
	while (is_there(m, s) && s->state != OPEN)
		pthread_cond_wait(&m->changed, &m->mutex);
	if (opening && is_closed(s))
		rc = closed(s);
	mqshm_shared_put(s);
	return rc;
}

static int get(struct mqshm_manager *m, struct mqshm_shared **out, const struct request *r)
{
	struct mqshm_shared *s;
	int rc;

	*out = NULL;
	for (size_t i = 0; i < r->count; i++) {
		rc = mqshm_check_name(r->names[i]);
		if (rc)
			return rc;
	}
	rc = enter(m);
	if (rc)
		return rc;
	while ((s = r->kind == MQSHM_MANAGED_MERGE ? NULL : find(m, r->kind, r->names[0])) && s->state != OPEN) {
		rc = wait_for_another(m, s);
		if (rc)
			return leave(m, rc);
	}
	if (m->closing)
		return leave(m, mqshm_error(-EBADF, "the manager is being closed"));
	if (!s)
		return leave(m, open_one(m, out, r));
	rc = match(s, r->queue);
	if (rc)
		return leave(m, rc);
	mqshm_shared_get(s);
	*out = s;
	return leave(m, 0);
}

/* ---- the public functions of the manager ---- */

int mqshm_manager_producer(struct mqshm_manager *m, struct mqshm_shared **out, const char *name,
			   const struct mqshm_queue_options *queue, const struct mqshm_producer_options *options)
{
	KEEP_ERRNO;

	return get(m, out, &(struct request){ .kind = MQSHM_MANAGED_PRODUCER, .names = &name, .count = 1, .queue = queue,
					      .producer = options });
}

int mqshm_manager_consumer(struct mqshm_manager *m, struct mqshm_shared **out, const char *name,
			   const struct mqshm_queue_options *queue, const struct mqshm_consumer_options *options)
{
	KEEP_ERRNO;

	return get(m, out, &(struct request){ .kind = MQSHM_MANAGED_CONSUMER, .names = &name, .count = 1, .queue = queue,
					      .consumer = options });
}

int mqshm_manager_merge(struct mqshm_manager *m, struct mqshm_shared **out, const char *const *names, size_t count,
			int sync_timeout_ms, const struct mqshm_consumer_options *options)
{
	KEEP_ERRNO;

	*out = NULL;
	if (count == 0)
		return mqshm_error(-EINVAL, "a merge of no queues");
	return get(m, out, &(struct request){ .kind = MQSHM_MANAGED_MERGE, .names = names, .count = count,
					      .sync_timeout_ms = sync_timeout_ms, .consumer = options });
}

int mqshm_manager_close_handle(struct mqshm_manager *m, struct mqshm_shared *s)
{
	KEEP_ERRNO;
	int rc = enter(m);

	if (rc)
		return rc;
	return leave(m, is_there(m, s) ? close_one(m, s) : 0);
}

int mqshm_manager_close_queue(struct mqshm_manager *m, const char *name)
{
	KEEP_ERRNO;
	struct mqshm_shared *s;
	bool found = false;
	int rc = enter(m);

	if (rc)
		return rc;
	for (uint32_t kind = MQSHM_MANAGED_PRODUCER; !rc && kind <= MQSHM_MANAGED_CONSUMER; kind++)
		if ((s = find(m, kind, name))) {
			found = true;
			rc = close_one(m, s);
		}
	if (!found)
		rc = mqshm_error(-ENOENT, "the manager has no queue '%s'", name);
	return leave(m, rc);
}

/* The first that is not this thread's own. */
static struct mqshm_shared *first_to_close(const struct mqshm_manager *m, bool *own)
{
	struct mqshm_shared *s;

	for (s = m->table; s; s = s->next) {
		if (!is_ours(s))
			return s;
		*own = true;
	}
	return NULL;
}

static int close_all(struct mqshm_manager *m)
{
	struct mqshm_shared *s;
	bool own = false;

	while ((s = first_to_close(m, &own)))
		close_one(m, s);
	return own ? mqshm_error(-EDEADLK, "this thread has the lock of a queue") : 0;
}

int mqshm_manager_close_all(struct mqshm_manager *m)
{
	KEEP_ERRNO;
	int rc = enter(m);

	return rc ? rc : leave(m, close_all(m));
}

int mqshm_manager_open(struct mqshm_manager **out)
{
	KEEP_ERRNO;
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct mqshm_manager *m = calloc(1, sizeof *m);

	*out = m;
	if (!m)
		return mqshm_error(-ENOMEM, "no memory for a manager");
	pthread_once(&once, register_fork_handler);
	pthread_mutex_init(&m->mutex, NULL);
	pthread_cond_init(&m->changed, NULL);
	m->forks = forks;
	return 0;
}

int mqshm_manager_close(struct mqshm_manager *m)
{
	KEEP_ERRNO;
	int rc;

	if (!m)
		return 0;
	rc = enter(m);
	if (rc)
		return rc;
	m->closing = true;
	rc = close_all(m);
	if (rc) {
		m->closing = false;
		return leave(m, rc);
	}
	while (m->calls > 1)
		pthread_cond_wait(&m->changed, &m->mutex);
	leave(m, 0);
	pthread_cond_destroy(&m->changed);
	pthread_mutex_destroy(&m->mutex);
	free(m);
	return 0;
}

/* ---- list ---- */

static int by_name(const void *a, const void *b)
{
	const struct mqshm_managed *x = a, *y = b;
	int merges = (x->kind == MQSHM_MANAGED_MERGE) - (y->kind == MQSHM_MANAGED_MERGE);
	int names = merges ? merges : strcmp(x->name, y->name);

	return names ? names : (int)x->kind - (int)y->kind;
}

/* A copy of what is open, so that each may call the manager. -ENOMEM */
static int copy_table(struct mqshm_manager *m, struct mqshm_managed **out)
{
	size_t count = 0, n = 0;

	for (struct mqshm_shared *s = m->table; s; s = s->next)
		count += s->state == OPEN;
	*out = calloc(count + 1, sizeof **out);
	if (!*out)
		return mqshm_error(-ENOMEM, "no memory for %zu handles", count);
	for (struct mqshm_shared *s = m->table; s; s = s->next) {
		if (s->state != OPEN)
			continue;
		(*out)[n] = (struct mqshm_managed){
			.kind = s->kind,
			.queues = s->kind == MQSHM_MANAGED_MERGE ? (uint32_t)s->count : 1,
			.users = __atomic_load_n(&s->references, __ATOMIC_RELAXED) - 1,
		};
		pthread_mutex_lock(&s->mutex);
		(*out)[n].uses = s->uses;
		(*out)[n].contended = s->contended;
		pthread_mutex_unlock(&s->mutex);
		strcpy((*out)[n++].name, s->name);
	}
	return (int)n;
}

int mqshm_manager_list(struct mqshm_manager *m, int (*each)(const struct mqshm_managed *managed, void *arg), void *arg)
{
	KEEP_ERRNO;
	struct mqshm_managed *managed = NULL;
	int rc = enter(m), count;

	if (rc)
		return rc;
	count = leave(m, copy_table(m, &managed));
	if (count < 0)
		return count;
	qsort(managed, (size_t)count, sizeof *managed, by_name);
	rc = count;
	for (int i = 0; i < count && rc == count; i++) {
		struct mqshm_stat *stat = NULL;
		int stop;

		if (managed[i].kind != MQSHM_MANAGED_MERGE)
			mqshm_queue_stat(managed[i].name, &stat);
		managed[i].stat = stat;
		stop = each(&managed[i], arg);
		mqshm_stat_free(stat);
		if (stop)
			rc = stop;
	}
	free(managed);
	return rc;
}
