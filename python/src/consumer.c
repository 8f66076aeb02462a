/* SPDX-License-Identifier: MIT */
/*
 * Consumers. Everything that reads goes by consumer_wait(): it waits, and comes back with messages in place and the handle taken;
 * then they are copied to bytes objects of just their size, or one is leased to Python as a memoryview.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "native.h"

#define BATCH_MOST 65536 /* messages of one pop_batch(), which holds the GIL for small ones */
#define CHUNK 32	 /* messages looked at at once: few, as they are to be in the cache still when they are copied, and their
			    room goes back to the producer soon */
#define ENDED_NAP_MS 10	 /* after the end of a stream: how often to look for a new producer */

PyObject *consumer_type;

static struct consumer *consumer(PyObject *self)
{
	return (struct consumer *)self;
}

static void forget_view(struct consumer *c)
{
	PyObject *view = c->view, *lease = (PyObject *)c->lease;

	c->view = NULL;
	c->lease = NULL;
	Py_XDECREF(view);
	Py_XDECREF(lease);
}

/* End the view that peek() gave; with keep its message stays unread. 0; -1 and BufferError, and nothing has changed. */
static int drop_view(struct consumer *c, bool keep, int *result)
{
	struct lease *lease = c->lease;
	PyObject *view = c->view;
	int rc = 0;

	if (!lease)
		return 0;
	Py_INCREF((PyObject *)lease);
	Py_XINCREF(view);
	if (lease->active) {
		lease->keep = keep;
		rc = lease_release_view(lease, view);
		lease->keep = false;
	}
	if (result)
		*result = lease->result;
	if (!rc && c->lease == lease)
		forget_view(c);
	Py_XDECREF(view);
	Py_DECREF((PyObject *)lease);
	return rc;
}

/* Without waiting; the handle is taken, the GIL held. */
static int peek_now(struct consumer *c, struct mqshm_message *messages, size_t max)
{
	return lease_settle(c->handle) ? mqshm_consumer_peek(c->handle->consumer, messages, max, 0) : -EBUSY;
}

/*
 * For at most a slice. With the GIL, which is let go. True: the handle is taken, and *rc is how many; else why not. Without
 * messages it is given before the GIL is taken: a daemon thread does not come back from that when Python ends.
 */
static bool peek_slice(struct consumer *c, const struct wait *w, struct mqshm_message *messages, size_t max, int *rc)
{
	struct handle *h = c->handle;
	int slice = wait_slice(w);
	PyThreadState *state = PyEval_SaveThread();
	bool taken = handle_take_to_wait(h, now_ms() + slice);

	if (taken) {
		if (!h->consumer)
			*rc = -EBADF;
		else if (h->lease)
			*rc = -EBUSY;
		else
			*rc = mqshm_consumer_peek(h->consumer, messages, max, wait_slice(w));
		handle_waited(h);
		taken = *rc > 0;
		if (!taken)
			handle_give(h);
	}
	PyEval_RestoreThread(state);
	return taken;
}

static void nap(const struct wait *w)
{
	int ms = wait_slice(w);
	PyThreadState *state = PyEval_SaveThread();

	nanosleep(&(struct timespec){ 0, (ms < ENDED_NAP_MS ? ms : ENDED_NAP_MS) * 1000000L }, NULL);
	PyEval_RestoreThread(state);
}

