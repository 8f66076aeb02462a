/* SPDX-License-Identifier: MIT */
/*
 * The extension module: mqshm's producers and consumers as Python objects. What all its files share.
 *
 * Two locks are in play, the GIL and each handle's own (handle.c), and there is one rule: who holds the GIL takes a handle
 * only by handle_try(), which never waits. Who waits for a handle has let the GIL go. The other way round, waiting for the
 * GIL with a handle in hand, is allowed.
 */
#ifndef MULTIQUEUE_SHM_NATIVE_H
#define MULTIQUEUE_SHM_NATIVE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h> /* with Py_LIMITED_API from setup.py */

#include <pthread.h>
#include <stdbool.h>

#include "mqshm.h"
#include "mqshm/abi.h"

/*
 * A wait comes up that often to see whether a signal came whose Python handler is to run: a signal may be taken by another
 * thread, or find ours awake, and then interrupts nothing.
 */
#define SLICE_MS 50

#define LARGE 8192 /* bytes: copying that many takes longer than letting the GIL go and taking it again */

struct lease;

/* ---- handle.c ---- */

/*
 * A producer or consumer of the library, and who may use it. Held by its Python object and by the leases of its memory;
 * closed with the last of them at the latest, so memory that numpy still looks at stays mapped. refs is the GIL's; all else
 * below the mutex is that of who has taken the handle.
 */
struct handle {
	size_t refs;
	struct handle *next, *previous; /* of all, for the end of Python */
	unsigned generation;	/* of the process: how many forks deep */

	pthread_mutex_t mutex;	/* never held for long, nor while taking the GIL */
	pthread_cond_t changed;
	bool taken, waiting;	/* waiting: taken, and in a wait that can be cancelled */
	unsigned urgent;	/* who want it for a moment, before those who want to wait */

	struct mqshm_producer *producer; /* one of them, until it is closed */
	struct mqshm_consumer *consumer;
	struct lease *lease;	/* NULL, or its memory is in the hands of Python */
	bool shared;
};

struct handle *handle_new(void); /* with the GIL; NULL and MemoryError */
void handle_put(struct handle *h); /* with the GIL */

bool handle_inherited(const struct handle *h); /* is this a child of the process that opened it? */

bool handle_try(struct handle *h);
void handle_take(struct handle *h);			     /* without the GIL */
bool handle_take_to_wait(struct handle *h, int64_t until_ms); /* without the GIL; false: it was not free until then */
void handle_waited(struct handle *h);			     /* the wait is over, the handle still taken */
void handle_give(struct handle *h);

/* With the GIL: close all that is open, except what is in view, as nobody else will: daemon threads never let go. */
PyObject *handles_close(PyObject *module, PyObject *unused);
/* For who was waiting: QueueClosedError, or after that SystemExit, which ends a thread without a word. NULL. */
PyObject *raise_closed_meanwhile(void);

/* With the GIL, which is let go only if need be: taken, and open. Else false and an exception. */
bool handle_enter(struct handle *h);
/* With the GIL. 0, or -1 and an exception. */
int handle_check(const struct handle *h);

int64_t now_ms(void);

int fork_init(void);

/* ---- lease.c: memory of the ring in the hands of Python ---- */

/*
 * What a memoryview of the ring stands on. Active while its handle's lease is this. How it ends: consumer: when the last
 * view of it goes the message is released, unless keep is set; producer: by commit and abort, or with abandoned set when
 * the last view goes.
 */
struct lease {
	PyObject_HEAD
	struct handle *handle;
	struct lease *next, *previous; /* of all, for fork */
	void *data;
	Py_ssize_t size;
	size_t exports;
	bool writable, active, keep, abandoned;
	int result; /* of the release */
};

/* With the handle taken and the GIL. The lease becomes the handle's. */
struct lease *lease_new(struct handle *h, const void *data, size_t size, bool writable);
/* With the handle taken and the GIL: the memory is no longer Python's. */
void lease_end(struct lease *lease);
/* With the handle taken and the GIL: an end that is due is made. False: the lease goes on. */
bool lease_settle(struct handle *h);
/* With the GIL: release this view, if it is not yet. 0; -1 and BufferError: something else still uses the memory. */
int lease_release_view(struct lease *lease, PyObject *view);
void leases_after_fork(void);
extern PyObject *lease_type;
int lease_init(PyObject *module);

