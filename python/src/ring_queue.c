/* SPDX-License-Identifier: MIT */
/*
 * What RingQueue stands on: a producer whose pushes carry timestamps, and a consumer whose messages come with them. Both
 * are those of producer.c and consumer.c with a few calls more; see ring_queue.py for how they are used.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "native.h"

#define SKIP_BATCH 64
#define SKIP_TRIES 64	   /* producers may be faster */
#define MAX_CONSUMERS 64   /* as many as producers: each object of a name may pop */

struct ring_producer {
	struct producer base;
	struct mqshm_queue_info info;
	uint64_t last_write; /* ns since 1970; 0: none yet */
};

struct ring_consumer {
	struct consumer base;
	uint64_t newest;	  /* not 0: what is older than that many messages is passed over */
	uint64_t popped, skipped; /* this object's */
};

static uint64_t clock_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/* ---- pushing ---------------------------------------------------------------------------------------------- */

static int push_stamped(struct mqshm_producer *p, struct attempt *a, int timeout_ms)
{
	int rc = mqshm_producer_set_timestamp(p, a->timestamp);

	return rc ? rc : mqshm_producer_push(p, a->data, a->size, timeout_ms);
}

static int push_plain(struct mqshm_producer *p, struct attempt *a, int timeout_ms)
{
	return mqshm_producer_push(p, a->data, a->size, timeout_ms);
}

static PyObject *ring_producer_push(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
	static const char *const names[] = { "data", "timeout_ms", "timestamp", NULL };
	struct ring_producer *p = (struct ring_producer *)self;
	struct handle *h = usable(p->base.handle);
	struct attempt a = { .call = push_plain };
	Py_buffer view = { .obj = NULL };
	PyObject *values[3];
	uint64_t now = clock_ns();
	int timeout_ms = 0, rc;

	if (!h || unpack("push", args, count, keywords, names, 1, values) ||
	    (values[1] && !timeout_converter(values[1], &timeout_ms)))
		return NULL;
	a.timestamp = now;
	if (values[2] && values[2] != Py_None) {
		a.timestamp = PyLong_AsUnsignedLongLong(values[2]);
		if (PyErr_Occurred())
			return NULL;
	}
	if (p->info.flags & MQSHM_TIMESTAMP_OWN)
		a.call = push_stamped;
	if (PyObject_GetBuffer(values[0], &view, PyBUF_SIMPLE))
		return NULL;
	a.data = view.buf;
	a.size = (size_t)view.len;
	rc = attempt(h, &a, a.size, timeout_ms, false);
	PyBuffer_Release(&view);
	if (!rc)
		p->last_write = now;
	return rc == 0 || rc == -EAGAIN ? PyBool_FromLong(!rc) : NULL;
}

static PyObject *ring_producer_info(PyObject *self, PyObject *unused)
{
	const struct mqshm_queue_info *info = &((struct ring_producer *)self)->info;

	(void)unused;
	return Py_BuildValue("{sIsIsIsKsy#}", "node_count", info->node_count, "block_size", info->block_size, "flags",
			     info->flags, "created_at", (unsigned long long)info->created_at_ns, "metadata",
			     (const char *)info->metadata, (Py_ssize_t)info->metadata_size);
}

static PyObject *ring_producer_last_write(PyObject *self, void *unused)
{
	(void)unused;
	return PyLong_FromUnsignedLongLong(((struct ring_producer *)self)->last_write);
}

/* The handle is new and not open, or what was opened is not wanted. An exception stays what it is. */
static int give_up(struct handle *h)
{
	PyObject *type, *value, *traceback;

	PyErr_Fetch(&type, &value, &traceback);
	handle_put(h);
	PyErr_Restore(type, value, traceback);
	return -1;
}