int consumer_wait(struct consumer *c, struct mqshm_message *messages, size_t max, int timeout_ms, int *end)
{
	struct handle *h = usable(c->handle);
	bool first = true, last = timeout_ms == 0;
	struct wait w;

	if (!h)
		return -1;
	if (!last)
		wait_begin(&w, timeout_ms);
	for (;; first = false) {
		bool taken;
		int rc = -EAGAIN;

		if (last || first) {
			taken = last ? handle_enter(h) : handle_try(h);
			if (last && !taken)
				return -1;
			if (taken)
				rc = h->consumer ? peek_now(c, messages, max) : -EBADF;
		} else {
			taken = peek_slice(c, &w, messages, max, &rc);
		}
		if (taken && rc > 0)
			return rc;
		if (taken)
			handle_give(h);
		switch (rc) {
		case -EAGAIN: case -ETIMEDOUT: case -EINTR: case -ECANCELED:
			break;
		case -EBUSY: /* it is in view: that ends, or we do */
			if (drop_view(c, true, NULL))
				return -1;
			if (!handle_enter(h))
				return -1;
			rc = lease_settle(h);
			handle_give(h);
			if (rc)
				continue;
			PyErr_SetString(PyExc_BufferError, "a view of the last message is still in use");
			return -1;
		case -ESHUTDOWN: case -EOWNERDEAD:
			*end = rc;
			if (timeout_ms < 0)
				return 0; /* no signal is looked for: this thread's sentence is still that of the end */
			if (!last)
				nap(&w);
			break;
		case -EBADF:
			raise_closed_meanwhile();
			return -1;
		default:
			raise_result(rc);
			return -1;
		}
		if (PyErr_CheckSignals())
			return -1;
		if (last)
			return 0;
		last = wait_over(&w);
	}
}

PyObject *consumer_take(struct consumer *c, const struct mqshm_message *messages, int count, PyObject *list, bool *again)
{
	struct handle *h = c->handle;
	Py_ssize_t before = list ? PyList_Size(list) : 0;
	size_t total = 0;
	PyObject *bytes = NULL;
	bool large;
	int rc = 0;

	for (int i = 0; i < count; i++)
		total += messages[i].size;
	large = total > LARGE;
	for (int i = 0; i < count && !rc; i++) {
		bytes = PyBytes_FromStringAndSize(large ? NULL : messages[i].data, (Py_ssize_t)messages[i].size);
		rc = !bytes || (list && PyList_Append(list, bytes));
		if (list)
			Py_XDECREF(bytes); /* the list has it */
	}
	if (!rc && large) {
		PyThreadState *state;
		char **to = list ? malloc((size_t)count * sizeof *to) : NULL;

		for (int i = 0; to && i < count; i++)
			to[i] = PyBytes_AsString(PyList_GetItem(list, before + i));
		if (list && !to) {
			PyErr_NoMemory();
			rc = -1;
		} else {
			char *only = list ? NULL : PyBytes_AsString(bytes);

			state = PyEval_SaveThread();
			for (int i = 0; i < count; i++)
				memcpy(to ? to[i] : only, messages[i].data, messages[i].size);
			PyEval_RestoreThread(state);
			free(to);
		}
	}
	if (rc) {
		handle_give(h); /* nothing was released: they come again */
		if (list)
			PyList_SetSlice(list, before, PyList_Size(list), NULL);
		else
			Py_XDECREF(bytes);
		return NULL;
	}
	rc = mqshm_consumer_release(h->consumer, (size_t)count);
	handle_give(h);
	*again = rc == -ESTALE; /* of a lossy read; or our role is lost, then the next peek says so */
	if (!rc)
		return list ? list : bytes;
	if (list)
		PyList_SetSlice(list, before, PyList_Size(list), NULL);
	else
		Py_DECREF(bytes);
	if (!*again)
		raise_result(rc);
	return NULL;
}

/* One message: bytes, NULL and no exception when there is none. */
static PyObject *pop_one(struct consumer *c, int timeout_ms, int *end)
{
	struct mqshm_message message;
	PyObject *bytes;
	bool again;

	do {
		int n = consumer_wait(c, &message, 1, timeout_ms, end);

		if (n <= 0)
			return NULL;
		again = false;
		bytes = consumer_take(c, &message, 1, NULL, &again);
	} while (again);
	return bytes;
}

static PyObject *consumer_pop(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
	static const char *const names[] = { "timeout_ms", NULL };
	PyObject *values[1], *bytes;
	int timeout_ms = 0, end = 0;

	if (unpack("pop", args, count, keywords, names, 0, values) || (values[0] && !timeout_converter(values[0], &timeout_ms)))
		return NULL;
	bytes = pop_one(consumer(self), timeout_ms, &end);
	return bytes || PyErr_Occurred() ? bytes : Py_NewRef(Py_None);
}

