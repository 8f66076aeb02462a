/* SPDX-License-Identifier: MIT */
/* The module multiqueue_shm._native. It has static state, so it is one for the process: no isolated subinterpreters. */
#include "native.h"

static PyMethodDef functions[] = {
	{ "close_all", handles_close, METH_NOARGS,
	  "close_all($module, /)\n--\n\nAt the end of Python: close all that is open and not in view." },
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
	    consumer_init(module) == 0 && PyModule_AddStringConstant(module, "version", mqshm_version()) == 0 &&
	    (once || fork_init() == 0)) {
		once = true;
		return module;
	}
	Py_XDECREF(module);
	return NULL;
}