/* node_count 0: join what is there, whatever it is. */
static int ring_producer_new(PyObject *self, PyObject *args, PyObject *keywords)
{
	static char *names[] = { "name", "node_count", "block_size", "flags", "metadata", NULL };
	struct ring_producer *p = (struct ring_producer *)self;
	Py_ssize_t node_count = 0, block_size = 0, metadata_size = 0;
	const char *metadata = NULL;
	unsigned int flags = 0;
	PyThreadState *state;
	struct geometry g;
	struct handle *h;
	PyObject *name;
	bool join;
	int rc;

	if (!PyArg_ParseTupleAndKeywords(args, keywords, "U|nnIy#:RingProducer", names, &name, &node_count, &block_size, &flags,
					 &metadata, &metadata_size))
		return -1;
	if (p->base.handle) {
		PyErr_SetString(PyExc_RuntimeError, "this producer is open already");
		return -1;
	}
	join = node_count == 0;
	if (geometry_set(&g, name, join ? 1 : node_count, join ? 1 : block_size, false))
		return -1;
	g.options.flags = flags;
	g.options.max_consumers = MAX_CONSUMERS;
	g.options.metadata = metadata;
	g.options.metadata_size = (size_t)metadata_size;
	h = handle_new();
	if (!h)
		return -1;
	Py_INCREF(name);
	state = PyEval_SaveThread();
	rc = mqshm_producer_open(&h->producer, g.name, join ? NULL : &g.options, NULL);
	if (!rc)
		rc = mqshm_producer_info(h->producer, &p->info);
	PyEval_RestoreThread(state);
	if (rc)
		raise_result(rc);
	else if (p->base.handle)
		PyErr_SetString(PyExc_RuntimeError, "this producer is open already");
	if (PyErr_Occurred()) {
		Py_DECREF(name);
		return give_up(h);
	}
	h->shared = p->info.flags & MQSHM_SHARED;
	p->base.handle = h;
	p->base.name = name;
	return 0;
}

/* ---- popping ---------------------------------------------------------------------------------------------- */

/* With the handle taken: past what is older than the newest messages. 0, or the error of a release. */
static int skip_old(struct ring_consumer *c)
{
	struct mqshm_consumer *consumer = c->base.handle->consumer;
	struct mqshm_message old[SKIP_BATCH];

	for (int tries = 0; tries < SKIP_TRIES && mqshm_consumer_lag(consumer) > (int64_t)c->newest; tries++) {
		int n = mqshm_consumer_peek(consumer, old, SKIP_BATCH, 0);
		int64_t lag = mqshm_consumer_lag(consumer); /* now: a lapped cursor has moved */
		uint64_t more;
		int rc;

		if (n <= 0 || lag <= (int64_t)c->newest)
			return 0;
		more = (uint64_t)lag - c->newest;
		if (more > (uint64_t)n)
			more = (uint64_t)n;
		rc = mqshm_consumer_release(consumer, more);
		if (!rc)
			c->skipped += more;
		else if (rc != -ESTALE)
			return rc;
	}
	return 0;
}

/* One message in place, and the handle is taken: 1; 0: none in time; -1: an exception. */
static int next_message(struct ring_consumer *c, struct mqshm_message *message, int timeout_ms)
{
	struct handle *h;
	int end = 0, n = consumer_wait(&c->base, message, 1, timeout_ms, &end);

	if (n <= 0 || !c->newest)
		return n;
	h = c->base.handle;
	n = skip_old(c);
	if (!n)
		n = mqshm_consumer_peek(h->consumer, message, 1, 0);
	if (n > 0)
		return 1;
	handle_give(h);
	if (n == -EAGAIN) /* can't be: the newest is never passed over */
		return 0;
	raise_result(n);
	return -1;
}

static PyObject *described(PyObject *bytes, const struct mqshm_message *message)
{
	return bytes ? Py_BuildValue("(NKK)", bytes, (unsigned long long)message->timestamp_ns,
				     (unsigned long long)message->sequence) : NULL;
}