/* Without waiting, and without a look at signals: what has been taken already must not get lost. As consumer_wait(). */
static int more(struct consumer *c, struct mqshm_message *messages, size_t max)
{
	struct handle *h = c->handle;
	int n;

	if (!handle_try(h))
		return 0; /* another thread's turn */
	n = h->consumer ? peek_now(c, messages, max) : -EBADF;
	if (n > 0)
		return n;
	handle_give(h);
	return 0;
}

/* max_count and timeout_ms, of which the latter may be left out. False: an exception is set. */
static bool batch_arguments(const char *function, PyObject *const *args, Py_ssize_t count, PyObject *keywords, Py_ssize_t *max,
			    int *timeout_ms)
{
	static const char *const names[] = { "max_count", "timeout_ms", NULL };
	PyObject *values[2];

	if (unpack(function, args, count, keywords, names, 1, values) ||
	    (values[1] && !timeout_converter(values[1], timeout_ms)))
		return false;
	*max = PyNumber_AsSsize_t(values[0], NULL); /* clipped */
	if (*max == -1 && PyErr_Occurred())
		return false;
	if (*max < 1)
		PyErr_Format(PyExc_ValueError, "max_count is %zd, not 1 or more", *max);
	return *max >= 1;
}

static PyObject *consumer_pop_batch(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
	struct mqshm_message messages[CHUNK];
	struct consumer *c = consumer(self);
	PyObject *list;
	Py_ssize_t max, got = 0;
	int timeout_ms = 0, end = 0;

	if (!batch_arguments("pop_batch", args, count, keywords, &max, &timeout_ms))
		return NULL;
	if (max > BATCH_MOST)
		max = BATCH_MOST;
	list = PyList_New(0);
	while (list && got < max) {
		int want = max - got < CHUNK ? (int)(max - got) : CHUNK;
		int n = got ? more(c, messages, (size_t)want) : consumer_wait(c, messages, (size_t)want, timeout_ms, &end);
		bool again = false;

		if (n > 0 && !consumer_take(c, messages, n, list, &again) && !again)
			n = -1;
		if (again)
			continue;
		if (n < 0 && got)
			PyErr_Clear(); /* what we have got is the answer; the next call gives the error */
		else if (n < 0)
			Py_CLEAR(list);
		if (n < want)
			break;
		got += n;
	}
	return list;
}

/* What bytes become with what else is known of their messages, in place. 0; -1 and an exception. */
static int add_facts(PyObject *list, const struct mqshm_message *messages, int count)
{
	for (int i = 0; i < count; i++) {
		PyObject *tuple = Py_BuildValue("(OKK)", PyList_GetItem(list, i), (unsigned long long)messages[i].sequence,
						(unsigned long long)messages[i].timestamp_ns);

		if (!tuple || PyList_SetItem(list, i, tuple))
			return -1;
	}
	return 0;
}

static PyObject *consumer_pop_facts(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
	struct mqshm_message messages[CHUNK];
	struct consumer *c = consumer(self);
	PyObject *list;
	int timeout_ms = 0, end = 0, n;
	bool again = true;
	Py_ssize_t max;

	if (!batch_arguments("pop_facts", args, count, keywords, &max, &timeout_ms))
		return NULL;
	list = PyList_New(0);
	while (list && again) {
		again = false;
		n = consumer_wait(c, messages, (size_t)(max < CHUNK ? max : CHUNK), timeout_ms, &end);
		if (n > 0 && !consumer_take(c, messages, n, list, &again))
			n = again ? 0 : -1;
		if (n < 0 || add_facts(list, messages, n))
			Py_CLEAR(list);
	}
	return list;
}

