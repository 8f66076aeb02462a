/* SPDX-License-Identifier: MIT */
/*
 * What the two threads of a stage do, and the calls that its callback makes. The reader moves messages from the input
 * queue to the buffer until the input ends or it is told to leave; the callback thread, which ends last, works until
 * the buffer says that no more will come, leaves the output queue in the way that tells its readers whether they got
 * it all, waits for the reader, and says that the stage has ended.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "error.h"
#include "stage_run.h"

#define STAY_MS 50 /* as long as the naps of the library: how soon the next producer is seen */

/* Add to a counter that only this thread writes. */
#define COUNT(counter, n) WRITE_ONCE(counter, (counter) + (n))

static uint32_t asked(const struct mqshm_stage *s)
{
	return smp_load_acquire(&s->asked);
}

/* After -ECANCELED: asked was raised before, under the mutex, but may not be visible yet. */
static void look_why(struct mqshm_stage *s)
{
	pthread_mutex_lock(&s->mutex);
	pthread_mutex_unlock(&s->mutex);
}

/* Sleep until a time of stage_now_ns(), or until asked is at least level. */
static void nap(struct mqshm_stage *s, uint64_t until_ns, uint32_t level)
{
	struct timespec until = stage_time(until_ns);

	pthread_mutex_lock(&s->mutex);
	while (s->asked < level && pthread_cond_timedwait(&s->changed, &s->mutex, &until) == 0)
		;
	pthread_mutex_unlock(&s->mutex);
}

/* The first reason why the stage ends stands. */
static void set_result(struct mqshm_stage *s, int result, const char *text)
{
	pthread_mutex_lock(&s->mutex);
	if (!s->result) {
		s->result = result;
		snprintf(s->text, sizeof s->text, "%s", text);
	}
	pthread_mutex_unlock(&s->mutex);
}

/* ---- the reader ---- */

/* The input has ended, or its producer has died: is there to be another one? */
static bool stay(struct mqshm_stage *s, int rc, bool again)
{
	if (!again)
		COUNT(s->ends, 1);
	if (!(s->options.flags & MQSHM_STAGE_STAY) || asked(s))
		return false;
	s->broken |= rc == -EOWNERDEAD;
	nap(s, stage_now_ns() + STAY_MS * 1000000u, STAGE_DRAIN);
	return true;
}

/* Until the input ends. Returns why: 0 or an error. */
static int read_input(struct mqshm_stage *s)
{
	struct mqshm_consumer *c = s->consumer;
	int64_t left = -1; /* to be read before we stop; -1: not stopping */
	size_t least = 0, capacity;
	bool ended = false;
	void *place;

	for (;;) {
		struct mqshm_message m;
		ssize_t n;

		if (asked(s) && left < 0)
			left = mqshm_consumer_lag(c);
		if (left == 0)
			return 0;
		n = stage_buffer_reserve(&s->buffer, least, &place, &capacity);
		if (n < 0)
			return (int)n;
		n = mqshm_consumer_pop(c, place, capacity, &m, left < 0 && !ended ? -1 : 0);
		least = n == -EMSGSIZE ? m.size : 0;
		if (n >= 0) {
			stage_buffer_commit(&s->buffer, &m);
			WRITE_ONCE(s->missed, (uint64_t)mqshm_consumer_missed(c));
			left -= left > 0;
			ended = false;
		} else if (n == -EAGAIN) {
			if (left > 0) /* lapped since it was counted */
				return 0;
			ended = false;
		} else if (n == -ESHUTDOWN || n == -EOWNERDEAD) {
			if (!stay(s, (int)n, ended))
				return n == -ESHUTDOWN ? 0 : (int)n;
			ended = true;
		} else if (n == -ECANCELED) {
			look_why(s);
		} else if (n != -EMSGSIZE && n != -EINTR) {
			return (int)n;
		}
	}
}

