/* SPDX-License-Identifier: MIT */
/*
 * See notify.h. A thread sleeps on up to WORDS queues' words at once; more queues are more threads. Its round is that of
 * mqshm_wait(): arm, fence, look, sleep; so no wake-up is lost. Lock order: list_mutex, then a thread's own.
 */
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "error.h"
#include "log.h"
#include "notify.h"
#include "waitable.h"

#define WORDS (MQSHM_SLEEP_ANY_MAX - 1) /* and one for ourselves */
#define BLIND_NAP_NS 1000000u	/* where the kernel can't sleep on many words: naps from this ... */
#define BLIND_MOST_NS 16000000u /* ... to that */

struct mqshm_notifier {
	int fd;	  /* what the caller polls */
	int event;/* the eventfd: the same, or one in the set fd */
	int timer;/* in the set: when to try again in any case; -1: none yet */
	struct mqshm_mapping *mapping;
	struct mqshm_armed *armed;
	struct notify_thread *thread; /* NULL: the backend's descriptor is in the set */

	/* under the thread's mutex */
	uint32_t index; /* in its list */
	bool watched;
	struct mqshm_news news;
	uint64_t next_check_ns, nap_ns;
};

struct notify_thread {
	pthread_t id;
	struct notify_thread *next;
	const struct mqshm_backend *backend;
	pthread_mutex_t mutex;
	uint32_t control; /* +1 and a wake: look again */
	uint32_t count;
	struct mqshm_notifier *list[WORDS];
};

static pthread_mutex_t list_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct notify_thread *threads;
static uint32_t notifiers; /* of all threads */

/* Always readable. What is in a set goes with the handle, but for this: who polls a copy of the set's descriptor is to look. */
static int ready = -1;

void mqshm_notifier_set(struct mqshm_notifier *n)
{
	int saved = errno;

	(void)!write(n->event, &(uint64_t){ 1 }, sizeof(uint64_t));
	errno = saved;
}

int mqshm_notifier_fd(const struct mqshm_notifier *n)
{
	return n->fd;
}

static bool is_news(const struct mqshm_notifier *n, uint64_t now)
{
	const struct mqshm_ring *r = &n->mapping->ring;
	const struct mqshm_news *news = &n->news;
	uint64_t state;

	if (now >= news->retry_ns || READ_ONCE(r->participants[n->mapping->participant].state) != news->own_state)
		return true;
	if (!news->producer) {
		state = MQSHM_EPOCH_STATE(smp_load_acquire(&r->info->producer_epoch));
		return (state != MQSHM_EPOCH_ACTIVE && state != MQSHM_EPOCH_NONE) ||
		       READ_ONCE(r->producer->tail) != news->position;
	}
	if (news->slot == MQSHM_NEWS_BUSY)
		return false;
	if (news->slot == MQSHM_NEWS_HOLD)
		return !smp_load_acquire(&r->info->hold);
	return READ_ONCE(ring_consumer(r, news->slot)->state) != news->slot_state ||
	       (smp_load_acquire(&ring_area(r, news->slot)->position) >= news->position &&
		READ_ONCE(ring_area(r, news->slot)->sequence) >= news->sequence);
}

/* Does whom it waits for live? True: something has changed, or the handle has lost its role. */
static bool peer_changed(const struct mqshm_notifier *n)
{
	struct mqshm_mapping *m = n->mapping;

	if (!n->news.producer)
		return mqshm_check_producers(m);
	return m->backend->check_self(m) ||
	       (n->news.slot < m->ring.max_consumers && !m->backend->check(m, m->ring.max_producers + n->news.slot));
}

/* What a thread sleeps on. */
struct nap {
	uint32_t *words[WORDS + 1], values[WORDS + 1];
	size_t count;
	uint64_t until_ns;
};

/* Mutex held: arm, look, and make ready to sleep. True: there was news. */
static bool look(struct notify_thread *t, struct nap *nap)
{
	uint64_t now = mqshm_now_ns(), interval = mqshm_liveness_interval(READ_ONCE(notifiers)), until, check_until = now;
	bool news = false;

	nap->words[0] = &t->control;
	nap->values[0] = READ_ONCE(t->control);
	nap->until_ns = MQSHM_FOREVER;
	nap->count = 1;
	for (uint32_t i = 0; i < t->count; i++) {
		if (!t->list[i]->watched)
			continue;
		nap->values[1 + i] = mqshm_arm(t->list[i]->mapping, t->list[i]->armed); /* to its place below */
		if (now >= t->list[i]->next_check_ns)
			check_until = now + interval / 4; /* awake for one: those that are due soon, too */
	}
	smp_mb(); /* MO-2, MO-5: armed before we look */
	for (uint32_t i = 0; i < t->count; i++) {
		struct mqshm_notifier *n = t->list[i];
		bool due = check_until >= n->next_check_ns;

		if (!n->watched)
			continue;
		if (due)
			n->next_check_ns = now + interval;
		if (is_news(n, now) || (due && peer_changed(n))) {
			n->watched = false;
			mqshm_notifier_set(n);
			news = true;
			continue;
		}
		nap->words[nap->count] = &n->armed->word;
		nap->values[nap->count++] = nap->values[1 + i]; /* never to the right of it */
		until = n->next_check_ns < n->news.retry_ns ? n->next_check_ns : n->news.retry_ns;
		if (n->news.producer) {
			if (now + n->nap_ns < until)
				until = now + n->nap_ns;
			n->nap_ns = 2 * n->nap_ns < MQSHM_LIVENESS_NS ? 2 * n->nap_ns : MQSHM_LIVENESS_NS;
		}
		if (until < nap->until_ns)
			nap->until_ns = until;
	}
	return news;
}

