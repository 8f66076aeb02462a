/* SPDX-License-Identifier: MIT */
/*
 * The exporter below each memoryview of the ring: it counts who looks, and keeps the mapping while anybody does. Python
 * can't be kept from looking through a view, so a view must never point to what is not mapped.
 */
#include <errno.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#include "native.h"

PyObject *lease_type;
static struct lease *leases; /* those whose memory may be looked at */

struct lease *lease_new(struct handle *h, const void *data, size_t size, bool writable)
{
	struct lease *lease = PyObject_New(struct lease, (PyTypeObject *)lease_type);

	if (!lease)
		return NULL;
	lease->handle = h;
	h->refs++;
	lease->data = (void *)(uintptr_t)data;
	lease->size = (Py_ssize_t)size;
	lease->exports = 0;
	lease->writable = writable;
	lease->active = true;
	lease->keep = lease->abandoned = false;
	lease->result = 0;
	lease->previous = NULL;
	lease->next = leases;
	if (leases)
		leases->previous = lease;
	leases = lease;
	h->lease = lease;
	return lease;
}

void lease_end(struct lease *lease)
{
	lease->active = false;
	lease->handle->lease = NULL;
}

bool lease_settle(struct handle *h)
{
	struct lease *lease = h->lease;

	if (!lease)
		return true;
	if (lease->exports)
		return false;
	if (h->consumer) {
		if (!lease->keep)
			lease->result = mqshm_consumer_release(h->consumer, 1);
	} else if (!lease->abandoned) {
		return false;
	} else {
		mqshm_producer_abort(h->producer);
	}
	lease_end(lease);
	return true;
}

/* The last view has gone. There is nobody to tell of an error: it is kept, see Consumer.release(). */
static void finish(struct lease *lease)
{
	struct handle *h = lease->handle;

	if (!lease->active || handle_inherited(h))
		return;
	if (!handle_try(h)) {
		PyThreadState *state = PyEval_SaveThread();

		handle_take(h);
		PyEval_RestoreThread(state);
	}
	if (h->lease == lease) /* another thread may have found it first */
		lease_settle(h);
	handle_give(h);
}

static int lease_getbuffer(PyObject *self, Py_buffer *view, int flags)
{
	struct lease *lease = (struct lease *)self;

	if (!lease->active || handle_inherited(lease->handle)) {
		view->obj = NULL;
		PyErr_SetString(PyExc_BufferError, "this memory of a queue has been released");
		return -1;
	}
	if (PyBuffer_FillInfo(view, self, lease->data, lease->size, !lease->writable, flags))
		return -1;
	lease->exports++;
	return 0;
}

static void lease_releasebuffer(PyObject *self, Py_buffer *view)
{
	struct lease *lease = (struct lease *)self;
	PyObject *type, *value, *traceback;

	(void)view;
	if (--lease->exports)
		return;
	PyErr_Fetch(&type, &value, &traceback); /* we may be called while an exception is on its way */
	finish(lease);
	PyErr_Restore(type, value, traceback);
}

/* All memoryviews that come from one (slices, casts, numpy's own) share one object below, the only one it refers to. */
static int count_sharers(PyObject *below, void *count)
{
	*(Py_ssize_t *)count = Py_REFCNT(below);
	return 0;
}

/* memoryview.release() knows who uses the view itself, but not that others were made from it; and it can't be undone. */
static bool shared_view(PyObject *view)
{
	traverseproc traverse = (traverseproc)PyType_GetSlot(Py_TYPE(view), Py_tp_traverse);
	Py_ssize_t count = 1;

	if (traverse)
		traverse(view, count_sharers, &count);
	return count > 1;
}

int lease_release_view(struct lease *lease, PyObject *view)
{
	if (view && !shared_view(view)) {
		PyObject *done = PyObject_CallMethod(view, "release", NULL);

		if (!done)
			return -1;
		Py_DECREF(done);
	}
	if (!lease->exports)
		return 0;
	PyErr_SetString(PyExc_BufferError, "a slice, cast or array of this view is still in use");
	return -1;
}

static void lease_dealloc(PyObject *self)
{
	struct lease *lease = (struct lease *)self;
	PyTypeObject *type = Py_TYPE(self);
	struct handle *h = lease->handle;

	if (lease->previous)
		lease->previous->next = lease->next;
	else
		leases = lease->next;
	if (lease->next)
		lease->next->previous = lease->previous;
	lease->keep = lease->abandoned = true; /* if nobody has ever looked: not read, not to be sent */
	finish(lease);
	PyObject_Free(self);
	Py_DECREF(type);
	handle_put(h);
}

/*
 * A child has not got the mapping, but the views. It finds zeros there, for the rest of its life: one page of them for each
 * page that was in view.
 */
void leases_after_fork(void)
{
	uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);

	for (struct lease *lease = leases; lease; lease = lease->next) {
		uintptr_t from, to;

		if (!lease->exports || !lease->size)
			continue;
		from = (uintptr_t)lease->data & ~(page - 1);
		to = ((uintptr_t)lease->data + (uintptr_t)lease->size + page - 1) & ~(page - 1);
		if (mmap((void *)from, to - from, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1,
			 0) != MAP_FAILED)
			continue;
		for (; from < to; from += page) /* another view has some of these pages */
			(void)!mmap((void *)from, page, PROT_READ | PROT_WRITE,
				    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	}
}

int lease_init(PyObject *module)
{
	static PyType_Slot slots[] = {
		{ Py_tp_dealloc, lease_dealloc },
		{ Py_bf_getbuffer, lease_getbuffer },
		{ Py_bf_releasebuffer, lease_releasebuffer },
		{ Py_tp_doc, "Memory of a queue, below a memoryview. Not made by hand." },
		{ 0, NULL },
	};
	static PyType_Spec spec = { "multiqueue_shm._native.Lease", sizeof(struct lease), 0,
				    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, slots };

	(void)module;
	lease_type = PyType_FromSpec(&spec);
	return lease_type ? 0 : -1;
}
