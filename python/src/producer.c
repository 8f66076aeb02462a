/* SPDX-License-Identifier: MIT */
/* Producers, and reservations: room in the ring that Python fills in place. */
#include <errno.h>
#include <stdlib.h>

#include "native.h"

#define SHARED_MS 1 /* a push without waiting finds another producer of a shared queue at it: that is over by then */

struct reservation {
	PyObject_HEAD
	struct lease *lease;
	PyObject *view;
};

PyObject *producer_type;
static PyObject *reservation_type;

static struct producer *producer(PyObject *self)
{
	return (struct producer *)self;
}

static int push_one(struct mqshm_producer *p, struct attempt *a, int timeout_ms)
{
	return mqshm_producer_push(p, a->data, a->size, timeout_ms);
}

static int push_more(struct mqshm_producer *p, struct attempt *a, int timeout_ms)
{
	int rc = mqshm_producer_push_batch(p, a->messages + a->done, a->size - a->done, timeout_ms);

	if (rc > 0)
		a->done += (size_t)rc;
	if (rc < 0 && a->done && rc != -EAGAIN && rc != -ETIMEDOUT && rc != -EINTR && rc != -ECANCELED)
		return 0; /* how many there were is the answer; the next call gives the error */
	return rc < 0 ? rc : a->done == a->size ? 0 : -EAGAIN;
}

static int reserve_room(struct mqshm_producer *p, struct attempt *a, int timeout_ms)
{
	return mqshm_producer_reserve(p, a->size, &a->room, timeout_ms);
}

/* Without the GIL: true, and *rc tells; false: the handle was not free in time. Given back unless kept and rc is 0. */
static bool attempt_slice(struct handle *h, struct attempt *a, const struct wait *w, bool last, bool keep, int *rc)
{
	int slice = last ? (h->shared ? SHARED_MS : 0) : wait_slice(w);

	if (last)
		handle_take(h);
	else if (!handle_take_to_wait(h, now_ms() + slice))
		return false;
	*rc = h->producer ? a->call(h->producer, a, slice) : -EBADF;
	handle_waited(h);
	if (*rc || !keep)
		handle_give(h);
	return true;
}

int attempt(struct handle *h, struct attempt *a, size_t bytes, int timeout_ms, bool keep)
{
	bool last = timeout_ms == 0;
	PyThreadState *state;
	struct wait w;
	int rc = -EAGAIN;

	if (bytes <= LARGE && handle_try(h)) { /* the quick way: nobody else is at it, and there is room */
		rc = h->producer ? a->call(h->producer, a, 0) : -EBADF;
		if (rc || !keep)
			handle_give(h);
		if (!rc || (rc == -EAGAIN && last && !h->shared))
			return rc;
	}
	wait_begin(&w, timeout_ms);
	for (;;) {
		if (rc == -EBADF)
			raise_closed_meanwhile();
		else if (rc != -EAGAIN && rc != -ETIMEDOUT && rc != -EINTR && rc != -ECANCELED)
			raise_result(rc);
		if (PyErr_Occurred() || PyErr_CheckSignals())
			return -1;
		state = PyEval_SaveThread();
		if (!attempt_slice(h, a, &w, last, keep, &rc))
			rc = -EAGAIN;
		PyEval_RestoreThread(state);
		if (!rc)
			return 0;
		if (last && (rc == -EAGAIN || rc == -ETIMEDOUT))
			return -EAGAIN;
		if (!last)
			last = wait_over(&w);
	}
}

static PyObject *producer_push(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
	static const char *const names[] = { "data", "timeout_ms", NULL };
	struct handle *h = usable(producer(self)->handle);
	struct attempt a = { .call = push_one };
	Py_buffer view = { .obj = NULL };
	PyObject *values[2];
	int timeout_ms = 0, rc;

	if (!h || unpack("push", args, count, keywords, names, 1, values) ||
	    (values[1] && !timeout_converter(values[1], &timeout_ms)))
		return NULL;
	if (PyObject_GetBuffer(values[0], &view, PyBUF_SIMPLE))
		return NULL;
	a.data = view.buf;
	a.size = (size_t)view.len;
	rc = attempt(h, &a, a.size, timeout_ms, false);
	PyBuffer_Release(&view);
	return rc == 0 || rc == -EAGAIN ? PyBool_FromLong(!rc) : NULL;
}

