/* SPDX-License-Identifier: MIT */
/* What must be true, derived from the notes of the world; see world.h. */
#include <errno.h>
#include <string.h>

#include "conformance/payload.h"
#include "world.h"

#define KEY_COUNT 40 /* bits */

/* ---- messages ---- */

uint64_t key_of(const struct role *producer, uint64_t count)
{
	return (uint64_t)(role_index(producer) + 1) << KEY_COUNT | (count + 1);
}

/* With timestamps of our own the key is the timestamp, and messages of 0 bytes can be told from each other. */
static bool key_in_timestamp(const struct mqshm_queue_options *queue)
{
	return queue->flags & MQSHM_TIMESTAMP_OWN;
}

size_t message_size(uint64_t key, const struct mqshm_queue_options *queue)
{
	return key_in_timestamp(queue) ? payload_size(key, queue->block_size)
				       : 8 + payload_size(key, queue->block_size - 8);
}

void message_fill(void *to, size_t size, uint64_t key, const struct mqshm_queue_options *queue)
{
	if (key_in_timestamp(queue)) {
		payload_fill(to, size, key);
		return;
	}
	memcpy(to, &key, 8);
	payload_fill((char *)to + 8, size - 8, key);
}

uint64_t message_key(const struct mqshm_message *m, const struct mqshm_queue_options *queue)
{
	uint64_t key = m->timestamp_ns;

	if (!key_in_timestamp(queue)) {
		if (m->size < 8)
			return 0;
		memcpy(&key, m->data, 8);
	}
	if (m->size != message_size(key, queue))
		return 0;
	if (key_in_timestamp(queue))
		return payload_good(m->data, m->size, key) ? key : 0;
	return payload_good((const char *)m->data + 8, m->size - 8, key) ? key : 0;
}

/* ---- what a consumer gets ---- */