static PyObject *consumer_peek(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
	static const char *const names[] = { "timeout_ms", NULL };
	struct consumer *c = consumer(self);
	struct mqshm_message message;
	struct lease *lease;
	PyObject *values[1], *view;
	int timeout_ms = 0, end = 0, n;

	if (unpack("peek", args, count, keywords, names, 0, values) || (values[0] && !timeout_converter(values[0], &timeout_ms)))
		return NULL;
	if (!usable(c->handle))
		return NULL;
	if (c->lease && c->lease->active) {
		if (c->view && PyObject_Size(c->view) >= 0)
			return Py_NewRef(c->view); /* looking again gives the same */
		PyErr_Clear();
		PyErr_SetString(PyExc_BufferError, "a slice, cast or array of the last view is still in use");
		return NULL;
	}
	forget_view(c);
	n = consumer_wait(c, &message, 1, timeout_ms, &end);
	if (n <= 0)
		return n ? NULL : Py_NewRef(Py_None);
	lease = lease_new(c->handle, message.data, message.size, false);
	if (lease)
		lease->exports++; /* until the view is there: another thread that finds none would end it */
	handle_give(c->handle);
	if (!lease)
		return NULL;
	view = PyMemoryView_FromObject((PyObject *)lease);
	lease->exports--;
	if (!view) {
		Py_DECREF((PyObject *)lease);
		return NULL;
	}
	forget_view(c); /* what another thread had in view, and ended */
	c->lease = lease;
	c->view = Py_XNewRef(view);
	return view;
}

static PyObject *consumer_release(PyObject *self, PyObject *unused)
{
	struct consumer *c = consumer(self);
	int result = 0;

	(void)unused;
	if (!usable(c->handle))
		return NULL;
	if (!c->lease || !c->lease->active) {
		PyErr_SetString(PyExc_ValueError, "there is no message in view");
		return NULL;
	}
	if (drop_view(c, false, &result))
		return NULL;
	if (result == -ESTALE) {
		PyErr_SetString(error_overtaken, "the producer has overtaken this read: what was in view may be of several messages");
		return NULL;
	}
	return result ? raise_result(result) : Py_NewRef(Py_None);
}

static PyObject *consumer_next(PyObject *self)
{
	int end = 0;
	PyObject *bytes = pop_one(consumer(self), -1, &end);

	if (!bytes && !PyErr_Occurred() && end == -EOWNERDEAD)
		raise_result(end);
	return bytes; /* NULL without an exception: the end */
}

/* What the next call would find: 1, 0 or an error of the library. */
static int look(struct handle *h)
{
	struct mqshm_wait_item item = { .consumer = h->consumer };
	int rc = mqshm_wait_any(&item, 1, 0);

	return rc > 0 ? item.result : rc == -EAGAIN ? 0 : rc;
}

static PyObject *consumer_ended(PyObject *self, void *unused)
{
	struct handle *h = usable(consumer(self)->handle);
	int rc;

	(void)unused;
	if (!h || !handle_enter(h))
		return NULL;
	rc = look(h);
	handle_give(h);
	if (rc == -ESHUTDOWN || rc == -EOWNERDEAD)
		return PyUnicode_FromString(rc == -ESHUTDOWN ? "closed" : "died");
	return rc < 0 ? raise_result(rc) : Py_NewRef(Py_None);
}

static PyObject *consumer_is_active(PyObject *self, PyObject *unused)
{
	struct handle *h = consumer(self)->handle;
	int rc;

	(void)unused;
	if (!h || (!handle_inherited(h) && !h->consumer))
		return Py_NewRef(Py_False);
	if (!usable(h) || !handle_enter(h))
		return NULL;
	rc = look(h);
	handle_give(h);
	return PyBool_FromLong(rc >= 0 || rc == -ESHUTDOWN || rc == -EOWNERDEAD);
}

static PyObject *number_of(PyObject *self, int64_t (*get)(const struct mqshm_consumer *))
{
	struct handle *h = usable(consumer(self)->handle);
	int64_t value;

	if (!h || !handle_enter(h))
		return NULL;
	value = get(h->consumer);
	handle_give(h);
	return value < 0 ? raise_result((int)value) : PyLong_FromLongLong(value);
}