void *stage_read(void *arg)
{
	struct mqshm_stage *s = arg;
	struct mqshm_consumer *c;
	bool started;

	pthread_mutex_lock(&s->mutex);
	started = s->state != MQSHM_STAGE_READY;
	pthread_mutex_unlock(&s->mutex);
	if (!started)
		return NULL; /* the other thread could not be created */
	s->input_result = read_input(s);
	if (s->input_result < 0 && s->input_result != -ECANCELED)
		set_result(s, s->input_result, mqshm_last_error());
	pthread_mutex_lock(&s->mutex);
	c = s->consumer;
	s->consumer = NULL;
	pthread_mutex_unlock(&s->mutex);
	mqshm_consumer_close(c);
	stage_buffer_end(&s->buffer);
	return NULL;
}

/* ---- the callback thread ---- */

static int call(struct mqshm_stage *s, size_t count)
{
	uint64_t start;
	int rc;

	if (s->keep_timestamps) {
		struct timespec now;

		clock_gettime(CLOCK_REALTIME, &now);
		mqshm_producer_set_timestamp(s->producer, count ? s->batch[0].timestamp_ns
							: (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec);
	}
	start = stage_now_ns();
	s->in_call = true;
	rc = s->options.callback(s, count ? s->batch : NULL, count, s->options.arg);
	s->in_call = false;
	if (getpid() != s->pid) /* a child that the callback forked has nothing to do here */
		pthread_exit(NULL);
	if (s->reserved)
		mqshm_producer_abort(s->producer);
	s->reserved = false;
	COUNT(s->callback_ns, stage_now_ns() - start);
	COUNT(s->calls, 1);
	if (rc < 0)
		COUNT(s->errors, 1);
	return rc;
}

/* One batch, as often as need be. 0: go on; MQSHM_STAGE_DONE, or an error: the stage ends. */
static int process(struct mqshm_stage *s, size_t count)
{
	bool processed;
	int rc;

	for (uint32_t tries = 0;; tries++) {
		rc = call(s, count);
		if (rc >= 0 || s->output_error || tries == s->options.retries)
			break;
		nap(s, stage_now_ns() + s->options.retry_ms * UINT64_C(1000000), STAGE_CANCEL);
		if (asked(s) >= STAGE_CANCEL)
			break;
	}
	processed = rc >= 0 && !s->output_error;
	if (count)
		stage_buffer_release(&s->buffer, count, processed);
	if (s->output_error)
		return s->output_error;
	if (rc < 0 && asked(s) == STAGE_CANCEL)
		return -ECANCELED;
	if (rc < 0 && s->options.flags & MQSHM_STAGE_SKIP)
		return 0;
	if (rc < 0) {
		char text[sizeof s->text];

		snprintf(text, sizeof text, "the callback of stage '%s' returned %d", s->name, rc);
		set_result(s, rc, text);
	}
	return rc;
}

/* Call at each interval. */
static int run_source(struct mqshm_stage *s)
{
	uint64_t due = stage_now_ns(), now;
	int rc = 0;

	while (!rc && !asked(s)) {
		rc = process(s, 0);
		if (rc || !s->options.interval_us)
			continue;
		due += s->options.interval_us * UINT64_C(1000);
		now = stage_now_ns();
		if (due < now)
			due = now;
		nap(s, due, STAGE_DRAIN);
	}
	return rc ? rc : asked(s) >= STAGE_CANCEL ? -ECANCELED : 0;
}

static int run(struct mqshm_stage *s)
{
	int rc = 0, n;

	if (s->is_source)
		return run_source(s);
	while (!rc) {
		n = stage_buffer_take(&s->buffer, s->batch, s->options.batch_max, s->options.batch_wait_ms);
		if (n <= 0)
			return n < 0 ? n : s->input_result;
		rc = process(s, (size_t)n);
	}
	return rc;
}

void *stage_call(void *arg)
{
	struct mqshm_stage *s = arg;
	struct mqshm_producer *p;
	int rc;

	pthread_mutex_lock(&s->mutex); /* worker has been set, then */
	pthread_mutex_unlock(&s->mutex);
	rc = run(s);

	pthread_mutex_lock(&s->mutex);
	p = s->producer;
	s->producer = NULL;
	s->state = MQSHM_STAGE_STOPPING;
	smp_store_release(&s->asked, STAGE_OVER);
	pthread_cond_broadcast(&s->changed);
	stage_interrupt(s);
	pthread_mutex_unlock(&s->mutex);
	if (!s->is_source)
		stage_buffer_abort(&s->buffer);
	if (rc < 0 || s->broken)
		mqshm_producer_fail(p);
	else
		mqshm_producer_close(p);
	if (!s->is_source) {
		pthread_join(s->reader, NULL);
		stage_buffer_release(&s->buffer, s->buffer.count, false);
	}

	pthread_mutex_lock(&s->mutex);
	s->state = MQSHM_STAGE_ENDED;
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->mutex);
	return NULL;
}

