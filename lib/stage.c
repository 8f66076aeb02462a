/* SPDX-License-Identifier: MIT */
/*
 * The life of a stage, seen from outside: open, start, stop, wait, stat, close. What happens between start and the end
 * is in stage_run.c. A stage is READY, RUNNING, STOPPING when it has been asked to end (or does so by itself), and ENDED,
 * in this order; only its callback thread makes a started one ENDED, so that whoever sees this may free all.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "error.h"
#include "stage_run.h"

#define BUFFER_MESSAGES 64
#define BUFFER_BYTES ((size_t)16 << 20)
#define BATCH 16
#define NAME_SHOWN 12 /* the kernel keeps 15 bytes of a thread's name; ours end in -in, -cb */

static int check_options(const struct mqshm_stage_options *o)
{
	if (!o || o->size != sizeof *o)
		return mqshm_error(-EINVAL, "struct mqshm_stage_options says its size is %zu, not %zu", o ? o->size : 0,
				   sizeof *o);
	if (!o->callback)
		return mqshm_error(-EINVAL, "a stage needs a callback");
	if (!o->input && !o->output)
		return mqshm_error(-EINVAL, "a stage needs an input or an output");
	if (o->input && o->output && !strcmp(o->input, o->output))
		return mqshm_error(-EINVAL, "a stage can't write the queue that it reads: it would wait for itself");
	if ((!o->input && (o->input_queue || o->consumer)) || (!o->output && (o->output_queue || o->producer)))
		return mqshm_error(-EINVAL, "there are options for a queue without a name");
	if (!o->input && (o->buffer_messages || o->buffer_bytes || o->batch_max || o->batch_wait_ms ||
			  o->flags & MQSHM_STAGE_STAY))
		return mqshm_error(-EINVAL, "a source has no buffer and no batches");
	if (o->input && o->interval_us)
		return mqshm_error(-EINVAL, "only a source has an interval");
	if (o->flags & ~(uint32_t)(MQSHM_STAGE_SKIP | MQSHM_STAGE_STAY))
		return mqshm_error(-EINVAL, "unknown flags 0x%x", o->flags);
	if (o->buffer_messages > MQSHM_STAGE_BUFFER_MAX)
		return mqshm_error(-EINVAL, "buffer_messages is %u, more than %u", o->buffer_messages,
				   MQSHM_STAGE_BUFFER_MAX);
	if (o->batch_max > (o->buffer_messages ? o->buffer_messages : BUFFER_MESSAGES))
		return mqshm_error(-EINVAL, "batch_max is %u, more than the buffer has messages", o->batch_max);
	return 0;
}

/* The input queue and what is needed to read it. */
static int open_input(struct mqshm_stage *s, const struct mqshm_stage_options *given)
{
	struct mqshm_stage_options *o = &s->options;
	struct mqshm_queue_info info;
	int rc = mqshm_consumer_open(&s->consumer, given->input, given->input_queue, given->consumer);

	if (!rc)
		rc = mqshm_consumer_info(s->consumer, &info);
	if (rc)
		return rc;
	if (!o->buffer_messages)
		o->buffer_messages = BUFFER_MESSAGES;
	if (!o->batch_max)
		o->batch_max = o->buffer_messages < BATCH ? o->buffer_messages : BATCH;
	if (!o->buffer_bytes) {
		size_t block = (info.block_size + (size_t)info.align - 1) & ~((size_t)info.align - 1);
		size_t most = block > BUFFER_BYTES ? block : BUFFER_BYTES;

		o->buffer_bytes = block > most / o->buffer_messages ? most : block * o->buffer_messages;
	}
	s->batch = calloc(o->batch_max, sizeof *s->batch);
	if (!s->batch)
		return mqshm_error(-ENOMEM, "no memory for a batch");
	rc = stage_buffer_init(&s->buffer, o->buffer_messages, o->buffer_bytes, info.block_size, info.align);
	s->has_buffer = rc == 0;
	return rc;
}

static int open_output(struct mqshm_stage *s, const struct mqshm_stage_options *given)
{
	struct mqshm_queue_info info;
	int rc = mqshm_producer_open(&s->producer, given->output, given->output_queue, given->producer);

	if (!rc)
		rc = mqshm_producer_info(s->producer, &info);
	if (rc)
		return rc;
	s->keep_timestamps = info.flags & MQSHM_TIMESTAMP_OWN;
	return 0;
}

