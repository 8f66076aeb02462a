/* SPDX-License-Identifier: MIT */
/*
 * See fork.h. Handles know a child by a page that the kernel hands to children zeroed (MADV_WIPEONFORK), which holds for a
 * raw clone() too.
 */
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include "error.h"
#include "fork.h"

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct mqshm_mapping *mappings;
static uint32_t *owner; /* 1 in the process that allocated it */

static void before_fork(void)
{
	pthread_mutex_lock(&mutex);
}

static void after_fork_in_parent(void)
{
	pthread_mutex_unlock(&mutex);
}

static void after_fork_in_child(void)
{
	for (struct mqshm_mapping *m = mappings, *next; m; m = next) {
		next = m->next;
		m->backend->forked(m);
		m->next = m->previous = NULL;
	}
	mappings = NULL;
	if (owner)
		*owner = 0; /* where the kernel doesn't know MADV_WIPEONFORK */
	pthread_mutex_unlock(&mutex);
}

static void register_fork_handlers(void)
{
	pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}

int mqshm_register(struct mqshm_mapping *m, int (*open_fd)(struct mqshm_mapping *mapping, int fd), int fd)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	int rc = 0;

	pthread_once(&once, register_fork_handlers);
	pthread_mutex_lock(&mutex);
	if (!owner || !*owner) { /* a child needs a page of its own: its parent's handles stay dead */
		void *page = mmap(NULL, (size_t)sysconf(_SC_PAGESIZE), PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (page == MAP_FAILED) {
			rc = mqshm_error(-ENOMEM, "no memory for a handle");
		} else {
			madvise(page, (size_t)sysconf(_SC_PAGESIZE), MADV_WIPEONFORK);
			owner = page;
			*owner = 1;
		}
	}
	m->owner = owner;
	if (!rc && open_fd)
		rc = open_fd(m, fd);
	if (!rc) {
		m->previous = NULL;
		m->next = mappings;
		if (mappings)
			mappings->previous = m;
		mappings = m;
	}
	pthread_mutex_unlock(&mutex);
	return rc;
}

void mqshm_unregister(struct mqshm_mapping *m)
{
	pthread_mutex_lock(&mutex);
	if (m->next)
		m->next->previous = m->previous;
	if (m->previous)
		m->previous->next = m->next;
	else if (mappings == m)
		mappings = m->next;
	pthread_mutex_unlock(&mutex);
}