/* ---- args.c: what comes from Python, and what goes there ---- */

/* The exception for a result of the library; the sentence is that of this thread's last error. Always NULL. */
PyObject *raise_result(int rc);
PyObject *raise_closed(void);
int errors_init(void);
extern PyObject *error_closed, *error_full, *error_timeout, *error_config, *error_overtaken, *error_size;

/* Milliseconds; None or negative: -1, for ever. */
int timeout_converter(PyObject *object, void *ms);
/* Of METH_FASTCALL | METH_KEYWORDS: up to one positional-or-keyword argument each of these names. 0, or -1 and TypeError. */
int unpack(const char *function, PyObject *const *args, Py_ssize_t count, PyObject *keywords, const char *const *names,
	   Py_ssize_t required, PyObject **values);

/* What Producer and Consumer are made of. */
struct geometry {
	struct mqshm_queue_options options;
	const char *name;
};
int geometry_set(struct geometry *g, PyObject *name, Py_ssize_t node_count, Py_ssize_t block_size, int shared);
/* Is the queue that was opened what was asked for? */
int geometry_check(const struct geometry *g, const struct mqshm_queue_info *info);
PyObject *metadata_text(const struct mqshm_queue_info *info);
/* Sets the metadata of a queue that is created; bytes, which must live as long, or NULL and an exception. */
PyObject *geometry_metadata(struct geometry *g, PyObject *text);

/* A wait of timeout_ms, in slices. */
struct wait {
	int64_t deadline_ms; /* INT64_MAX: none */
};
void wait_begin(struct wait *w, int timeout_ms);
int wait_slice(const struct wait *w); /* ms of the next one */
bool wait_over(const struct wait *w);

/* ---- producer.c ---- */
struct producer {
	PyObject_HEAD
	struct handle *handle;
	PyObject *name;
};
extern PyObject *producer_type;
int producer_init(PyObject *module);

/* What of a producer waits: one call of the library. */
struct attempt {
	int (*call)(struct mqshm_producer *p, struct attempt *a, int timeout_ms);
	const void *data;
	size_t size;		     /* bytes; of a batch: messages */
	const struct iovec *messages;
	size_t done;
	void *room;
	uint64_t timestamp;
};
/* With the GIL. 0; -EAGAIN: not in time; else -1 and an exception. keep: after 0 the handle is still taken. */
int attempt(struct handle *h, struct attempt *a, size_t bytes, int timeout_ms, bool keep);

/* ---- consumer.c ---- */
struct consumer {
	PyObject_HEAD
	struct handle *handle;
	PyObject *name;
	size_t node_count;
	struct lease *lease; /* the message last peeked at, and its view; NULL or no longer active: it has gone */
	PyObject *view;
};
extern PyObject *consumer_type;
int consumer_init(PyObject *module);

/*
 * Wait for messages. How many, and the handle is taken; 0: none in time, or with timeout_ms -1 the stream has ended (*end
 * says how: -ESHUTDOWN, -EOWNERDEAD); -1: an exception.
 */
int consumer_wait(struct consumer *c, struct mqshm_message *messages, size_t max, int timeout_ms, int *end);
/* With the handle taken, which is given: bytes objects of the messages, appended to list or the only one itself. NULL: an
   exception, or they were overtaken meanwhile (*again). */
PyObject *consumer_take(struct consumer *c, const struct mqshm_message *messages, int count, PyObject *list, bool *again);

/* ---- ring_queue.c, queues.c ---- */
int ring_queue_init(PyObject *module);
PyObject *queue_stat(PyObject *module, PyObject *name);
PyObject *queue_names(PyObject *module, PyObject *unused);
PyObject *queue_remove(PyObject *module, PyObject *args);

/* Fields of Python objects, which may be uninitialised (__new__ alone). NULL and an exception. */
static inline struct handle *usable(struct handle *h)
{
	if (h && !handle_check(h))
		return h;
	if (!h)
		raise_closed();
	return NULL;
}

#endif