static PyObject *consumer_lag(PyObject *self, void *unused)
{
	(void)unused;
	return number_of(self, mqshm_consumer_lag);
}

static PyObject *consumer_missed(PyObject *self, void *unused)
{
	(void)unused;
	return number_of(self, mqshm_consumer_missed);
}

static PyObject *consumer_fileno(PyObject *self, PyObject *unused)
{
	struct handle *h = usable(consumer(self)->handle);
	int fd;

	(void)unused;
	if (!h || !handle_enter(h))
		return NULL;
	fd = mqshm_consumer_fd(h->consumer);
	handle_give(h);
	return fd < 0 ? raise_result(fd) : PyLong_FromLong(fd);
}

static PyObject *consumer_metadata(PyObject *self, PyObject *unused)
{
	struct handle *h = usable(consumer(self)->handle);
	struct mqshm_queue_info info;
	int rc;

	(void)unused;
	if (!h || !handle_enter(h))
		return NULL;
	rc = mqshm_consumer_info(h->consumer, &info);
	handle_give(h);
	return rc ? raise_result(rc) : metadata_text(&info);
}

static PyObject *leave(PyObject *self, int (*how)(struct mqshm_consumer *))
{
	struct consumer *c = consumer(self);
	struct handle *h = c->handle;
	struct mqshm_consumer *leaving;
	PyThreadState *state;

	if (!h)
		return Py_NewRef(Py_None);
	if (!usable(h) || drop_view(c, true, NULL))
		return NULL;
	state = PyEval_SaveThread();
	handle_take(h);
	PyEval_RestoreThread(state);
	if (!lease_settle(h)) {
		handle_give(h);
		PyErr_SetString(PyExc_BufferError, "a view of the last message is still in use");
		return NULL;
	}
	leaving = h->consumer;
	h->consumer = NULL;
	state = PyEval_SaveThread();
	if (leaving)
		mqshm_consumer_cancel(leaving); /* who waits for its descriptor, or a copy of that, is to look */
	how(leaving);
	handle_give(h);
	PyEval_RestoreThread(state);
	return Py_NewRef(Py_None);
}

static PyObject *consumer_close(PyObject *self, PyObject *unused)
{
	(void)unused;
	return leave(self, mqshm_consumer_close);
}

static PyObject *consumer_unregister(PyObject *self, PyObject *unused)
{
	(void)unused;
	return leave(self, mqshm_consumer_leave);
}

static PyObject *consumer_enter(PyObject *self, PyObject *unused)
{
	(void)unused;
	return usable(consumer(self)->handle) ? Py_NewRef(self) : NULL;
}

static PyObject *consumer_exit(PyObject *self, PyObject *args)
{
	(void)args;
	if (consumer(self)->handle && handle_inherited(consumer(self)->handle))
		return Py_NewRef(Py_None); /* a child that ends: nothing here is its own */
	return leave(self, mqshm_consumer_close);
}

static PyObject *consumer_name(PyObject *self, void *unused)
{
	(void)unused;
	return Py_NewRef(consumer(self)->name ? consumer(self)->name : Py_None);
}

static PyObject *consumer_closed(PyObject *self, void *unused)
{
	struct handle *h = consumer(self)->handle;

	(void)unused;
	return PyBool_FromLong(!h || !h->consumer);
}