static PyObject *producer_push_batch(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
	static const char *const names[] = { "messages", "timeout_ms", NULL };
	struct handle *h = usable(producer(self)->handle);
	struct attempt a = { .call = push_more };
	PyObject *values[2], *items;
	struct iovec *pieces;
	Py_buffer *views = NULL; /* of what is not bytes, from which one can't take its memory */
	size_t bytes = 0, n, viewed = 0;
	int timeout_ms = 0, rc = 0;

	if (!h || unpack("push_batch", args, count, keywords, names, 1, values) ||
	    (values[1] && !timeout_converter(values[1], &timeout_ms)))
		return NULL;
	items = PySequence_Tuple(values[0]);
	if (!items)
		return NULL;
	n = (size_t)PyTuple_Size(items);
	if (n == 0) {
		Py_DECREF(items);
		return PyLong_FromLong(0);
	}
	pieces = calloc(n, sizeof *pieces);
	if (!pieces)
		PyErr_NoMemory();
	for (size_t i = 0; pieces && i < n && !rc; i++) {
		PyObject *item = PyTuple_GetItem(items, (Py_ssize_t)i);

		if (PyBytes_CheckExact(item)) {
			pieces[i].iov_base = PyBytes_AsString(item);
			pieces[i].iov_len = (size_t)PyBytes_Size(item);
		} else {
			if (!views && !(views = malloc(n * sizeof *views))) {
				PyErr_NoMemory();
				rc = -1;
				break;
			}
			rc = PyObject_GetBuffer(item, &views[viewed], PyBUF_SIMPLE);
			if (!rc) {
				pieces[i].iov_base = views[viewed].buf;
				pieces[i].iov_len = (size_t)views[viewed++].len;
			}
		}
		bytes += pieces[i].iov_len;
	}
	if (pieces && !rc) {
		a.messages = pieces;
		a.size = n;
		rc = attempt(h, &a, bytes, timeout_ms, false);
	} else {
		rc = -1;
	}
	for (size_t i = 0; i < viewed; i++)
		PyBuffer_Release(&views[i]);
	free(views);
	free(pieces);
	Py_DECREF(items);
	return rc == 0 || rc == -EAGAIN ? PyLong_FromSize_t(a.done) : NULL;
}

static PyObject *producer_reserve(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
	static const char *const names[] = { "size", "timeout_ms", NULL };
	struct handle *h = usable(producer(self)->handle);
	struct attempt a = { .call = reserve_room };
	struct reservation *r;
	PyObject *values[2];
	int timeout_ms = -1, rc;
	Py_ssize_t size;

	if (!h || unpack("reserve", args, count, keywords, names, 1, values) ||
	    (values[1] && !timeout_converter(values[1], &timeout_ms)))
		return NULL;
	size = PyNumber_AsSsize_t(values[0], PyExc_OverflowError);
	if (size < 0 && PyErr_Occurred())
		return NULL;
	if (size < 0)
		return PyErr_Format(PyExc_ValueError, "size is %zd, below 0", size);
	a.size = (size_t)size;
	r = PyObject_New(struct reservation, (PyTypeObject *)reservation_type);
	if (!r)
		return NULL;
	r->lease = NULL;
	r->view = NULL;
	rc = attempt(h, &a, 0, timeout_ms, true);
	if (!rc) {
		r->lease = lease_new(h, a.room, a.size, true);
		if (!r->lease)
			mqshm_producer_abort(h->producer);
		handle_give(h);
		if (r->lease)
			r->view = PyMemoryView_FromObject((PyObject *)r->lease);
		if (r->view)
			return (PyObject *)r;
	} else if (rc == -EAGAIN) {
		PyErr_SetString(timeout_ms ? error_timeout : error_full, "the queue has no room for this message");
	}
	Py_DECREF(r);
	return NULL;
}

