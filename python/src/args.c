/* SPDX-License-Identifier: MIT */
/* What comes from Python is checked here, and what the library says becomes an exception. */
#include <errno.h>
#include <limits.h>
#include <string.h>

#include "native.h"

PyObject *error_closed, *error_full, *error_timeout, *error_config, *error_overtaken, *error_size;
static PyObject *error_system, *error_forked, *error_permission, *error_died;

int errors_init(void)
{
	static const struct {
		PyObject **error;
		const char *name;
	} errors[] = {
		{ &error_closed, "QueueClosedError" }, { &error_full, "QueueFullError" },
		{ &error_config, "InvalidConfigError" }, { &error_timeout, "QueueTimeoutError" },
		{ &error_system, "QueueSystemError" }, { &error_forked, "QueueForkedError" },
		{ &error_permission, "QueuePermissionError" }, { &error_size, "MessageSizeError" },
		{ &error_died, "ProducerDiedError" }, { &error_overtaken, "MessageOvertakenError" },
	};
	PyObject *module = PyImport_ImportModule("multiqueue_shm._errors");

	for (size_t i = 0; module && i < sizeof errors / sizeof *errors; i++) {
		*errors[i].error = PyObject_GetAttrString(module, errors[i].name);
		if (!*errors[i].error)
			Py_CLEAR(module);
	}
	if (!module)
		return -1;
	Py_DECREF(module);
	return 0;
}

PyObject *raise_closed(void)
{
	PyErr_SetString(error_closed, "this producer or consumer is closed");
	return NULL;
}

PyObject *raise_result(int rc)
{
	const char *sentence = rc == -ECHILD ? "the handle belongs to a parent process" : mqshm_last_error();
	PyObject *error = NULL, *value;

	switch (rc) {
	case -EINVAL: case -EEXIST:
		error = error_config;
		break;
	case -EMSGSIZE:
		error = error_size;
		break;
	case -ESHUTDOWN: case -ESTALE: case -ECONNABORTED:
		error = error_closed;
		break;
	case -EOWNERDEAD:
		error = error_died;
		break;
	case -ETIMEDOUT:
		error = error_timeout;
		break;
	default:
		break;
	}
	if (error) {
		PyErr_SetString(error, sentence);
		return NULL;
	}
	error = rc == -ECHILD ? error_forked : rc == -EACCES || rc == -EPERM ? error_permission : error_system;
	value = Py_BuildValue("(is)", -rc, sentence); /* OSError's errno and strerror */
	if (value)
		PyErr_SetObject(error, value);
	Py_XDECREF(value);
	return NULL;
}

int timeout_converter(PyObject *object, void *ms)
{
	long long value;

	if (object == Py_None) {
		*(int *)ms = -1;
		return 1;
	}
	value = PyLong_AsLongLong(object);
	if (value == -1 && PyErr_Occurred())
		return 0;
	*(int *)ms = value < 0 ? -1 : value > INT_MAX ? INT_MAX : (int)value;
	return 1;
}

int unpack(const char *function, PyObject *const *args, Py_ssize_t count, PyObject *keywords, const char *const *names,
	   Py_ssize_t required, PyObject **values)
{
	Py_ssize_t most = 0, keyword_count = keywords ? PyTuple_Size(keywords) : 0, i, k;

	while (names[most])
		values[most++] = NULL;
	if (count > most) {
		PyErr_Format(PyExc_TypeError, "%s() takes at most %zd arguments (%zd given)", function, most, count);
		return -1;
	}
	for (i = 0; i < count; i++)
		values[i] = args[i];
	for (k = 0; k < keyword_count; k++) {
		PyObject *name = PyTuple_GetItem(keywords, k);

		for (i = 0; i < most && PyUnicode_CompareWithASCIIString(name, names[i]); i++)
			;
		if (i == most || values[i]) {
			PyErr_Format(PyExc_TypeError, i == most ? "%s() got an unexpected keyword argument '%U'"
								: "%s() got multiple values for argument '%U'", function, name);
			return -1;
		}
		values[i] = args[count + k];
	}
	for (i = 0; i < required; i++) {
		if (!values[i]) {
			PyErr_Format(PyExc_TypeError, "%s() missing required argument: '%s'", function, names[i]);
			return -1;
		}
	}
	return 0;
}

static int in_range(const char *what, Py_ssize_t value, Py_ssize_t most)
{
	if (value >= 1 && value <= most)
		return 0;
	PyErr_Format(error_config, "%s is %zd, not 1..%zd", what, value, most);
	return -1;
}

int geometry_set(struct geometry *g, PyObject *name, Py_ssize_t node_count, Py_ssize_t block_size, int shared)
{
	Py_ssize_t length;

	g->name = PyUnicode_AsUTF8AndSize(name, &length);
	if (!g->name)
		return -1;
	if (strlen(g->name) != (size_t)length) {
		PyErr_SetString(error_config, "the name of a queue has no character 0");
		return -1;
	}
	if (in_range("node_count", node_count, MQSHM_NODES_MAX) || in_range("block_size", block_size, MQSHM_BLOCK_MAX))
		return -1;
	memset(&g->options, 0, sizeof g->options);
	g->options.size = sizeof g->options;
	g->options.node_count = (uint32_t)node_count;
	g->options.block_size = (uint32_t)block_size;
	/* The geometry must match; how else a queue works is up to who created it. */
	g->options.flags = MQSHM_ANY_FLAGS | (shared ? MQSHM_SHARED : 0);
	return 0;
}

int geometry_check(const struct geometry *g, const struct mqshm_queue_info *info)
{
	if (!(g->options.flags & MQSHM_SHARED) || info->flags & MQSHM_SHARED)
		return 0;
	PyErr_Format(error_config, "queue '%s' exists and is not shared: it has one producer at a time", g->name);
	return -1;
}

PyObject *geometry_metadata(struct geometry *g, PyObject *text)
{
	PyObject *bytes = PyUnicode_AsEncodedString(text, "utf-8", "surrogateescape");
	Py_ssize_t size;
	char *data;

	if (!bytes || PyBytes_AsStringAndSize(bytes, &data, &size)) {
		Py_XDECREF(bytes);
		return NULL;
	}
	g->options.metadata = data;
	g->options.metadata_size = (size_t)size;
	return bytes;
}

PyObject *metadata_text(const struct mqshm_queue_info *info)
{
	return PyUnicode_DecodeUTF8((const char *)info->metadata, (Py_ssize_t)info->metadata_size, "surrogateescape");
}