void took(struct role *consumer, uint64_t sequence, uint64_t key, uint64_t missed)
{
	struct instance *instance = &world->instance[consumer->instance];
	uint64_t stamp = key >> KEY_COUNT, count = key & ((1ULL << KEY_COUNT) - 1), before = 0;
	const struct role *producer;

	MUST(key, "message %llu of instance %u is not whole", (unsigned long long)sequence, consumer->instance);
	MUST(stamp >= 1 && stamp <= GET(world->role_count), "message %llu: there is no producer %llu",
	     (unsigned long long)sequence, (unsigned long long)stamp);
	producer = &world->role[stamp - 1];
	MUST(producer->producer && GET(producer->instance) == consumer->instance,
	     "message %llu of instance %u is of role %llu, which never was its producer (instance %u)",
	     (unsigned long long)sequence, consumer->instance, (unsigned long long)stamp - 1, producer->instance);
	MUST(count && count <= GET(producer->begun), "message %llu is number %llu of role %llu, which began only %llu",
	     (unsigned long long)sequence, (unsigned long long)count, (unsigned long long)stamp - 1,
	     (unsigned long long)producer->begun);
	MUST(sequence < GET(instance->begun), "message %llu of instance %u: only %llu were ever begun",
	     (unsigned long long)sequence, consumer->instance, (unsigned long long)instance->begun);
	if (consumer->known)
		MUST(sequence == consumer->next + (missed - consumer->missed),
		     "role %u expected message %llu (+ %llu missed) of instance %u and got %llu", role_index(consumer),
		     (unsigned long long)consumer->next, (unsigned long long)(missed - consumer->missed),
		     consumer->instance, (unsigned long long)sequence);
	else
		MUST(sequence >= consumer->first_least && sequence <= consumer->first_most + missed,
		     "role %u, start %u, began at message %llu of instance %u, not within %llu..%llu", role_index(consumer),
		     consumer->start, (unsigned long long)sequence, consumer->instance,
		     (unsigned long long)consumer->first_least, (unsigned long long)consumer->first_most);
	MUST(consumer->lossy || missed == consumer->missed_first, "reliable role %u missed %llu", role_index(consumer),
	     (unsigned long long)missed);
	if (sequence < LOG_MOST) {
		__atomic_compare_exchange_n(&world->log[consumer->instance][sequence], &before, key, false,
					    __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
		MUST(!before || before == key, "message %llu of instance %u is %llx to one consumer, %llx to another",
		     (unsigned long long)sequence, consumer->instance, (unsigned long long)before,
		     (unsigned long long)key);
	}
	consumer->missed = missed;
	consumer->next = sequence + 1;
	consumer->known = 1;
	consumer->popped++;
}

/* ---- the end of a stream ---- */

static bool could_be_producer_of(const struct role *role, uint32_t name, uint32_t instance)
{
	return role->producer && role->name == name && (!role->instance || role->instance == instance);
}

void ends_before(struct ends *e, const struct role *consumer)
{
	e->role_count = GET(world->role_count);
	e->acked = GET(world->instance[consumer->instance].acked);
	e->alive = e->unsettled = e->coming = e->staying = 0;
	for (uint32_t i = 0; i < e->role_count; i++) {
		const struct role *role = &world->role[i];

		if (!could_be_producer_of(role, consumer->name, consumer->instance))
			continue;
		e->unsettled |= !role_is_final(role) || (GET(role->state) == ROLE_DEAD && role->was != ROLE_OPEN);
		if (role->instance && role_is_alive(role))
			e->alive = i + 1;
		e->coming += GET(role->state) == ROLE_OPENING;
		e->staying += !role_is_final(role);
	}
}

void ends_after(const struct ends *e, struct role *consumer, int rc, uint64_t missed)
{
	uint64_t at = consumer->next + (missed - consumer->missed);
	bool shared = world->name[consumer->name].options.flags & MQSHM_SHARED, end = rc == -ESHUTDOWN || rc == -EOWNERDEAD;
	uint32_t count = GET(world->role_count), closed = 0, crashed = 0, last = 0;

	/* A lossy one may give up a try when it is lapped time and again. */
	if (consumer->known && (!consumer->lossy || end))
		MUST(at >= e->acked, "told %d at message %llu of instance %u, when %llu had been pushed", rc,
		     (unsigned long long)at, consumer->instance, (unsigned long long)e->acked);
	if (!end)
		return;
	MUST(!e->alive || !role_is_alive(&world->role[e->alive - 1]),
	     "told %d, the end of instance %u, but producer role %u was there all the time", rc, consumer->instance,
	     e->alive - 1);
	for (uint32_t i = e->role_count; i < count; i++)
		if (GET(world->role[i].state) == ROLE_VOID ||
		    could_be_producer_of(&world->role[i], consumer->name, consumer->instance))
			return; /* a new one, meanwhile */
	if (e->unsettled)
		return;
	for (uint32_t i = 0; i < e->role_count; i++) {
		const struct role *role = &world->role[i];
		bool by_close = role->state == ROLE_GONE && role->ending == BY_CLOSE;

		if (!role->producer || role->instance != consumer->instance)
			continue;
		closed += by_close;
		crashed += !by_close;
		if (!last || role->order > world->role[last - 1].order)
			last = i + 1;
	}
	MUST(last, "told %d, the end of instance %u, which never had a producer", rc, consumer->instance);
	if (shared && closed && crashed)
		return; /* the last one counts, and who that was we can't tell */
	MUST(rc == (world->role[last - 1].state == ROLE_GONE && world->role[last - 1].ending == BY_CLOSE ? -ESHUTDOWN
														 : -EOWNERDEAD),
	     "told %d at the end of instance %u, whose producers closed %u times and died %u times, last role %u", rc,
	     consumer->instance, closed, crashed, last - 1);
}

void end_was_none(const struct ends *e, const struct role *consumer, int rc)
{
	uint32_t count = GET(world->role_count);

	for (uint32_t i = e->role_count; i < count; i++)
		if (GET(world->role[i].state) == ROLE_VOID ||
		    could_be_producer_of(&world->role[i], consumer->name, consumer->instance))
			return;
	/* Of several one may have ended an earlier stream, or what was told was the end before one that was coming. */
	MUST(e->coming || e->staying > 1, "told %d, the end of instance %u, and then got message %llu, with no new producer", rc,
	     consumer->instance, (unsigned long long)consumer->next - 1);
}

/* ---- what open may say ---- */

void pin_before(struct pin *pin, uint32_t name)
{
	uint32_t count = GET(world->role_count);

	pin->role = 0;
	pin->name = name;
	pin->forced = GET(world->name[name].forced_begun);
	for (uint32_t i = count; i-- > 0;) {
		const struct role *role = &world->role[i];

		if (role->name == name && role->instance && role->forced == pin->forced && role_is_alive(role)) {
			pin->role = i + 1;
			pin->instance = role->instance;
			return;
		}
	}
}

bool pin_holds(const struct pin *pin)
{
	/* In this order: a forced removal is noted before it begins. */
	return pin->role && role_is_alive(&world->role[pin->role - 1]) && GET(world->name[pin->name].forced_begun) == pin->forced;
}

void places_before(struct places *p, uint32_t name, bool producer)
{
	p->role_count = GET(world->role_count);
	p->taken = 0;
	for (uint32_t i = 0; i < p->role_count; i++) {
		const struct role *role = &world->role[i];

		p->taken += role->name == name && !!role->producer == producer && !role_is_final(role);
	}
}

bool places_were_left(const struct places *p, uint32_t name, bool producer, uint32_t places)
{
	uint32_t count = GET(world->role_count), taken = p->taken;

	for (uint32_t i = p->role_count; i < count; i++) {
		const struct role *role = &world->role[i];

		taken += GET(role->state) == ROLE_VOID || (role->name == name && !!role->producer == producer);
	}
	return taken - 1 < places; /* our own attempt is among them */
}

/* ---- with everybody at rest ---- */

static uint32_t instance_in(const uint8_t *metadata, uint32_t size)
{
	uint32_t instance = 0;

	if (size == sizeof instance)
		memcpy(&instance, metadata, sizeof instance);
	return instance;
}

static void audit_one(const struct mqshm_stat *s, const struct role *role, uint64_t *seen)
{
	uint32_t count = role->producer ? s->producer_count : s->consumer_count;
	const struct mqshm_participant_stat *list = role->producer ? s->producers : s->consumers;
	pid_t pid = world->worker[role->worker].pid;

	for (uint32_t i = 0; i < count; i++) {
		const struct mqshm_participant_stat *p = &list[i];

		if (p->pid != pid || (role->producer ? *seen >> i & 1 : p->id != (uint32_t)role->slot))
			continue;
		*seen |= 1ULL << i;
		MUST(p->alive, "stat %s: role %u is alive", s->name, role_index(role));
		if (role->producer)
			return;
		MUST(p->popped == role->popped, "stat %s: role %u popped %llu, stat says %llu", s->name, role_index(role),
		     (unsigned long long)role->popped, (unsigned long long)p->popped);
		MUST(p->lossy == role->lossy, "stat %s: role %u lossy is %u", s->name, role_index(role), p->lossy);
		if (!role->lossy && role->known)
			MUST(p->lag == s->total_pushed - role->next && p->missed == role->missed,
			     "stat %s: role %u at %llu of %llu, stat says lag %llu missed %llu", s->name, role_index(role),
			     (unsigned long long)role->next, (unsigned long long)s->total_pushed,
			     (unsigned long long)p->lag, (unsigned long long)p->missed);
		return;
	}
	violation("stat %s: role %u (%s, pid %d, slot %d) is not listed", s->name, role_index(role),
		  role->producer ? "producer" : "consumer", (int)pid, role->slot);
}

void audit_stat(uint32_t name)
{
	struct name *n = &world->name[name];
	uint32_t count = GET(world->role_count), instance, alive[2] = { 0, 0 }, in_place[2] = { 0, 0 };
	uint64_t least = 0, most = 0, popped_least = 0, popped_most = 0, ever_least = 0, ever_most = 0;
	uint64_t seen[2] = { 0, 0 }, held = 0;
	struct mqshm_stat *s = NULL;
	int rc = mqshm_queue_stat(n->text, &s);

	for (uint32_t i = 0; i < count && rc == -ENOENT; i++) {
		const struct role *role = &world->role[i];

		MUST(role->name != name || !role_is_alive(role) || role->forced != n->forced_begun,
		     "stat %s: there is none, but role %u is alive", n->text, i);
	}
	if (rc == -ENOENT)
		return;
	MUST(!rc, "stat %s: %d, %s", n->text, rc, mqshm_last_error());
	instance = instance_in(s->metadata, s->metadata_size);
	MUST(instance && instance < INSTANCES_MOST && world->instance[instance].name == name,
	     "stat %s: metadata says instance %u", n->text, instance);
	for (uint32_t i = 0; i < count; i++) {
		const struct role *role = &world->role[i];
		bool ours = role->instance == instance, lost = !role->instance && role->name == name;

		if (!ours && !(lost && role->state == ROLE_DEAD))
			continue;
		if (role_is_alive(role)) {
			audit_one(s, role, &seen[role->producer]);
			alive[role->producer]++;
		}
		if (role->producer) {
			least += role->acked;
			most += role->begun;
			continue;
		}
		ever_least += ours;
		ever_most++;
		popped_most += role->popped + role->pending;
		if (role->state != ROLE_DEAD)
			popped_least += role->popped; /* of the dead: who ended the role may have died before it was added up */
		if (role_is_alive(role) && !role->lossy && role->known && s->total_pushed - role->next > held)
			held = s->total_pushed - role->next;
	}
	for (uint32_t i = 0; i < s->producer_count; i++)
		in_place[1] += s->producers[i].alive;
	for (uint32_t i = 0; i < s->consumer_count; i++)
		in_place[0] += s->consumers[i].alive;
	MUST(in_place[1] == alive[1] && in_place[0] == alive[0],
	     "stat %s: %u producers and %u consumers live, stat says %u and %u", n->text, alive[1], alive[0], in_place[1],
	     in_place[0]);
	MUST(s->total_pushed >= least && s->total_pushed <= most, "stat %s: total_pushed is %llu, not within %llu..%llu",
	     n->text, (unsigned long long)s->total_pushed, (unsigned long long)least, (unsigned long long)most);
	MUST(s->total_popped >= popped_least && s->total_popped <= popped_most,
	     "stat %s: total_popped is %llu, not within %llu..%llu", n->text, (unsigned long long)s->total_popped,
	     (unsigned long long)popped_least, (unsigned long long)popped_most);
	MUST(s->consumers_ever >= ever_least && s->consumers_ever <= ever_most,
	     "stat %s: consumers_ever is %llu, not within %llu..%llu", n->text, (unsigned long long)s->consumers_ever,
	     (unsigned long long)ever_least, (unsigned long long)ever_most);
	MUST(s->kept >= held && s->kept <= n->options.node_count, "stat %s: kept is %llu, somebody waits for %llu of %u",
	     n->text, (unsigned long long)s->kept, (unsigned long long)held, n->options.node_count);
	mqshm_stat_free(s);
}

/* ---- at the end of a round ---- */

/*
 * Each producer's messages are in its order; and where nothing is unseen between two, none is left out. What was not
 * seen by anybody (no consumer was there) may have been any message, but not more than there is unseen room for.
 */
static void audit_log(uint32_t instance, uint64_t *last, uint64_t *unseen_at)
{
	const uint64_t *log = world->log[instance];
	uint64_t end = GET(world->instance[instance].begun), unseen = 0;

	if (end > LOG_MOST)
		end = LOG_MOST;
	for (uint64_t sequence = 0; sequence < end; sequence++) {
		uint64_t key = log[sequence], stamp = (key >> KEY_COUNT) - 1, count = key & ((1ULL << KEY_COUNT) - 1);

		if (!key) {
			unseen++;
			continue;
		}
		MUST(count > last[stamp], "instance %u, message %llu: number %llu of role %llu comes after its %llu", instance,
		     (unsigned long long)sequence, (unsigned long long)count, (unsigned long long)stamp,
		     (unsigned long long)last[stamp]);
		MUST(count - 1 - last[stamp] <= unseen - unseen_at[stamp],
		     "instance %u, message %llu: number %llu of role %llu follows its %llu, others are lost", instance,
		     (unsigned long long)sequence, (unsigned long long)count, (unsigned long long)stamp,
		     (unsigned long long)last[stamp]);
		last[stamp] = count;
		unseen_at[stamp] = unseen;
	}
}

void audit_logs(void)
{
	static uint64_t last[ROLES_MOST], unseen_at[ROLES_MOST];
	uint32_t count = GET(world->instance_count);

	memset(last, 0, sizeof last); /* a role has one instance */
	memset(unseen_at, 0, sizeof unseen_at);
	for (uint32_t i = 1; i <= count && i < INSTANCES_MOST; i++)
		if (world->instance[i].begun)
			audit_log(i, last, unseen_at);
}

/* ---- while somebody waits ---- */

const char *excuse(const struct worker_notes *w)
{
	uint32_t count = GET(world->role_count), waiting = GET(w->waiting), me = GET(w->wait_role);
	const struct role *mine;
	const struct instance *instance;
	bool had_producer = false;
	uint64_t others;

	if (waiting == NOT_WAITING || !me)
		return NULL;
	mine = &world->role[me - 1];
	instance = &world->instance[mine->instance];
	others = GET(instance->begun) - (mine->begun - mine->acked); /* some that the dead began are there, too */
	if (GET(world->name[mine->name].forced_begun) != mine->forced)
		return "the queue may have been removed";
	if (waiting == FOR_MESSAGES && mine->known && !mine->lossy && GET(instance->acked) >= mine->next + w->wait_least)
		return NULL;
	for (uint32_t i = 0; i < count; i++) {
		const struct role *role = &world->role[i];

		if (role->name != mine->name || GET(role->state) == ROLE_VOID)
			continue;
		had_producer |= role->producer && role->instance == mine->instance;
		if (i == me - 1 || role_is_final(role))
			continue;
		if (waiting == FOR_MESSAGES && role->producer)
			return "a producer lives";
		if (waiting == FOR_ROOM && role->producer && world->name[mine->name].options.flags & MQSHM_SHARED &&
		    !GET(world->worker[role->worker].parked))
			return "another producer lives, and may hold the lock";
		if (waiting == FOR_ROOM && !role->producer && !role->lossy &&
		    (!role->known || role->next < others + w->wait_least - 1))
			return "a reliable consumer has messages to read";
	}
	if (waiting == FOR_MESSAGES && !had_producer)
		return "there was no producer yet";
	if (waiting == FOR_ROOM && world->name[mine->name].options.flags & MQSHM_HOLD)
		return "the queue may be held";
	return NULL;
}