/* ---- what the callback calls ---- */

static int check_call(const struct mqshm_stage *s)
{
	if (!pthread_equal(pthread_self(), s->worker) || !s->in_call)
		return mqshm_error(-EINVAL, "only the callback of stage '%s' may do this", s->name);
	if (!s->producer)
		return mqshm_error(-EINVAL, "stage '%s' has no output", s->name);
	if (asked(s) >= STAGE_CANCEL)
		return mqshm_error(-ECANCELED, "stage '%s' is being stopped", s->name);
	return 0;
}

static int keep_error(struct mqshm_stage *s, int rc)
{
	if (rc < 0 && rc != -EMSGSIZE && rc != -EINVAL && rc != -EDEADLK && !s->output_error) {
		s->output_error = rc;
		if (rc != -ECANCELED)
			set_result(s, rc, mqshm_last_error());
	}
	return rc;
}

/* One try without and, if there is no room, others with waiting; to is NULL for a push. */
static int put(struct mqshm_stage *s, const void *data, size_t size, void **to)
{
	int rc = check_call(s);
	uint64_t start;

	if (rc)
		return keep_error(s, rc);
	rc = to ? mqshm_producer_reserve(s->producer, size, to, 0) : mqshm_producer_push(s->producer, data, size, 0);
	if (likely(rc != -EAGAIN && rc != -ECANCELED))
		return keep_error(s, rc);
	start = stage_now_ns();
	WRITE_ONCE(s->blocked, true);
	do {
		rc = to ? mqshm_producer_reserve(s->producer, size, to, -1)
			: mqshm_producer_push(s->producer, data, size, -1);
		if (rc == -ECANCELED)
			look_why(s);
	} while ((rc == -ECANCELED || rc == -EINTR) && asked(s) < STAGE_CANCEL);
	WRITE_ONCE(s->blocked, false);
	COUNT(s->blocked_ns, stage_now_ns() - start);
	if (rc == -EINTR)
		rc = check_call(s);
	return keep_error(s, rc);
}

int mqshm_stage_emit(struct mqshm_stage *s, const void *data, size_t size)
{
	int rc = put(s, data, size, NULL);

	if (!rc)
		COUNT(s->out, 1);
	return rc;
}

int mqshm_stage_reserve(struct mqshm_stage *s, size_t size, void **data)
{
	int rc;

	*data = NULL;
	rc = put(s, NULL, size, data);
	if (!rc)
		s->reserved = true;
	return rc;
}

int mqshm_stage_commit(struct mqshm_stage *s, size_t used)
{
	int rc = check_call(s);

	if (!rc)
		rc = mqshm_producer_commit(s->producer, used);
	if (!rc) {
		s->reserved = false;
		COUNT(s->out, 1);
	}
	return keep_error(s, rc);
}

int mqshm_stage_abort(struct mqshm_stage *s)
{
	int rc = check_call(s);

	if (!rc)
		rc = mqshm_producer_abort(s->producer);
	if (!rc)
		s->reserved = false;
	return keep_error(s, rc);
}

int mqshm_stage_set_timestamp(struct mqshm_stage *s, uint64_t timestamp_ns)
{
	int rc = check_call(s);

	return rc ? rc : mqshm_producer_set_timestamp(s->producer, timestamp_ns);
}

void stage_interrupt(struct mqshm_stage *s)
{
	if (s->consumer)
		mqshm_consumer_cancel(s->consumer);
	if (s->producer && s->asked >= STAGE_CANCEL)
		mqshm_producer_cancel(s->producer);
}