/* Of a stage without threads. */
static void leave(struct mqshm_stage *s)
{
	mqshm_consumer_close(s->consumer);
	mqshm_producer_close(s->producer);
	s->consumer = NULL;
	s->producer = NULL;
}

static void destroy(struct mqshm_stage *s)
{
	leave(s);
	if (s->has_buffer)
		stage_buffer_destroy(&s->buffer);
	free(s->batch);
	free(s);
}

int mqshm_stage_open(struct mqshm_stage **out, const struct mqshm_stage_options *options)
{
	KEEP_ERRNO;
	struct mqshm_stage *s;
	int rc;

	*out = NULL;
	rc = check_options(options);
	if (rc)
		return rc;
	s = calloc(1, sizeof *s);
	if (!s)
		return mqshm_error(-ENOMEM, "no memory for a stage");
	s->options = *options; /* what it points to is used here only */
	s->is_source = !options->input;
	s->pid = getpid();
	snprintf(s->name, sizeof s->name, "%.*s", NAME_SHOWN, options->name ? options->name : "stage");
	pthread_mutex_init(&s->mutex, NULL);
	stage_cond_init(&s->changed);
	/* The input first: to leave it again tells nobody anything. */
	if (options->input)
		rc = open_input(s, options);
	if (!rc && options->output)
		rc = open_output(s, options);
	if (rc) {
		destroy(s);
		return rc;
	}
	*out = s;
	return 0;
}

static int child(void)
{
	return mqshm_error(-ECHILD, "the stage belongs to a parent process");
}

static int create_thread(struct mqshm_stage *s, pthread_t *thread, void *(*run)(void *), const char *suffix)
{
	char name[16];
	int rc = pthread_create(thread, NULL, run, s);

	if (rc)
		return mqshm_error(-EAGAIN, "no thread for stage '%s': %s", s->name, strerror(rc));
	snprintf(name, sizeof name, "%s%s", s->name, suffix);
	pthread_setname_np(*thread, name);
	return 0;
}

/* Signals are for the application's threads, but those that say what a thread itself has done. */
static void block_signals(sigset_t *before)
{
	static const int own[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS };
	sigset_t all;

	sigfillset(&all);
	for (size_t i = 0; i < sizeof own / sizeof own[0]; i++)
		sigdelset(&all, own[i]);
	pthread_sigmask(SIG_SETMASK, &all, before);
}

int mqshm_stage_start(struct mqshm_stage *s)
{
	KEEP_ERRNO;
	bool reader = false;
	sigset_t before;
	int rc = 0;

	if (getpid() != s->pid)
		return child();
	pthread_mutex_lock(&s->mutex);
	if (s->state != MQSHM_STAGE_READY) {
		pthread_mutex_unlock(&s->mutex);
		return mqshm_error(-EBUSY, "stage '%s' has been started or stopped before", s->name);
	}
	block_signals(&before);
	if (!s->is_source) {
		rc = create_thread(s, &s->reader, stage_read, "-in");
		reader = rc == 0;
	}
	if (!rc)
		rc = create_thread(s, &s->worker, stage_call, "-cb");
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (!rc) {
		s->state = MQSHM_STAGE_RUNNING;
		s->started = true;
	}
	pthread_mutex_unlock(&s->mutex);
	if (rc && reader)
		pthread_join(s->reader, NULL); /* it sees that the stage has not started */
	return rc;
}

/* Wait until the stage has ended. The mutex is held. 0 -EAGAIN -ETIMEDOUT */
static int wait_ended(struct mqshm_stage *s, int timeout_ms)
{
	struct timespec until = stage_time(stage_now_ns() + (uint64_t)(timeout_ms > 0 ? timeout_ms : 0) * 1000000u);
	int rc = 0;

	while (!rc && s->state != MQSHM_STAGE_ENDED) {
		if (timeout_ms == 0)
			return -EAGAIN;
		rc = timeout_ms < 0 ? pthread_cond_wait(&s->changed, &s->mutex)
				    : pthread_cond_timedwait(&s->changed, &s->mutex, &until);
	}
	if (s->state != MQSHM_STAGE_ENDED)
		return mqshm_error(-ETIMEDOUT, "stage '%s' has not ended after %d ms: its callback %s", s->name,
				   timeout_ms, READ_ONCE(s->blocked) ? "waits for room in its output" : "is at work");
	return 0;
}

