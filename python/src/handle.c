/* SPDX-License-Identifier: MIT */
/*
 * Who may use a handle: the library allows one thread at a time. Whoever waits for messages or room has the handle all that
 * time, so one that wants it for a moment only (a call that does not wait, close) cancels that wait, which goes on
 * afterwards. Two that want to wait don't disturb each other.
 */
#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "native.h"

static unsigned generation;
static struct handle *handles;
static bool ending;

int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

struct handle *handle_new(void)
{
	struct handle *h = calloc(1, sizeof *h);
	pthread_condattr_t monotonic;

	if (!h) {
		PyErr_NoMemory();
		return NULL;
	}
	h->refs = 1;
	h->generation = generation;
	pthread_mutex_init(&h->mutex, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&h->changed, &monotonic);
	pthread_condattr_destroy(&monotonic);
	h->next = handles;
	if (handles)
		handles->previous = h;
	handles = h;
	return h;
}

void handle_put(struct handle *h)
{
	PyThreadState *state;

	if (!h || --h->refs)
		return;
	if (h->previous)
		h->previous->next = h->next;
	else
		handles = h->next;
	if (h->next)
		h->next->previous = h->previous;
	state = PyEval_SaveThread();
	mqshm_producer_close(h->producer);
	mqshm_consumer_close(h->consumer);
	if (!handle_inherited(h)) { /* a child's copies may be as another thread left them */
		pthread_cond_destroy(&h->changed);
		pthread_mutex_destroy(&h->mutex);
	}
	free(h);
	PyEval_RestoreThread(state);
}

bool handle_inherited(const struct handle *h)
{
	return h->generation != generation;
}

bool handle_try(struct handle *h)
{
	bool got;

	pthread_mutex_lock(&h->mutex);
	got = !h->taken;
	h->taken = true;
	pthread_mutex_unlock(&h->mutex);
	return got;
}

void handle_take(struct handle *h)
{
	pthread_mutex_lock(&h->mutex);
	h->urgent++;
	while (h->taken) {
		if (h->waiting && h->producer) /* it can't be closed: who waits has it */
			mqshm_producer_cancel(h->producer);
		if (h->waiting && h->consumer)
			mqshm_consumer_cancel(h->consumer);
		pthread_cond_wait(&h->changed, &h->mutex);
	}
	h->urgent--;
	h->taken = true;
	pthread_mutex_unlock(&h->mutex);
}

bool handle_take_to_wait(struct handle *h, int64_t until_ms)
{
	struct timespec until = { (time_t)(until_ms / 1000), (long)(until_ms % 1000) * 1000000 };
	int rc = 0;

	pthread_mutex_lock(&h->mutex);
	while ((h->taken || h->urgent) && !rc)
		rc = pthread_cond_timedwait(&h->changed, &h->mutex, &until);
	if (!h->taken) {
		h->taken = h->waiting = true;
		rc = 0;
	}
	pthread_mutex_unlock(&h->mutex);
	return !rc;
}

void handle_waited(struct handle *h)
{
	pthread_mutex_lock(&h->mutex);
	h->waiting = false;
	pthread_mutex_unlock(&h->mutex);
}

void handle_give(struct handle *h)
{
	pthread_mutex_lock(&h->mutex);
	h->taken = h->waiting = false;
	pthread_cond_broadcast(&h->changed);
	pthread_mutex_unlock(&h->mutex);
}

int handle_check(const struct handle *h)
{
	if (!handle_inherited(h))
		return 0;
	raise_result(-ECHILD);
	return -1;
}

bool handle_enter(struct handle *h)
{
	if (!handle_try(h)) {
		PyThreadState *state = PyEval_SaveThread();

		handle_take(h);
		PyEval_RestoreThread(state);
	}
	if (h->producer || h->consumer)
		return true;
	handle_give(h);
	raise_closed();
	return false;
}

PyObject *handles_close(PyObject *module, PyObject *unused)
{
	struct handle *h, *next;

	(void)module;
	(void)unused;
	ending = true;
	if (handles)
		handles->refs++;
	for (h = handles; h; h = next) { /* each is kept until we know the next */
		if (!handle_inherited(h)) {
			PyThreadState *state = PyEval_SaveThread();

			handle_take(h);
			PyEval_RestoreThread(state);
			if (!h->lease) {
				struct mqshm_producer *producer = h->producer;
				struct mqshm_consumer *consumer = h->consumer;

				h->producer = NULL;
				h->consumer = NULL;
				mqshm_producer_close(producer);
				mqshm_consumer_close(consumer);
			}
			handle_give(h);
		}
		next = h->next;
		if (next)
			next->refs++;
		handle_put(h);
	}
	return Py_NewRef(Py_None);
}

PyObject *raise_closed_meanwhile(void)
{
	if (!ending)
		return raise_closed();
	PyErr_SetNone(PyExc_SystemExit);
	return NULL;
}

void wait_begin(struct wait *w, int timeout_ms)
{
	w->deadline_ms = timeout_ms < 0 ? INT64_MAX : now_ms() + 1 + timeout_ms; /* now_ms() is rounded down */
}

int wait_slice(const struct wait *w)
{
	int64_t left = w->deadline_ms - now_ms();

	return left < 0 ? 0 : left < SLICE_MS ? (int)left : SLICE_MS;
}

bool wait_over(const struct wait *w)
{
	return now_ms() >= w->deadline_ms;
}

/* A child's handles are those that are opened in it. Its parent's have no mapping here. */
static void after_fork_in_child(void)
{
	generation++;
	leases_after_fork();
}

int fork_init(void)
{
	if (pthread_atfork(NULL, NULL, after_fork_in_child) == 0)
		return 0;
	PyErr_NoMemory();
	return -1;
}