static void *run(void *arg)
{
	struct notify_thread *t = arg;
	uint64_t blind_ns = 0;
	struct nap nap;

	pthread_mutex_lock(&t->mutex);
	while (t->count) {
		uint64_t now, ns;
		bool news;

		mqshm_log_hold(); /* the mutex is held */
		news = look(t, &nap);
		now = mqshm_now_ns();
		ns = nap.until_ns > now ? nap.until_ns - now : 0;
		pthread_mutex_unlock(&t->mutex);
		mqshm_log_deliver();
		if (!blind_ns && ns && t->backend->sleep_any(nap.words, nap.values, nap.count, ns) == -ENOSYS)
			blind_ns = BLIND_NAP_NS;
		if (blind_ns) {
			blind_ns = news ? BLIND_NAP_NS : 2 * blind_ns < BLIND_MOST_NS ? 2 * blind_ns : BLIND_MOST_NS;
			t->backend->sleep(NULL, &t->control, nap.values[0], nap.count > 1 && ns > blind_ns ? blind_ns : ns);
		}
		pthread_mutex_lock(&t->mutex);
	}
	pthread_mutex_unlock(&t->mutex);
	return NULL;
}

/* Mutex held before, not after. */
static void unlock_and_wake(struct notify_thread *t)
{
	__atomic_add_fetch(&t->control, 1, __ATOMIC_RELEASE);
	pthread_mutex_unlock(&t->mutex);
	t->backend->wake(NULL, &t->control);
}

static bool same(const struct mqshm_news *a, const struct mqshm_news *b)
{
	return a->producer == b->producer && a->own_state == b->own_state && a->position == b->position &&
	       a->sequence == b->sequence && a->slot == b->slot && a->slot_state == b->slot_state &&
	       a->retry_ns == b->retry_ns;
}

/* With a set: the backend tells of news; here is when to try again in any case. */
static void set_timer(struct mqshm_notifier *n, uint64_t at_ns)
{
	struct itimerspec at = { .it_value = { (time_t)(at_ns / 1000000000u), (long)(at_ns % 1000000000u) } };
	struct epoll_event in = { .events = EPOLLIN };

	if (at_ns == MQSHM_FOREVER) {
		if (n->timer < 0)
			return;
		at.it_value = (struct timespec){ 0, 0 };
	}
	if (n->timer < 0) {
		n->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
		if (n->timer >= 0 && epoll_ctl(n->fd, EPOLL_CTL_ADD, n->timer, &in)) {
			close(n->timer);
			n->timer = -1;
		}
	}
	if (n->timer >= 0)
		timerfd_settime(n->timer, TFD_TIMER_ABSTIME, &at, NULL);
	else
		mqshm_notifier_set(n); /* better too often */
}

void mqshm_notifier_watch(struct mqshm_notifier *n, const struct mqshm_news *news)
{
	KEEP_ERRNO;
	struct notify_thread *t = n->thread;
	bool watched;

	if (!t) {
		(void)!read(n->event, &(uint64_t){ 0 }, sizeof(uint64_t)); /* a cancel that was given */
		set_timer(n, news->retry_ns);
		return;
	}
	pthread_mutex_lock(&t->mutex);
	watched = n->watched;
	if (watched && same(&n->news, news)) {
		pthread_mutex_unlock(&t->mutex);
		return;
	}
	(void)!read(n->event, &(uint64_t){ 0 }, sizeof(uint64_t));
	n->news = *news;
	n->watched = true;
	n->nap_ns = MQSHM_ROOM_NAP_NS;
	if (watched && !news->producer) /* the thread has armed, so it looks again at what comes next */
		pthread_mutex_unlock(&t->mutex);
	else
		unlock_and_wake(t);
}

/* ---- open, close, fork ---- */

static void before_fork(void)
{
	pthread_mutex_lock(&list_mutex);
}

static void after_fork_in_parent(void)
{
	pthread_mutex_unlock(&list_mutex);
}

/* The child has no threads of ours, and its parent's handles are dead. */
static void after_fork_in_child(void)
{
	threads = NULL;
	notifiers = 0;
	pthread_mutex_init(&list_mutex, NULL);
}

