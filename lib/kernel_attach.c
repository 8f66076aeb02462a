/* SPDX-License-Identifier: MIT */
/*
 * Roles on queues of the module: it claims the slot, and joins a consumer; what needs the nodes is done here, by the owner
 * that the caller then is.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "fork.h"
#include "kernel.h"

#define PAGE_LEAST 4096

bool kernel_has_fd(struct kernel_mapping *k)
{
	struct stat st;

	if (k->fd >= 0 && !fstat(k->fd, &st) && st.st_rdev == k->device && st.st_ino == k->inode)
		return true;
	k->fd = -1;
	return false;
}

void kernel_forked(struct mqshm_mapping *m)
{
	struct kernel_mapping *k = kernel(m);

	if (kernel_has_fd(k))
		close(k->fd);
	k->fd = -1;
}

static int map_region(struct kernel_mapping *k, int fd, uint64_t offset, uint64_t bytes, bool write, uint32_t flags)
{
	int rights = write ? PROT_READ | PROT_WRITE : PROT_READ;
	char *at = (char *)k->address + offset;

	if (mmap(at, (size_t)bytes, rights, MAP_SHARED | MAP_FIXED, fd, (off_t)offset) == MAP_FAILED)
		return mqshm_errno();
	/* MADV_POPULATE_... refuses mappings of page frames, so by touch. They are never swapped out. */
	for (uint64_t i = 0; flags & (MQSHM_PREFAULT | MQSHM_MLOCK) && i < bytes; i += PAGE_LEAST)
		READ_ONCE(at[i]);
	return 0;
}