/* 0; -1 and an exception. used < 0: all. */
static int reservation_finish(struct reservation *r, bool commit, Py_ssize_t used)
{
	struct lease *lease = r->lease;
	struct handle *h = lease->handle;
	int rc = -EBADF;

	if (!usable(h))
		return -1;
	if (lease->active && (used > lease->size || used < -1)) {
		PyErr_Format(PyExc_ValueError, "used is %zd, not 0..%zd", used, lease->size);
		return -1;
	}
	if (lease->active && lease_release_view(lease, r->view))
		return -1;
	if (!handle_enter(h))
		return -1;
	if (h->lease == lease && lease->exports) { /* another thread looks at it again */
		handle_give(h);
		PyErr_SetString(PyExc_BufferError, "a view of this room is still in use");
		return -1;
	}
	if (h->lease == lease) {
		rc = commit ? mqshm_producer_commit(h->producer, (size_t)(used < 0 ? lease->size : used))
			    : mqshm_producer_abort(h->producer);
		lease_end(lease);
	}
	handle_give(h);
	if (rc == -EBADF)
		PyErr_SetString(PyExc_ValueError, "this reservation was committed or aborted already");
	else if (rc)
		raise_result(rc);
	return rc ? -1 : 0;
}

static PyObject *reservation_commit(PyObject *self, PyObject *args)
{
	PyObject *used = Py_None;
	Py_ssize_t size = -1;

	if (!PyArg_ParseTuple(args, "|O:commit", &used))
		return NULL;
	if (used != Py_None) {
		size = PyNumber_AsSsize_t(used, PyExc_OverflowError);
		if (size == -1 && PyErr_Occurred())
			return NULL;
		if (size < 0)
			return PyErr_Format(PyExc_ValueError, "used is %zd, below 0", size);
	}
	return reservation_finish((struct reservation *)self, true, size) ? NULL : Py_NewRef(Py_None);
}

static PyObject *reservation_abort(PyObject *self, PyObject *unused)
{
	(void)unused;
	return reservation_finish((struct reservation *)self, false, -1) ? NULL : Py_NewRef(Py_None);
}

static PyObject *reservation_enter(PyObject *self, PyObject *unused)
{
	struct reservation *r = (struct reservation *)self;

	(void)unused;
	if (!usable(r->lease->handle))
		return NULL;
	if (r->lease->active)
		return Py_NewRef(r->view);
	PyErr_SetString(PyExc_ValueError, "this reservation was committed or aborted already");
	return NULL;
}

/* Committed; after an exception aborted, as soon as nobody looks any more: what was raised shall not be hidden. */
static PyObject *reservation_exit(PyObject *self, PyObject *args)
{
	struct reservation *r = (struct reservation *)self;
	PyObject *type = Py_None, *value, *traceback;

	if (!PyArg_ParseTuple(args, "|OOO:__exit__", &type, &value, &traceback))
		return NULL;
	if (!r->lease->active || handle_inherited(r->lease->handle))
		return Py_NewRef(Py_False);
	if (type == Py_None)
		return reservation_finish(r, true, -1) ? NULL : Py_NewRef(Py_False);
	r->lease->abandoned = true;
	if (lease_release_view(r->lease, r->view)) {
		if (!PyErr_ExceptionMatches(PyExc_BufferError))
			return NULL;
		PyErr_Clear();
	} else if (r->lease->active && reservation_finish(r, false, -1)) {
		return NULL;
	}
	return Py_NewRef(Py_False);
}

static PyObject *reservation_size(PyObject *self, void *unused)
{
	(void)unused;
	return PyLong_FromSsize_t(((struct reservation *)self)->lease->size);
}

