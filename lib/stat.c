/* SPDX-License-Identifier: MIT */
/*
 * What a queue is like, without using it. Everything is read with pread(), never through a mapping, so that an object
 * that somebody truncates meanwhile can't hurt; and every value is bounded before it is shown.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "error.h"
#include "stat.h"

static uint64_t at_most(uint64_t value, uint64_t most)
{
	return value < most ? value : most;
}

static uint64_t behind(uint64_t end, uint64_t position)
{
	return position < end ? end - position : 0;
}

static char printable(uint8_t c)
{
	return c >= ' ' && c < 127 ? (char)c : '?';
}

static void fill_one(struct mqshm_participant_stat *s, const struct mqshm_participant *participant, uint32_t id,
		     bool alive)
{
	s->id = id;
	s->pid = (int32_t)participant->pid;
	s->alive = alive;
	s->demoted = MQSHM_SLOT_STATE(participant->state) == MQSHM_SLOT_DEMOTED;
	s->leased = MQSHM_SLOT_STATE(participant->state) == MQSHM_SLOT_LEASED;
	s->lossy = participant->flags & MQSHM_ROLE_LOSSY || s->demoted;
	s->lease_ms = s->leased ? (uint32_t)(mqshm_lease_left(participant) / 1000000) : participant->lease_ms;
	s->attached_at_ns = participant->attached_at_ns;
	for (size_t i = 0; i < sizeof s->comm - 1 && participant->comm[i]; i++)
		s->comm[i] = printable(participant->comm[i]);
	for (size_t i = 0; i < sizeof s->name - 1 && participant->name[i]; i++)
		s->name[i] = printable(participant->name[i]);
}

static void fill_consumer(struct mqshm_participant_stat *s, const struct mqshm_consumer_area *area, uint64_t pushed)
{
	uint64_t sequence = at_most(area->sequence, pushed), got = sequence - at_most(area->joined, sequence);

	s->last_access_ns = area->last_access_ns;
	s->lag = pushed - sequence;
	s->missed = at_most(area->missed, pushed);
	s->popped = got - at_most(area->overwritten, got);
}

static void fill_participants(struct mqshm_stat *s, const struct mqshm_ring *r, const struct mqshm_look *how)
{
	uint64_t slowest = 0;
	bool reliable = false;
	struct timespec now;

	for (uint32_t i = 0; i < r->max_producers + r->max_consumers; i++) {
		const struct mqshm_participant *participant = &r->participants[i];
		uint32_t slot = i - r->max_producers;
		struct mqshm_participant_stat *c;
		bool alive;

		if (!slot_is_live(participant->state) && MQSHM_SLOT_STATE(participant->state) != MQSHM_SLOT_LEASED)
			continue;
		alive = !how->alive || how->alive(how, participant, i);
		if (i < r->max_producers) {
			fill_one(&s->producers[s->producer_count++], participant, i, alive);
			continue;
		}
		c = &s->consumers[s->consumer_count++];
		fill_one(c, participant, slot, alive);
		fill_consumer(c, ring_area(r, slot), s->total_pushed);
		c->lossy |= !!(r->flags & MQSHM_OVERWRITE);
		s->total_popped += c->popped;
		s->overwrite_count += at_most(ring_area(r, slot)->overwritten, s->total_pushed);
		if (c->lossy)
			continue;
		if (!reliable || c->lag > slowest)
			slowest = c->lag;
		reliable = true;
		if (r->producer->blocked_on == slot + 1 && ring_area(r, slot)->position < r->producer->need) {
			s->blocked_by = (int32_t)slot;
			clock_gettime(CLOCK_REALTIME, &now);
			c->blocks_ns = behind((uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec,
					      r->producer->blocked_since_ns);
		}
	}
	s->depth = reliable ? slowest : s->kept;
}

static void fill(struct mqshm_stat *s, const struct mqshm_info *info, void *image,
		 const struct mqshm_look *how)
{
	const struct mqshm_producer_page *p;
	struct mqshm_ring r;
	uint64_t state;

	mqshm_ring_init(&r, info, image);
	p = r.producer;
	s->node_count = info->node_count;
	s->block_size = info->block_size;
	s->max_consumers = info->max_consumers;
	s->max_producers = info->max_producers;
	s->align = info->node_align;
	s->flags = info->flags;
	s->abi_version = info->abi_version;
	s->ring_bytes = info->ring_bytes;
	s->total_bytes = info->total_bytes;
	s->created_at_ns = info->created_at_ns;
	s->metadata_size = info->metadata_bytes;
	memcpy(s->metadata, info->metadata, info->metadata_bytes);
	s->consumers_ever = info->consumers_ever;
	state = MQSHM_EPOCH_STATE(info->producer_epoch);
	s->producer_state = (uint32_t)state; /* the public values are these */

	s->total_pushed = p->record[p->record[0].end == p->tail ? 0 : 1].next;
	s->bytes_pushed = behind(p->tail, info->base_position);
	s->total_popped = info->retired_popped;
	s->overwrite_count = info->retired_overwritten;
	s->stalls = p->stalls;
	s->slow_policy = info->slow_policy;
	s->slow_ms = info->slow_ms;
	s->evicted = info->evicted;
	s->demoted = info->demoted;
	s->kept = at_most(behind(s->total_pushed, p->head_sequence), info->node_count);
	fill_participants(s, &r, how);
}

int mqshm_read_info(int fd, const char *name, uint64_t bytes, struct mqshm_info *info)
{
	/* By read, not through a mapping: a short file must not end in SIGBUS, and what is checked must stay. */
	if (pread(fd, info, sizeof *info, 0) != sizeof *info)
		return mqshm_error(-EBADMSG, "the object of queue '%s' is not a queue: %llu bytes", name,
				   (unsigned long long)bytes);
	return mqshm_check_info(info, name, bytes ? bytes : info->total_bytes);
}

int mqshm_look(const struct mqshm_look *how, struct mqshm_stat **out)
{
	struct mqshm_stat *s = calloc(1, sizeof *s);
	struct mqshm_info info, *now;
	void *image = NULL;
	int rc = s ? mqshm_read_info(how->fd, how->name, how->bytes, &info) : mqshm_error(-ENOMEM, "no memory");

	if (!rc) {
		/* All but the nodes. */
		image = malloc(info.nodes_offset);
		s->producers = calloc(info.max_producers, sizeof *s->producers);
		s->consumers = calloc(info.max_consumers, sizeof *s->consumers);
		if (!image || !s->producers || !s->consumers)
			rc = mqshm_error(-ENOMEM, "no memory");
		else if (pread(how->fd, image, info.nodes_offset, 0) != (ssize_t)info.nodes_offset)
			rc = mqshm_error(-EBADMSG, "queue '%s' is damaged: it can't be read", how->name);
	}
	if (!rc) {
		snprintf(s->name, sizeof s->name, "%s", how->name);
		snprintf(s->backend, sizeof s->backend, "%s", how->backend);
		s->mode = how->st.st_mode & 07777;
		s->uid = how->st.st_uid;
		s->gid = how->st.st_gid;
		s->blocked_by = -1;
		/* The geometry that was checked, the counters that belong together. */
		now = image;
		info.producer_epoch = now->producer_epoch;
		info.consumers_ever = now->consumers_ever;
		info.retired_popped = now->retired_popped;
		info.retired_overwritten = now->retired_overwritten;
		info.evicted = now->evicted;
		info.demoted = now->demoted;
		fill(s, &info, image, how);
		*out = s;
	} else {
		mqshm_stat_free(s);
	}
	free(image);
	return rc;
}
