/* SPDX-License-Identifier: MIT */
/* Queues from outside: looking at them, and removing them, without being a user. */
#include <errno.h>
#include <string.h>

#include "native.h"

/* The name of a queue, or NULL and an exception. */
static const char *name_of(PyObject *object)
{
	Py_ssize_t length;
	const char *name;

	if (!PyUnicode_Check(object)) {
		PyErr_SetString(PyExc_TypeError, "the name of a queue is a str");
		return NULL;
	}
	name = PyUnicode_AsUTF8AndSize(object, &length);
	if (name && strlen(name) != (size_t)length) {
		PyErr_SetString(error_config, "the name of a queue has no character 0");
		return NULL;
	}
	return name;
}

static PyObject *consumers_of(const struct mqshm_stat *stat)
{
	PyObject *list = PyList_New(0);

	for (uint32_t i = 0; list && i < stat->consumer_count; i++) {
		const struct mqshm_participant_stat *c = &stat->consumers[i];
		PyObject *one = Py_BuildValue("{sIsisOsOsOsKsKsKsK}", "id", c->id, "pid", c->pid, "alive", c->alive ? Py_True : Py_False,
					      "lossy", c->lossy ? Py_True : Py_False, "leased", c->leased ? Py_True : Py_False, "lag",
					      (unsigned long long)c->lag, "missed", (unsigned long long)c->missed, "popped",
					      (unsigned long long)c->popped, "last_access", (unsigned long long)c->last_access_ns);

		if (!one || PyList_Append(list, one))
			Py_CLEAR(list);
		Py_XDECREF(one);
	}
	return list;
}

PyObject *queue_stat(PyObject *module, PyObject *object)
{
	const char *name = name_of(object);
	struct mqshm_stat *stat = NULL;
	PyObject *consumers, *dict = NULL;
	PyThreadState *state;
	int rc;

	(void)module;
	if (!name)
		return NULL;
	state = PyEval_SaveThread();
	rc = mqshm_queue_stat(name, &stat);
	PyEval_RestoreThread(state);
	if (rc == -ENOENT)
		return Py_NewRef(Py_None);
	if (rc)
		return raise_result(rc);
	consumers = consumers_of(stat);
	if (consumers)
		dict = Py_BuildValue("{sIsIsIsKsKsKsKsKsKsIsIsy#sN}", "node_count", stat->node_count, "block_size",
				     stat->block_size, "flags", stat->flags, "created_at", (unsigned long long)stat->created_at_ns,
				     "total_pushed", (unsigned long long)stat->total_pushed, "total_popped",
				     (unsigned long long)stat->total_popped, "overwrite_count",
				     (unsigned long long)stat->overwrite_count, "kept", (unsigned long long)stat->kept,
				     "consumers_ever", (unsigned long long)stat->consumers_ever, "producer_count",
				     stat->producer_count, "consumer_count", stat->consumer_count, "metadata",
				     (const char *)stat->metadata, (Py_ssize_t)stat->metadata_size, "consumers", consumers);
	mqshm_stat_free(stat);
	return dict;
}

static int append_name(const struct mqshm_stat *stat, void *list)
{
	PyGILState_STATE state;
	PyObject *name;
	int rc;

	if (stat->error)
		return 0;
	state = PyGILState_Ensure();
	name = PyUnicode_FromString(stat->name);
	rc = name ? PyList_Append(list, name) : -1;
	Py_XDECREF(name);
	PyGILState_Release(state);
	return rc;
}

PyObject *queue_names(PyObject *module, PyObject *unused)
{
	PyObject *list = PyList_New(0);
	PyThreadState *state;
	int rc;

	(void)module;
	(void)unused;
	if (!list)
		return NULL;
	state = PyEval_SaveThread();
	rc = mqshm_queue_list(append_name, list);
	PyEval_RestoreThread(state);
	if (rc >= 0)
		return list;
	Py_DECREF(list);
	return PyErr_Occurred() ? NULL : raise_result(rc);
}

PyObject *queue_remove(PyObject *module, PyObject *args)
{
	PyObject *object;
	PyThreadState *state;
	const char *name;
	int force = 0, rc;

	(void)module;
	if (!PyArg_ParseTuple(args, "O|p:remove", &object, &force))
		return NULL;
	name = name_of(object);
	if (!name)
		return NULL;
	state = PyEval_SaveThread();
	rc = mqshm_queue_remove(name, force ? MQSHM_FORCE : 0);
	PyEval_RestoreThread(state);
	return rc == 0 || rc == -ENOENT ? PyBool_FromLong(!rc) : raise_result(rc);
}