/* All regions of our role, at their places in one reservation. The rest of it can't be touched. */
static int map(struct kernel_mapping *k, int fd, const struct mqshm_info *info, uint32_t slot, uint32_t flags)
{
	bool producer = k->base.role == MQSHM_ROLE_PRODUCER;
	uint64_t areas = info->consumers_offset, area_bytes = info->nodes_offset - areas;
	int rc;

	k->length = (size_t)info->total_bytes;
	k->address = mmap(NULL, k->length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (k->address == MAP_FAILED) {
		k->address = NULL;
		return mqshm_errno();
	}
	if (!producer) {
		area_bytes = info->consumer_stride;
		areas += (uint64_t)slot * area_bytes;
	}
	rc = map_region(k, fd, 0, info->producer_offset, false, flags);
	if (!rc)
		rc = map_region(k, fd, info->producer_offset, info->consumers_offset - info->producer_offset, producer, flags);
	if (!rc)
		rc = map_region(k, fd, areas, area_bytes, !producer, flags);
	if (!rc)
		rc = map_region(k, fd, info->nodes_offset, info->ring_bytes, producer, flags);
	madvise(k->address, k->length, MADV_DONTFORK); /* of the reservation: the regions are so anyway */
	return rc;
}

/* Give the role back, and all that there is of the handle. */
static void dismiss(struct kernel_mapping *k, uint32_t how)
{
	struct mqshm_ioc_detach d = { .size = sizeof d, .how = how };

	mqshm_unregister(&k->base);
	if (k->address)
		munmap(k->address, k->length);
	if (kernel_has_fd(k)) {
		ioctl(k->fd, MQSHM_IOC_DETACH, &d); /* unless the role has ended */
		close(k->fd);
	}
	free(k);
}

static int damaged(const struct mqshm_attach *how, bool resumed)
{
	mqshm_log(MQSHM_LOG_ERROR, how->name, "damaged: its positions make no sense");
	if (resumed)
		return mqshm_error(-EBADMSG, "queue '%s' is damaged: the cursor of consumer '%s' makes no sense", how->name,
				   how->consumer_name);
	return mqshm_error(-EBADMSG, "queue '%s' is damaged: its positions make no sense", how->name);
}

/* The module says no: why, in words. -EAGAIN: it would say yes by now. */
static int refused(const struct mqshm_attach *how, const struct kernel_queue *q, int rc)
{
	uint32_t first = how->role == MQSHM_ROLE_CONSUMER ? q->info.max_producers : 0;
	uint32_t count = how->role == MQSHM_ROLE_CONSUMER ? q->info.max_consumers : q->info.max_producers;
	struct mqshm_participant *table;

	if (rc == -EBADMSG)
		return damaged(how, false);
	if (rc != -EBUSY && rc != -EPERM)
		return mqshm_error(rc, "queue '%s' can't be attached to: %s", how->name, strerror(-rc));
	table = kernel_table(q->fd, &q->info);
	if (!table)
		return mqshm_error(-EBUSY, "queue '%s' is in use", how->name);
	rc = mqshm_no_place(how->name, how->role, &table[first], count);
	for (uint32_t i = first; i < first + count && how->consumer_name; i++) {
		uint32_t state = table[i].state;

		if ((!slot_is_live(state) && !slot_is_joining(state) && MQSHM_SLOT_STATE(state) != MQSHM_SLOT_LEASED) ||
		    strncmp((const char *)table[i].name, how->consumer_name, sizeof table[i].name))
			continue;
		rc = mqshm_may_take_on(how->name, how, &table[i]);
		if (!rc)
			rc = -EAGAIN; /* its lease has begun since */
	}
	free(table);
	return rc;
}

/* Open the queue and get the role. */
static int claim(const struct mqshm_attach *how, struct kernel_queue *q, struct mqshm_ioc_attach *a)
{
	uint64_t deadline = mqshm_now_ns() + KERNEL_GIVE_UP_NS;

	for (;;) {
		int rc = kernel_open(how->name, how->queue, how->create, true, q);

		if (rc < 0)
			return rc;
		*a = (struct mqshm_ioc_attach){
			.size = sizeof *a,
			.role = how->role == MQSHM_ROLE_CONSUMER ? MQSHM_IOC_CONSUMER : MQSHM_IOC_PRODUCER,
			.flags = how->flags & MQSHM_LOSSY ? MQSHM_ROLE_LOSSY : 0,
			.start = (uint32_t)how->start,
			.lease_ms = how->lease_ms,
		};
		if (how->consumer_name)
			strcpy((char *)a->name, how->consumer_name);
		if (!ioctl(q->fd, MQSHM_IOC_ATTACH, a))
			return 0;
		rc = mqshm_errno();
		if (rc == -ENODEV)
			rc = mqshm_error(-ENOENT, "there is no queue '%s'", how->name);
		else
			rc = refused(how, q, rc);
		kernel_close(q);
		if (rc != -EAGAIN && rc != -ENOENT)
			return rc;
		nanosleep(&(struct timespec){ 0, KERNEL_NAP_NS }, NULL); /* it is just going, or being taken */
		if (mqshm_now_ns() >= deadline)
			return rc == -ENOENT ? rc : mqshm_error(-EBUSY, "queue '%s' comes and goes too fast", how->name);
		if (rc == -ENOENT && !how->create)
			return rc;
	}
}

/* The slot is ours: what is left to do with the nodes. */
static int settle_in(struct kernel_mapping *k, const struct mqshm_attach *how, const struct mqshm_ioc_attach *a,
		     struct mqshm_writer *writer, struct mqshm_reader *reader)
{
	struct mqshm_ring *r = &k->base.ring;
	int rc;

	if (how->role == MQSHM_ROLE_PRODUCER) {
		writer->ring = r;
		return r->max_producers == 1 ? writer_take_over(writer) : 0;
	}
	reader->ring = r;
	reader->slot = a->participant - r->max_producers;
	reader->state = a->state;
	reader->lossy = how->flags & MQSHM_LOSSY || r->flags & MQSHM_OVERWRITE ||
			MQSHM_SLOT_STATE(a->state) == MQSHM_SLOT_DEMOTED;
	if (!a->resumed) {
		rc = reader_joined(reader, how->start, a->position);
	} else {
		rc = reader_restore(reader);
		if (rc && reader_demoted(reader)) /* while we looked */
			rc = reader_restore(reader);
	}
	if (!rc)
		mqshm_wake(&k->base, &r->info->room); /* who waits until all is read waits for our sequence, too */
	return rc;
}

int kernel_attach(const struct mqshm_attach *how, struct mqshm_mapping **out, struct mqshm_writer *writer,
		  struct mqshm_reader *reader)
{
	struct kernel_mapping *k = calloc(1, sizeof *k);
	struct mqshm_ioc_attach a;
	struct kernel_queue q;
	char role[MQSHM_ROLE_TEXT];
	struct stat st;
	int rc = k ? claim(how, &q, &a) : mqshm_error(-ENOMEM, "no memory for a handle");

	if (rc) {
		free(k);
		return rc;
	}
	k->base.backend = &mqshm_backend_kernel;
	k->base.role = how->role;
	k->base.participant = a.participant;
	k->base.state = a.state;
	snprintf(k->base.name, sizeof k->base.name, "%s", how->name);
	k->fd = q.fd;
	if (!fstat(k->fd, &st)) {
		k->device = st.st_rdev;
		k->inode = st.st_ino;
	}
	rc = map(k, q.fd, &q.info, a.participant - q.info.max_producers, how->flags);
	if (rc)
		rc = mqshm_error(rc, "queue '%s' can't be mapped (%llu bytes): %s", how->name,
				 (unsigned long long)q.info.total_bytes, strerror(-rc));
	if (!rc)
		rc = mqshm_register(&k->base, NULL, -1);
	if (!rc) {
		mqshm_ring_init(&k->base.ring, &q.info, k->address);
		k->base.ring.sync = kernel_sync;
		k->base.ring.sync_arg = k;
		rc = settle_in(k, how, &a, writer, reader);
		if (rc)
			rc = damaged(how, a.resumed);
	}
	if (q.control >= 0)
		close(q.control);
	if (rc) {
		dismiss(k, how->role == MQSHM_ROLE_CONSUMER ? MQSHM_EPOCH_NONE : MQSHM_EPOCH_CRASHED);
		return rc;
	}
	if (how->resumed)
		*how->resumed = a.resumed;
	mqshm_log(MQSHM_LOG_INFO, how->name, "%s attached%s", mqshm_role_text(&k->base.ring, a.participant, role),
		  a.resumed ? " and goes on where a former one was" : "");
	*out = &k->base;
	return 0;
}

int kernel_detach(struct mqshm_mapping *m, uint32_t how)
{
	struct kernel_mapping *k = kernel(m);
	const struct mqshm_participant *self = &m->ring.participants[m->participant];
	char role[MQSHM_ROLE_TEXT];

	if (!*m->owner) { /* a child: nothing is mapped here */
		kernel_forked(m); /* after a raw clone(); a fork has closed it */
		mqshm_unregister(m);
		free(k);
		return mqshm_error(-ECHILD, "the handle belongs to a parent process");
	}
	if (mqshm_log_wants(MQSHM_LOG_INFO) && mqshm_has_role(m)) /* while it is ours */
		mqshm_log(MQSHM_LOG_INFO, m->name, "%s left%s", mqshm_role_text(&m->ring, m->participant, role),
			  m->role == MQSHM_ROLE_CONSUMER && how != MQSHM_EPOCH_NONE && READ_ONCE(self->lease_ms)
				  ? ", its lease begins"
			  : m->role == MQSHM_ROLE_PRODUCER && how == MQSHM_EPOCH_CRASHED ? " in the middle of the stream" : "");
	dismiss(k, how);
	return 0;
}