/* Is this the stage's own callback? The mutex is held. */
static bool own_callback(const struct mqshm_stage *s)
{
	return (s->state == MQSHM_STAGE_RUNNING || s->state == MQSHM_STAGE_STOPPING) &&
	       pthread_equal(pthread_self(), s->worker);
}

int mqshm_stage_stop(struct mqshm_stage *s, unsigned flags, int timeout_ms)
{
	KEEP_ERRNO;
	uint32_t wanted = flags & MQSHM_STAGE_AT_ONCE ? STAGE_CANCEL : STAGE_DRAIN;
	int rc;

	if (getpid() != s->pid)
		return child();
	if (flags & ~(unsigned)MQSHM_STAGE_AT_ONCE)
		return mqshm_error(-EINVAL, "unknown flags 0x%x", flags);
	pthread_mutex_lock(&s->mutex);
	if (s->state == MQSHM_STAGE_READY) {
		s->state = MQSHM_STAGE_ENDED;
		leave(s);
	} else if (s->state == MQSHM_STAGE_RUNNING) {
		s->state = MQSHM_STAGE_STOPPING;
	}
	if (s->state == MQSHM_STAGE_STOPPING && s->asked < wanted) {
		smp_store_release(&s->asked, wanted);
		pthread_cond_broadcast(&s->changed);
		stage_interrupt(s);
	}
	if (s->state == MQSHM_STAGE_STOPPING && wanted == STAGE_CANCEL && !s->is_source)
		stage_buffer_abort(&s->buffer);
	rc = own_callback(s) ? 0 : wait_ended(s, timeout_ms);
	pthread_mutex_unlock(&s->mutex);
	return rc;
}

int mqshm_stage_wait(struct mqshm_stage *s, int timeout_ms)
{
	KEEP_ERRNO;
	int rc;

	if (getpid() != s->pid)
		return child();
	pthread_mutex_lock(&s->mutex);
	rc = own_callback(s) ? mqshm_error(-EDEADLK, "the callback of stage '%s' can't wait for its own end", s->name)
			     : wait_ended(s, timeout_ms);
	if (!rc && s->result)
		rc = mqshm_error(s->result, "%s", s->text);
	pthread_mutex_unlock(&s->mutex);
	return rc;
}

int mqshm_stage_stat(struct mqshm_stage *s, struct mqshm_stage_stat *stat)
{
	if (getpid() != s->pid)
		return child();
	memset(stat, 0, sizeof *stat);
	pthread_mutex_lock(&s->mutex);
	stat->state = s->state;
	stat->result = s->result;
	memcpy(stat->error_text, s->text, sizeof stat->error_text);
	pthread_mutex_unlock(&s->mutex);
	if (!s->is_source) {
		const struct stage_buffer *b = &s->buffer;

		pthread_mutex_lock(&s->buffer.mutex);
		stat->in = b->in;
		stat->processed = b->processed;
		stat->dropped = b->dropped;
		stat->depth = b->count;
		stat->depth_most = b->depth_most;
		stat->depth_bytes = b->used;
		pthread_mutex_unlock(&s->buffer.mutex);
	}
	stat->missed = READ_ONCE(s->missed);
	stat->ends = READ_ONCE(s->ends);
	stat->out = READ_ONCE(s->out);
	stat->calls = READ_ONCE(s->calls);
	stat->errors = READ_ONCE(s->errors);
	stat->callback_ns = READ_ONCE(s->callback_ns);
	stat->blocked_ns = READ_ONCE(s->blocked_ns);
	stat->blocked = READ_ONCE(s->blocked);
	return 0;
}

int mqshm_stage_close(struct mqshm_stage *s)
{
	KEEP_ERRNO;
	uint32_t state;

	if (!s)
		return 0;
	if (getpid() != s->pid) { /* no locks: a thread that is not here may have held them */
		destroy(s);
		return child();
	}
	pthread_mutex_lock(&s->mutex);
	state = s->state;
	pthread_mutex_unlock(&s->mutex);
	if (state == MQSHM_STAGE_RUNNING || state == MQSHM_STAGE_STOPPING)
		return mqshm_error(-EBUSY, "stage '%s' runs: stop it first", s->name);
	if (s->started)
		pthread_join(s->worker, NULL);
	destroy(s);
	return 0;
}