static int consumer_new(PyObject *self, PyObject *args, PyObject *keywords)
{
	static char *names[] = { "shm_name", "node_count", "block_size", "start_mode", "shared", "metadata", "lossy",
				 "consumer_name", "lease_ms", NULL };
	struct mqshm_consumer_options options = { .size = sizeof options, .start = MQSHM_FROM_LATEST };
	struct consumer *c = consumer(self);
	struct mqshm_queue_info info;
	Py_ssize_t node_count, block_size;
	PyThreadState *state;
	PyObject *name, *metadata = NULL, *text = NULL;
	struct geometry g;
	struct handle *h;
	int shared = 0, lossy = 0, rc;
	Py_ssize_t lease_ms = 0;

	if (!PyArg_ParseTupleAndKeywords(args, keywords, "Unn|i$pUpzn:Consumer", names, &name, &node_count, &block_size,
					 &options.start, &shared, &metadata, &lossy, &options.name, &lease_ms))
		return -1;
	if (c->handle) {
		PyErr_SetString(PyExc_RuntimeError, "this consumer is open already");
		return -1;
	}
	if (geometry_set(&g, name, node_count, block_size, shared) || (metadata && !(text = geometry_metadata(&g, metadata))))
		return -1;
	/* The library checks the range; here only what would change its value on the way. */
	options.lease_ms = lease_ms < 0 || lease_ms > UINT32_MAX ? UINT32_MAX : (uint32_t)lease_ms;
	options.flags = lossy ? MQSHM_LOSSY : 0;
	h = handle_new();
	if (!h) {
		Py_XDECREF(text);
		return -1;
	}
	Py_INCREF(name);
	state = PyEval_SaveThread();
	rc = mqshm_consumer_open(&h->consumer, g.name, &g.options, &options);
	if (!rc)
		rc = mqshm_consumer_info(h->consumer, &info);
	PyEval_RestoreThread(state);
	Py_XDECREF(text);
	if (rc)
		raise_result(rc);
	else if (c->handle)
		PyErr_SetString(PyExc_RuntimeError, "this consumer is open already");
	if (rc || PyErr_Occurred() || geometry_check(&g, &info)) {
		PyObject *type, *value, *traceback;

		PyErr_Fetch(&type, &value, &traceback);
		handle_put(h);
		PyErr_Restore(type, value, traceback);
		Py_DECREF(name);
		return -1;
	}
	c->handle = h;
	c->name = name;
	c->node_count = info.node_count;
	return 0;
}