static void reservation_dealloc(PyObject *self)
{
	struct reservation *r = (struct reservation *)self;
	PyTypeObject *type = Py_TYPE(self);

	if (r->lease)
		r->lease->abandoned = true;
	Py_XDECREF(r->view);
	Py_XDECREF((PyObject *)r->lease);
	PyObject_Free(self);
	Py_DECREF(type);
}

static PyObject *producer_metadata(PyObject *self, PyObject *unused)
{
	struct handle *h = usable(producer(self)->handle);
	struct mqshm_queue_info info;
	int rc;

	(void)unused;
	if (!h || !handle_enter(h))
		return NULL;
	rc = mqshm_producer_info(h->producer, &info);
	handle_give(h);
	return rc ? raise_result(rc) : metadata_text(&info);
}

static PyObject *producer_is_active(PyObject *self, PyObject *unused)
{
	struct mqshm_wait_item item = { .consumer = NULL };
	struct handle *h = producer(self)->handle;
	int rc;

	(void)unused;
	if (!h || (!handle_inherited(h) && !h->producer))
		return Py_NewRef(Py_False);
	if (!usable(h) || !handle_enter(h))
		return NULL;
	item.producer = h->producer;
	rc = mqshm_wait_any(&item, 1, 0);
	handle_give(h);
	return PyBool_FromLong(rc <= 0 || item.result > 0 || item.result == -EDEADLK);
}

static PyObject *leave(PyObject *self, int (*how)(struct mqshm_producer *))
{
	struct handle *h = producer(self)->handle;
	struct mqshm_producer *leaving;
	PyThreadState *state;

	if (!h)
		return Py_NewRef(Py_None);
	if (!usable(h))
		return NULL;
	state = PyEval_SaveThread();
	handle_take(h);
	PyEval_RestoreThread(state);
	if (h->lease && h->lease->exports) {
		handle_give(h);
		PyErr_SetString(PyExc_BufferError, "a reservation of this producer is still in use: commit or abort it");
		return NULL;
	}
	if (h->lease)
		lease_end(h->lease);
	leaving = h->producer;
	h->producer = NULL;
	state = PyEval_SaveThread();
	how(leaving);
	handle_give(h);
	PyEval_RestoreThread(state);
	return Py_NewRef(Py_None);
}

static PyObject *producer_close(PyObject *self, PyObject *unused)
{
	(void)unused;
	return leave(self, mqshm_producer_close);
}

static PyObject *producer_fail(PyObject *self, PyObject *unused)
{
	(void)unused;
	return leave(self, mqshm_producer_fail);
}

static PyObject *producer_enter(PyObject *self, PyObject *unused)
{
	(void)unused;
	return usable(producer(self)->handle) ? Py_NewRef(self) : NULL;
}

static PyObject *producer_exit(PyObject *self, PyObject *args)
{
	struct handle *h = producer(self)->handle;
	PyObject *type = Py_None, *value, *traceback;
	int failed = 0;

	if (!PyArg_ParseTuple(args, "|OOO:__exit__", &type, &value, &traceback))
		return NULL;
	if (h && handle_inherited(h))
		return Py_NewRef(Py_None); /* a child that ends: nothing here is its own */
	if (type != Py_None)
		failed = PyObject_IsSubclass(type, PyExc_Exception); /* not Ctrl-C and sys.exit() */
	return failed < 0 ? NULL : leave(self, failed ? mqshm_producer_fail : mqshm_producer_close);
}

static PyObject *producer_name(PyObject *self, void *unused)
{
	(void)unused;
	return Py_NewRef(producer(self)->name ? producer(self)->name : Py_None);
}

static PyObject *producer_closed(PyObject *self, void *unused)
{
	struct handle *h = producer(self)->handle;

	(void)unused;
	return PyBool_FromLong(!h || !h->producer);
}