static PyObject *ring_consumer_pop_message(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
	static const char *const names[] = { "timeout_ms", "size", "unit", NULL };
	struct ring_consumer *c = (struct ring_consumer *)self;
	Py_ssize_t size = -1, unit = 1;
	struct mqshm_message message;
	PyObject *values[3], *bytes;
	int timeout_ms = 0;
	bool again;

	if (unpack("pop_message", args, count, keywords, names, 0, values) ||
	    (values[0] && !timeout_converter(values[0], &timeout_ms)))
		return NULL;
	if (values[1])
		size = PyNumber_AsSsize_t(values[1], PyExc_OverflowError);
	if (values[2])
		unit = PyNumber_AsSsize_t(values[2], PyExc_OverflowError);
	if (PyErr_Occurred())
		return NULL;
	do {
		int n = next_message(c, &message, timeout_ms);

		if (n <= 0)
			return n ? NULL : Py_NewRef(Py_None);
		if ((size >= 0 && message.size != (size_t)size) || (unit > 1 && message.size % (size_t)unit)) {
			handle_give(c->base.handle);
			return size >= 0 ? PyErr_Format(error_size, "the next message has %zu bytes, not %zd", message.size, size)
					 : PyErr_Format(error_size, "the next message has %zu bytes, no multiple of %zd", message.size,
							unit);
		}
		again = false;
		bytes = consumer_take(&c->base, &message, 1, NULL, &again);
	} while (again);
	if (bytes)
		c->popped++;
	return described(bytes, &message);
}

/* As pop_message(), but a copy is made while the message stays. Whole if it is still the next one afterwards. */
static PyObject *ring_consumer_peek_message(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
	static const char *const names[] = { "timeout_ms", "copy", NULL };
	struct ring_consumer *c = (struct ring_consumer *)self;
	int timeout_ms = 0, copy = 1;
	PyObject *values[2];

	if (unpack("peek_message", args, count, keywords, names, 0, values) ||
	    (values[0] && !timeout_converter(values[0], &timeout_ms)))
		return NULL;
	if (values[1])
		copy = PyObject_IsTrue(values[1]);
	if (copy < 0)
		return NULL;
	for (;;) {
		struct mqshm_message message, after;
		struct handle *h = c->base.handle;
		int n = next_message(c, &message, timeout_ms);
		PyObject *bytes;

		if (n <= 0)
			return n ? NULL : Py_NewRef(Py_None);
		bytes = !copy ? Py_NewRef(Py_None) : PyBytes_FromStringAndSize(NULL, (Py_ssize_t)message.size);
		if (bytes && copy) {
			char *to = PyBytes_AsString(bytes);
			PyThreadState *state = message.size > LARGE ? PyEval_SaveThread() : NULL;

			memcpy(to, message.data, message.size);
			if (state)
				PyEval_RestoreThread(state);
		}
		n = mqshm_consumer_peek(h->consumer, &after, 1, 0);
		handle_give(h);
		if (!bytes)
			return NULL;
		if (n > 0 && after.sequence == message.sequence)
			return described(bytes, &message);
		Py_DECREF(bytes);
	}
}

static PyObject *ring_consumer_counts(PyObject *self, PyObject *unused)
{
	struct ring_consumer *c = (struct ring_consumer *)self;

	(void)unused;
	return Py_BuildValue("(KK)", (unsigned long long)c->popped, (unsigned long long)c->skipped);
}

/* From the oldest available, or, the first one of a queue that holds, from its first message. created_at: the queue that it
   must be; 0: any. */
static int ring_consumer_new(PyObject *self, PyObject *args, PyObject *keywords)
{
	static char *names[] = { "name", "newest", "created_at", NULL };
	struct mqshm_consumer_options options = { .size = sizeof options, .start = MQSHM_FROM_OLDEST };
	struct ring_consumer *c = (struct ring_consumer *)self;
	unsigned long long newest = 0, created_at = 0;
	struct mqshm_queue_info info;
	PyThreadState *state;
	struct geometry g;
	struct handle *h;
	PyObject *name;
	int rc;

	if (!PyArg_ParseTupleAndKeywords(args, keywords, "U|KK:RingConsumer", names, &name, &newest, &created_at))
		return -1;
	if (c->base.handle) {
		PyErr_SetString(PyExc_RuntimeError, "this consumer is open already");
		return -1;
	}
	if (geometry_set(&g, name, 1, 1, false))
		return -1;
	h = handle_new();
	if (!h)
		return -1;
	Py_INCREF(name);
	state = PyEval_SaveThread();
	rc = mqshm_consumer_open(&h->consumer, g.name, NULL, &options);
	if (!rc)
		rc = mqshm_consumer_info(h->consumer, &info);
	PyEval_RestoreThread(state);
	if (rc)
		raise_result(rc);
	else if (created_at && info.created_at_ns != created_at)
		PyErr_Format(error_closed, "queue '%s' was removed, and another has its name", g.name);
	else if (c->base.handle)
		PyErr_SetString(PyExc_RuntimeError, "this consumer is open already");
	if (PyErr_Occurred()) {
		Py_DECREF(name);
		return give_up(h);
	}
	c->base.handle = h;
	c->base.name = name;
	c->base.node_count = info.node_count;
	c->newest = newest;
	return 0;
}

