/* SPDX-License-Identifier: MIT */
/*
 * What a fork must not do: keep a dead parent's roles alive, or let a child use them. All mappings of the process are
 * listed here; a child closes its copies of the lock descriptors (it never unlocks: that would take the parent's
 * lock). Handles know a child by a page that the kernel hands to children zeroed (MADV_WIPEONFORK), which holds for a
 * raw clone() too.
 */
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include "posix.h"

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct posix_mapping *mappings;
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
	for (struct posix_mapping *p = mappings, *next; p; p = next) {
		struct stat st;

		next = p->next;

		/* Only what still is ours: others may have closed and reused the number. */
		if (posix_has_lock_fd(p, &st))
			close(p->lock_fd);
		p->lock_fd = -1;
		p->next = p->previous = NULL;
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

int posix_register(struct posix_mapping *p, int fd)
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
	p->base.owner = owner;
	if (!rc) {
		p->lock_fd = posix_reopen(fd);
		if (p->lock_fd < 0)
			rc = mqshm_error(mqshm_errno(), "queue '%s': no lock descriptor: %s (is /proc mounted?)",
					 p->base.name, strerror(errno));
	}
	if (!rc) {
		p->previous = NULL;
		p->next = mappings;
		if (mappings)
			mappings->previous = p;
		mappings = p;
	}
	pthread_mutex_unlock(&mutex);
	return rc;
}

void posix_unregister(struct posix_mapping *p)
{
	pthread_mutex_lock(&mutex);
	if (p->next)
		p->next->previous = p->previous;
	if (p->previous)
		p->previous->next = p->next;
	else if (mappings == p)
		mappings = p->next;
	pthread_mutex_unlock(&mutex);
}