static int producer_new(PyObject *self, PyObject *args, PyObject *keywords)
{
	static char *names[] = { "shm_name", "node_count", "block_size", "metadata", "shared", NULL };
	struct producer *p = producer(self);
	struct mqshm_queue_info info;
	Py_ssize_t node_count, block_size;
	PyObject *name, *metadata = NULL, *text = NULL;
	PyThreadState *state;
	struct geometry g;
	struct handle *h;
	int shared = 0, rc;

	if (!PyArg_ParseTupleAndKeywords(args, keywords, "Unn|U$p:Producer", names, &name, &node_count, &block_size,
					 &metadata, &shared))
		return -1;
	if (p->handle) {
		PyErr_SetString(PyExc_RuntimeError, "this producer is open already");
		return -1;
	}
	if (geometry_set(&g, name, node_count, block_size, shared))
		return -1;
	if (metadata && !(text = geometry_metadata(&g, metadata)))
		return -1;
	h = handle_new();
	if (!h) {
		Py_XDECREF(text);
		return -1;
	}
	Py_INCREF(name);
	state = PyEval_SaveThread();
	rc = mqshm_producer_open(&h->producer, g.name, &g.options, NULL);
	if (!rc)
		rc = mqshm_producer_info(h->producer, &info);
	PyEval_RestoreThread(state);
	Py_XDECREF(text);
	if (rc)
		raise_result(rc);
	else if (p->handle)
		PyErr_SetString(PyExc_RuntimeError, "this producer is open already");
	if (rc || PyErr_Occurred() || geometry_check(&g, &info)) {
		PyObject *type, *value, *traceback;

		PyErr_Fetch(&type, &value, &traceback);
		handle_put(h);
		PyErr_Restore(type, value, traceback);
		Py_DECREF(name);
		return -1;
	}
	h->shared = info.flags & MQSHM_SHARED;
	p->handle = h;
	p->name = name;
	return 0;
}