static void consumer_dealloc(PyObject *self)
{
	struct consumer *c = consumer(self);
	PyTypeObject *type = Py_TYPE(self);
	PyObject *error, *value, *traceback;

	PyErr_Fetch(&error, &value, &traceback);
	if (c->lease)
		c->lease->keep = true; /* nobody has said that it is read */
	forget_view(c);
	handle_put(c->handle);
	Py_XDECREF(c->name);
	PyErr_Restore(error, value, traceback);
	((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
	Py_DECREF(type);
}

#define FAST(function) (PyCFunction)(void (*)(void))(function), METH_FASTCALL | METH_KEYWORDS

static PyMethodDef methods[] = {
	{ "pop", FAST(consumer_pop),
	  "pop($self, /, timeout_ms=0)\n--\n\n"
	  "Take the next message: bytes of 0..block_size bytes, a copy.\n\n"
	  "timeout_ms: 0 does not wait; negative or None waits for ever. None when no message came in time, which after\n"
	  "the end of a stream (see ended) is waited out, too, as another producer may come; with a timeout of -1 the end\n"
	  "of the stream gives None.\n\n"
	  "Raises QueueClosedError (closed, evicted, the queue was removed by force), QueueForkedError, BufferError (an\n"
	  "array still uses the message in view), TypeError." },
	{ "pop_batch", FAST(consumer_pop_batch),
	  "pop_batch($self, /, max_count, timeout_ms=0)\n--\n\n"
	  "Take what is there, 1..max_count messages (at most 65,536 a call): a list of bytes, in order.\n\n"
	  "Waits for the first one only. An empty list when none came in time; errors as for pop(), ValueError for a\n"
	  "max_count below 1." },
	{ "pop_facts", FAST(consumer_pop_facts),
	  "pop_facts($self, /, max_count, timeout_ms=0)\n--\n\n"
	  "What pop_message() and pop_messages() are made of: as pop_batch(), at most 32, each (bytes, sequence, timestamp)." },
	{ "peek", FAST(consumer_peek),
	  "peek($self, /, timeout_ms=0)\n--\n\n"
	  "Look at the next message in place: a read-only memoryview of bytes (format 'B', shape (size,)), or None.\n\n"
	  "No copy is made: numpy.frombuffer(view, dtype) reads the ring itself. The message is over, and its room goes\n"
	  "back to the producer, with view.release(), the end of `with consumer.peek() as view:`, or release(); looking\n"
	  "again before that gives the same view. pop(), pop_batch() and close() end the view, and the message stays\n"
	  "unread (pop() gives it). All of them raise BufferError while an array, slice or cast still uses the view;\n"
	  "the message and its memory stay as they are. Timeout and errors as for pop()." },
	{ "release", consumer_release, METH_NOARGS,
	  "release($self, /)\n--\n\n"
	  "Done with the message that peek() gave: end the view and move on.\n\n"
	  "Raises BufferError (still in use by an array, slice or cast), ValueError (no message in view),\n"
	  "MessageOvertakenError (a queue that overwrites has done so while it was in view)." },
	{ "fileno", consumer_fileno, METH_NOARGS,
	  "fileno($self, /)\n--\n\n"
	  "A descriptor for select, poll, epoll and asyncio: readable while there is a message, the end of the stream or\n"
	  "an error to be had. It belongs to this consumer: don't read or close it. Then call pop() or pop_batch() with\n"
	  "timeout 0 until there is nothing." },
	{ "metadata", consumer_metadata, METH_NOARGS,
	  "metadata($self, /)\n--\n\nThe text that the queue was created with, '' if none." },
	{ "is_active", consumer_is_active, METH_NOARGS,
	  "is_active($self, /)\n--\n\n"
	  "Is it open, not evicted, and the queue not removed? The end of a stream doesn't end this: another producer may\n"
	  "come." },
	{ "unregister", consumer_unregister, METH_NOARGS,
	  "unregister($self, /)\n--\n\nGive up the place in the queue: close(), for good." },
	{ "close", consumer_close, METH_NOARGS,
	  "close($self, /)\n--\n\n"
	  "Leave the queue; its last user removes it. A call that waits in another thread raises QueueClosedError. Again:\n"
	  "nothing. Raises BufferError while an array, slice or cast uses the message in view." },
	{ "__enter__", consumer_enter, METH_NOARGS, "__enter__($self, /)\n--\n\nItself." },
	{ "__exit__", consumer_exit, METH_VARARGS, "__exit__($self, /, *args)\n--\n\nclose()." },
	{ NULL, NULL, 0, NULL },
};

static PyGetSetDef properties[] = {
	{ "lag", consumer_lag, NULL, "Messages that are there and not read yet.", NULL },
	{ "missed", consumer_missed, NULL, "Messages that had gone before they could be read.", NULL },
	{ "ended", consumer_ended, NULL,
	  "None while messages may come; when all is read and the last producer closed: 'closed'; when it died: 'died'.", NULL },
	{ "name", consumer_name, NULL, "The name of the queue.", NULL },
	{ "closed", consumer_closed, NULL, "True after close() or unregister().", NULL },
	{ NULL, NULL, NULL, NULL, NULL },
};

int consumer_init(PyObject *module)
{
	static PyType_Slot slots[] = {
		{ Py_tp_init, consumer_new },
		{ Py_tp_dealloc, consumer_dealloc },
		{ Py_tp_methods, methods },
		{ Py_tp_getset, properties },
		{ Py_tp_iter, PyObject_SelfIter },
		{ Py_tp_iternext, consumer_next },
		{ Py_tp_doc, "What multiqueue_shm.Consumer is made of." },
		{ 0, NULL },
	};
	static PyType_Spec spec = { "multiqueue_shm._native.Consumer", sizeof(struct consumer), 0,
				    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, slots };

	consumer_type = PyType_FromSpec(&spec);
	return consumer_type && !PyModule_AddObjectRef(module, "Consumer", consumer_type) ? 0 : -1;
}
