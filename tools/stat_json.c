/* SPDX-License-Identifier: MIT */
/*
 * A queue as one JSON object. Called by stat --json and list --json, so both have the same keys. Every number is
 * exact; a queue that can't be read has only name, backend, error and error_code.
 */
#include <string.h>

#include "tool.h"

static void key(FILE *out, const char *indent, const char *name)
{
	fprintf(out, ",\n%s  \"%s\": ", indent, name);
}

static void number(FILE *out, const char *indent, const char *name, uint64_t value)
{
	key(out, indent, name);
	fprintf(out, "%llu", (unsigned long long)value);
}

static void text(FILE *out, const char *indent, const char *name, const char *value)
{
	key(out, indent, name);
	json_string(out, value, strlen(value));
}

static void boolean(FILE *out, const char *indent, const char *name, bool value)
{
	key(out, indent, name);
	fputs(value ? "true" : "false", out);
}

static void metadata(FILE *out, const char *indent, const struct mqshm_stat *stat)
{
	char base64[(MQSHM_METADATA_MAX + 2) / 3 * 4];
	size_t size = stat->metadata_size <= MQSHM_METADATA_MAX ? stat->metadata_size : MQSHM_METADATA_MAX;

	key(out, indent, "metadata");
	json_string(out, stat->metadata, size);
	key(out, indent, "metadata_base64");
	json_string(out, base64, base64_encode(base64, stat->metadata, size));
}

static void who(FILE *out, const struct mqshm_participant_stat *p)
{
	fprintf(out, "\"pid\": %d, \"alive\": %s, \"comm\": ", (int)p->pid, p->alive ? "true" : "false");
	json_string(out, p->comm, strnlen(p->comm, sizeof p->comm));
	fprintf(out, ", \"attached_at_ns\": %llu", (unsigned long long)p->attached_at_ns);
}

static void producers(FILE *out, const char *indent, const struct mqshm_stat *stat)
{
	bool shared = stat->flags & MQSHM_SHARED;

	key(out, indent, shared ? "producers" : "producer");
	if (!shared && !stat->producer_count) {
		fputs("null", out);
		return;
	}
	if (shared)
		fputc('[', out);
	for (uint32_t i = 0; i < (shared ? stat->producer_count : 1); i++) {
		fprintf(out, "%s{\"id\": %u, ", i ? ", " : "", (unsigned)stat->producers[i].id);
		who(out, &stat->producers[i]);
		fputc('}', out);
	}
	if (shared)
		fputc(']', out);
}

static void consumers(FILE *out, const char *indent, const struct mqshm_stat *stat)
{
	key(out, indent, "consumers");
	fputc('[', out);
	for (uint32_t i = 0; i < stat->consumer_count; i++) {
		const struct mqshm_participant_stat *c = &stat->consumers[i];

		fprintf(out, "%s\n%s    {\"id\": %u, ", i ? "," : "", indent, (unsigned)c->id);
		who(out, c);
		fprintf(out, ", \"lag\": %llu, \"missed\": %llu, \"popped\": %llu, \"lossy\": %s, \"last_access_ns\": %llu",
			(unsigned long long)c->lag, (unsigned long long)c->missed, (unsigned long long)c->popped,
			c->lossy ? "true" : "false", (unsigned long long)c->last_access_ns);
		fprintf(out, ", \"demoted\": %s, \"blocks_ns\": %llu, \"leased\": %s, \"lease_ms\": %u, \"name\": ",
			c->demoted ? "true" : "false", (unsigned long long)c->blocks_ns, c->leased ? "true" : "false",
			(unsigned)c->lease_ms);
		if (c->name[0])
			json_string(out, c->name, strnlen(c->name, sizeof c->name));
		else
			fputs("null", out);
		fputc('}', out);
	}
	fputc(']', out);
}

static void counters(FILE *out, const char *in, const struct mqshm_stat *stat)
{
	number(out, in, "total_pushed", stat->total_pushed);
	number(out, in, "total_popped", stat->total_popped);
	number(out, in, "overwrite_count", stat->overwrite_count);
	number(out, in, "bytes_pushed", stat->bytes_pushed);
	number(out, in, "stalls", stat->stalls);
	number(out, in, "depth", stat->depth);
	number(out, in, "kept", stat->kept);
	number(out, in, "consumers_ever", stat->consumers_ever);
	number(out, in, "evicted", stat->evicted);
	number(out, in, "demoted", stat->demoted);
	key(out, in, "blocked_by");
	if (stat->blocked_by < 0)
		fputs("null", out);
	else
		fprintf(out, "%d", (int)stat->blocked_by);
}

/* indent: what its lines begin with; no newline at the end. */
void stat_json(FILE *out, const struct mqshm_stat *stat, const char *in)
{
	char mode[8];

	fprintf(out, "{\n%s  \"name\": ", in);
	json_string(out, stat->name, strnlen(stat->name, sizeof stat->name));
	text(out, in, "backend", stat->backend);
	if (stat->error) {
		text(out, in, "error", stat->error_text);
		key(out, in, "error_code");
		fprintf(out, "%d\n%s}", (int)stat->error, in);
		return;
	}
	number(out, in, "node_count", stat->node_count);
	number(out, in, "block_size", stat->block_size);
	number(out, in, "ring_bytes", stat->ring_bytes);
	number(out, in, "total_bytes", stat->total_bytes);
	number(out, in, "max_consumers", stat->max_consumers);
	number(out, in, "max_producers", stat->max_producers);
	number(out, in, "align", stat->align);
	metadata(out, in, stat);
	text(out, in, "overflow", stat->flags & MQSHM_OVERWRITE ? "overwrite" : "block");
	text(out, in, "slow_policy", stat_slow_policy(stat));
	number(out, in, "slow_ms", stat->slow_ms);
	boolean(out, in, "shared", stat->flags & MQSHM_SHARED);
	boolean(out, in, "hold", stat->flags & MQSHM_HOLD);
	boolean(out, in, "persistent", stat->flags & MQSHM_PERSISTENT);
	text(out, in, "timestamps", stat->flags & MQSHM_TIMESTAMP_OFF ? "off"
				  : stat->flags & MQSHM_TIMESTAMP_OWN ? "own" : "on");
	snprintf(mode, sizeof mode, "%04o", (unsigned)stat->mode & 07777);
	text(out, in, "mode", mode);
	number(out, in, "uid", stat->uid);
	number(out, in, "gid", stat->gid);
	number(out, in, "abi_version", stat->abi_version);
	number(out, in, "created_at_ns", stat->created_at_ns);
	text(out, in, "producer_state", stat_producer_state(stat));
	producers(out, in, stat);
	consumers(out, in, stat);
	counters(out, in, stat);
	fprintf(out, "\n%s}", in);
}