static void producer_dealloc(PyObject *self)
{
	struct producer *p = producer(self);
	PyTypeObject *type = Py_TYPE(self);
	PyObject *error, *value, *traceback;

	PyErr_Fetch(&error, &value, &traceback);
	handle_put(p->handle);
	Py_XDECREF(p->name);
	PyErr_Restore(error, value, traceback);
	((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
	Py_DECREF(type);
}

#define FAST(function) (PyCFunction)(void (*)(void))(function), METH_FASTCALL | METH_KEYWORDS

static PyMethodDef methods[] = {
	{ "push", FAST(producer_push),
	  "push($self, /, data, timeout_ms=0)\n--\n\n"
	  "Push one message: any bytes-like object (contiguous; an array gives its bytes), 0..block_size bytes. It is\n"
	  "copied, and all consumers see it at once.\n\n"
	  "True; False when the queue was full for timeout_ms (0 does not wait; negative or None waits for ever).\n"
	  "Raises MessageSizeError (larger than block_size), QueueClosedError, QueueForkedError, TypeError (no buffer; str\n"
	  "too), BufferError or numpy's ValueError (not contiguous), QueueSystemError with EDEADLK (a reservation is open)." },
	{ "push_batch", FAST(producer_push_batch),
	  "push_batch($self, /, messages, timeout_ms=0)\n--\n\n"
	  "Push many messages, published together: a sequence of bytes-like objects, each as for push().\n\n"
	  "How many were pushed, in order: fewer than given when there was no room for the rest within timeout_ms. Errors\n"
	  "as for push(); those of a later message come when it is the first one left." },
	{ "reserve", FAST(producer_reserve),
	  "reserve($self, /, size, timeout_ms=-1)\n--\n\n"
	  "Room for a message of size bytes in the ring, to be filled in place:\n\n"
	  "    with producer.reserve(12800) as view:                  # writable memoryview, format 'B', shape (size,)\n"
	  "        numpy.frombuffer(view, numpy.float32)[:] = block   # published at the end of the block\n\n"
	  "An exception in the block takes the room back. The view may not be in use any more at its end (BufferError):\n"
	  "delete an array made of it before; the reservation stays open, for commit() or abort(). One at a time. What\n"
	  "is not filled holds old bytes.\n\n"
	  "Raises QueueFullError (timeout_ms 0), QueueTimeoutError, else as push()." },
	{ "metadata", producer_metadata, METH_NOARGS,
	  "metadata($self, /)\n--\n\nThe text that the queue was created with, '' if none: not that of one who joined later." },
	{ "is_active", producer_is_active, METH_NOARGS,
	  "is_active($self, /)\n--\n\nIs it open, and the queue not removed?" },
	{ "close", producer_close, METH_NOARGS,
	  "close($self, /)\n--\n\n"
	  "End the stream: consumers read what is there, then it has ended ('closed'). The last user removes the queue. A\n"
	  "push that waits in another thread raises QueueClosedError. Again: nothing. Raises BufferError while a\n"
	  "reservation is in use." },
	{ "fail", producer_fail, METH_NOARGS,
	  "fail($self, /)\n--\n\nAs close(), for a stream that is not whole: for consumers it has ended as 'died'." },
	{ "__enter__", producer_enter, METH_NOARGS, "__enter__($self, /)\n--\n\nItself." },
	{ "__exit__", producer_exit, METH_VARARGS,
	  "__exit__($self, /, *args)\n--\n\nclose(); fail() after an exception (an Exception, not Ctrl-C or sys.exit())." },
	{ NULL, NULL, 0, NULL },
};

static PyGetSetDef properties[] = {
	{ "name", producer_name, NULL, "The name of the queue.", NULL },
	{ "closed", producer_closed, NULL, "True after close() or fail().", NULL },
	{ NULL, NULL, NULL, NULL, NULL },
};

static PyMethodDef reservation_methods[] = {
	{ "commit", reservation_commit, METH_VARARGS,
	  "commit($self, used=None, /)\n--\n\n"
	  "Publish the first used bytes (0..size; None: all) now. BufferError while an array, slice or cast uses the view;\n"
	  "ValueError when it is over." },
	{ "abort", reservation_abort, METH_NOARGS, "abort($self, /)\n--\n\nGive the room back. Errors as for commit()." },
	{ "__enter__", reservation_enter, METH_NOARGS, "__enter__($self, /)\n--\n\nThe writable memoryview." },
	{ "__exit__", reservation_exit, METH_VARARGS,
	  "__exit__($self, /, *args)\n--\n\nCommit all, unless it is over; abort after an exception." },
	{ NULL, NULL, 0, NULL },
};

static PyGetSetDef reservation_properties[] = {
	{ "size", reservation_size, NULL, "Bytes reserved.", NULL },
	{ NULL, NULL, NULL, NULL, NULL },
};

int producer_init(PyObject *module)
{
	static PyType_Slot slots[] = {
		{ Py_tp_init, producer_new },
		{ Py_tp_dealloc, producer_dealloc },
		{ Py_tp_methods, methods },
		{ Py_tp_getset, properties },
		{ Py_tp_doc, "What multiqueue_shm.Producer is made of." },
		{ 0, NULL },
	};
	static PyType_Spec spec = { "multiqueue_shm._native.Producer", sizeof(struct producer), 0,
				    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, slots };
	static PyType_Slot reservation_slots[] = {
		{ Py_tp_dealloc, reservation_dealloc },
		{ Py_tp_methods, reservation_methods },
		{ Py_tp_getset, reservation_properties },
		{ Py_tp_doc, "Room in the ring, from Producer.reserve()." },
		{ 0, NULL },
	};
	static PyType_Spec reservation_spec = { "multiqueue_shm._native.Reservation", sizeof(struct reservation), 0,
						Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, reservation_slots };

	producer_type = PyType_FromSpec(&spec);
	reservation_type = PyType_FromSpec(&reservation_spec);
	return producer_type && reservation_type && !PyModule_AddObjectRef(module, "Producer", producer_type) &&
			       !PyModule_AddObjectRef(module, "Reservation", reservation_type)
		       ? 0 : -1;
}