static void register_fork_handlers(void)
{
	pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}

static void open_ready(void)
{
	ready = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
}

/* With list_mutex: a thread with room for one more, started when there is none. */
static struct notify_thread *find_thread(const struct mqshm_backend *backend)
{
	struct notify_thread *t;

	for (t = threads; t; t = t->next)
		if (t->count < WORDS && t->backend == backend)
			return t;
	t = calloc(1, sizeof *t);
	if (!t)
		return NULL;
	t->backend = backend;
	pthread_mutex_init(&t->mutex, NULL);
	t->next = threads;
	threads = t;
	return t;
}

/* With both mutexes: the first notifier is in the list. Signals are for the application's threads. */
static int start(struct notify_thread *t)
{
	sigset_t all, old;
	int rc;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	rc = pthread_create(&t->id, NULL, run, t);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (!rc)
		pthread_setname_np(t->id, "mqshm-notify");
	return -rc;
}

static void forget(struct notify_thread *t)
{
	struct notify_thread **at = &threads;

	while (*at != t)
		at = &(*at)->next;
	*at = t->next;
}

/* A set of the backend's descriptor and the eventfd is readable when one of them is. */
static int open_set(struct mqshm_notifier *n)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	bool producer = n->mapping->role == MQSHM_ROLE_PRODUCER;
	struct epoll_event of_role = { .events = producer ? EPOLLOUT : EPOLLIN }, in = { .events = EPOLLIN };
	int rc;

	pthread_once(&once, open_ready);
	n->fd = epoll_create1(EPOLL_CLOEXEC);
	if (n->fd >= 0 && !epoll_ctl(n->fd, EPOLL_CTL_ADD, n->mapping->backend->descriptor(n->mapping), &of_role) &&
	    !epoll_ctl(n->fd, EPOLL_CTL_ADD, n->event, &in))
		return 0;
	rc = mqshm_errno();
	if (n->fd >= 0)
		close(n->fd);
	return rc;
}

int mqshm_notifier_open(struct mqshm_notifier **out, struct mqshm_mapping *mapping, struct mqshm_armed *armed)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct mqshm_notifier *n = calloc(1, sizeof *n);
	struct notify_thread *t = NULL;
	int rc = 0;

	if (!n)
		return mqshm_error(-ENOMEM, "no memory for a descriptor");
	pthread_once(&once, register_fork_handlers);
	n->mapping = mapping;
	n->armed = armed;
	n->timer = -1;
	n->fd = n->event = eventfd(!mapping->backend->descriptor, EFD_CLOEXEC | EFD_NONBLOCK);
	if (n->fd < 0)
		rc = mqshm_errno();
	else if (mapping->backend->descriptor && (rc = open_set(n)))
		close(n->event);
	if (rc || mapping->backend->descriptor) {
		if (rc)
			free(n);
		else
			*out = n;
		return rc ? mqshm_error(rc, "no descriptor for queue '%s': %s", mapping->name, strerror(-rc)) : 0;
	}
	pthread_mutex_lock(&list_mutex);
	t = n->thread = find_thread(mapping->backend);
	if (t) {
		pthread_mutex_lock(&t->mutex);
		n->index = t->count;
		t->list[t->count++] = n;
		if (t->count == 1 && (rc = start(t))) {
			t->count = 0;
			forget(t);
		}
		pthread_mutex_unlock(&t->mutex);
	}
	__atomic_add_fetch(&notifiers, t && !rc, __ATOMIC_RELAXED);
	pthread_mutex_unlock(&list_mutex);
	if (!t || rc) {
		close(n->fd);
		free(n);
		free(t);
		return mqshm_error(t ? rc : -ENOMEM, "no thread to watch queue '%s'", mapping->name);
	}
	*out = n;
	return 0;
}

void mqshm_notifier_close(struct mqshm_notifier *n)
{
	struct notify_thread *t;
	bool last;

	if (!n)
		return;
	t = n->thread;
	if (t && *n->mapping->owner) {
		pthread_mutex_lock(&list_mutex);
		pthread_mutex_lock(&t->mutex);
		t->list[n->index] = t->list[--t->count];
		t->list[n->index]->index = n->index;
		last = !t->count;
		if (last)
			forget(t);
		__atomic_sub_fetch(&notifiers, 1, __ATOMIC_RELAXED);
		pthread_mutex_unlock(&list_mutex);
		unlock_and_wake(t); /* its sleep may be on a word that is about to go */
		if (last) {
			pthread_join(t->id, NULL);
			pthread_mutex_destroy(&t->mutex);
			free(t);
		}
	}
	if (n->timer >= 0)
		close(n->timer);
	if (n->event != n->fd) {
		if (*n->mapping->owner) /* a child shares its parent's set */
			(void)epoll_ctl(n->fd, EPOLL_CTL_ADD, ready, &(struct epoll_event){ .events = EPOLLIN });
		close(n->event);
	}
	close(n->fd);
	free(n);
}
