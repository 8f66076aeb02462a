/* SPDX-License-Identifier: MIT */
/* The module multiqueue_shm._native. It has static state, so it is one for the process: no isolated subinterpreters. */
#include "native.h"

static PyMethodDef functions[] = {
	{ "close_all", handles_close, METH_NOARGS,
	  "close_all($module, /)\n--\n\nAt the end of Python: close all that is open and not in view." },
	{ "stat", queue_stat, METH_O,
	  "stat($module, name, /)\n--\n\nA look at the queue without using it: a dict; None when there is none." },
	{ "names", queue_names, METH_NOARGS, "names($module, /)\n--\n\nOf all queues that can be used, in order." },
	{ "remove", queue_remove, METH_VARARGS,
	  "remove($module, name, force=False, /)\n--\n\nTrue: it is gone; False: there was none." },
	{ NULL, NULL, 0, NULL },
};

static struct PyModuleDef definition = {
	PyModuleDef_HEAD_INIT,
	.m_name = "multiqueue_shm._native",
	.m_doc = "The part of multiqueue_shm that is written in C, on libmqshm.",
	.m_size = -1,
	.m_methods = functions,
};

PyMODINIT_FUNC PyInit__native(void);

PyMODINIT_FUNC PyInit__native(void)
{
	static bool once;
	PyObject *module = PyModule_Create(&definition);

	if (module && errors_init() == 0 && lease_init(module) == 0 && producer_init(module) == 0 &&
	    consumer_init(module) == 0 && ring_queue_init(module) == 0 && PyModule_AddStringConstant(module, "version", mqshm_version()) == 0 &&
	    PyModule_AddIntConstant(module, "abi_version", MQSHM_ABI_VERSION) == 0 &&
	    (once || fork_init() == 0)) {
		once = true;
		return module;
	}
	Py_XDECREF(module);
	return NULL;
}