#define FAST(function) (PyCFunction)(void (*)(void))(function), METH_FASTCALL | METH_KEYWORDS

static PyMethodDef producer_methods[] = {
	{ "push", FAST(ring_producer_push),
	  "push($self, /, data, timeout_ms=0, timestamp=None)\n--\n\n"
	  "As Producer.push(). timestamp: 0..2**64-1, kept if the queue's messages carry their own; None: now." },
	{ "info", ring_producer_info, METH_NOARGS, "info($self, /)\n--\n\nWhat the queue is: a dict." },
	{ NULL, NULL, 0, NULL },
};

static PyGetSetDef producer_properties[] = {
	{ "last_write", ring_producer_last_write, NULL, "When it last pushed, in ns since 1970; 0: not yet.", NULL },
	{ NULL, NULL, NULL, NULL, NULL },
};

static PyMethodDef consumer_methods[] = {
	{ "pop_message", FAST(ring_consumer_pop_message),
	  "pop_message($self, /, timeout_ms=0, size=-1, unit=1)\n--\n\n"
	  "Take the next message: (bytes, timestamp, sequence), or None.\n\n"
	  "One that has not size bytes (-1: any), or no multiple of unit: MessageSizeError, and it stays." },
	{ "peek_message", FAST(ring_consumer_peek_message),
	  "peek_message($self, /, timeout_ms=0, copy=True)\n--\n\n"
	  "The next message, which stays: (bytes, timestamp, sequence), or None. Without copy its bytes are None." },
	{ "counts", ring_consumer_counts, METH_NOARGS,
	  "counts($self, /)\n--\n\n(popped, passed over): how many messages this object has taken, and left as too old." },
	{ NULL, NULL, 0, NULL },
};

/* A subclass of base; the type is the module's. */
static int add(PyObject *module, const char *name, PyType_Spec *spec, PyObject *base)
{
	PyObject *type = PyType_FromSpecWithBases(spec, base);
	int rc = type ? PyModule_AddObjectRef(module, name, type) : -1;

	Py_XDECREF(type);
	return rc;
}

int ring_queue_init(PyObject *module)
{
	static PyType_Slot producer_slots[] = {
		{ Py_tp_init, ring_producer_new },
		{ Py_tp_methods, producer_methods },
		{ Py_tp_getset, producer_properties },
		{ Py_tp_doc, "What of multiqueue_shm.RingQueue pushes." },
		{ 0, NULL },
	};
	static PyType_Spec producer_spec = { "multiqueue_shm._native.RingProducer", sizeof(struct ring_producer), 0,
					     Py_TPFLAGS_DEFAULT, producer_slots };
	static PyType_Slot consumer_slots[] = {
		{ Py_tp_init, ring_consumer_new },
		{ Py_tp_methods, consumer_methods },
		{ Py_tp_doc, "What of multiqueue_shm.RingQueue pops." },
		{ 0, NULL },
	};
	static PyType_Spec consumer_spec = { "multiqueue_shm._native.RingConsumer", sizeof(struct ring_consumer), 0,
					     Py_TPFLAGS_DEFAULT, consumer_slots };
	static const struct {
		const char *name;
		long value;
	} flags[] = {
		{ "SHARED", MQSHM_SHARED }, { "OVERWRITE", MQSHM_OVERWRITE }, { "HOLD", MQSHM_HOLD },
		{ "PERSISTENT", MQSHM_PERSISTENT }, { "TIMESTAMP_OFF", MQSHM_TIMESTAMP_OFF },
		{ "TIMESTAMP_OWN", MQSHM_TIMESTAMP_OWN },
	};

	for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
		if (PyModule_AddIntConstant(module, flags[i].name, flags[i].value))
			return -1;
	if (add(module, "RingProducer", &producer_spec, producer_type))
		return -1;
	return add(module, "RingConsumer", &consumer_spec, consumer_type);
}
