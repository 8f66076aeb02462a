/* SPDX-License-Identifier: MIT */
/*
 * A chain of stages that fans out: tone generator -> gain -> level meter
 *                                                       \-> WAV file
 * in blocks of 3,200 float32 samples (12,800 bytes). Each stage is a callback between two queues, with threads of its
 * own; each could as well run in another process, for they know only the names of their queues. The generator says when it
 * is done, and the end goes down the chain by itself. With an argument the file is kept under that name.
 */
#include <errno.h>
#include <math.h>
#include <mqshm/stage.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RATE 48000
#define SAMPLES 3200 /* of one block */
#define BLOCKS 150   /* 10 s */

/* A source: 10 s of 440 Hz, written where they will be read. */
static int tone(struct mqshm_stage *stage, const struct mqshm_message *none, size_t count, void *arg)
{
	unsigned long *n = arg;
	void *place;
	float *block;
	int rc = mqshm_stage_reserve(stage, SAMPLES * sizeof(float), &place);

	(void)none, (void)count;
	if (rc)
		return rc;
	block = place;
	for (int i = 0; i < SAMPLES; i++, (*n)++)
		block[i] = (float)sin(2 * M_PI * 440 * (double)*n / RATE);
	rc = mqshm_stage_commit(stage, SAMPLES * sizeof(float));
	return rc ? rc : *n == BLOCKS * SAMPLES ? MQSHM_STAGE_DONE : 0;
}

/* Half as loud. */
static int gain(struct mqshm_stage *stage, const struct mqshm_message *messages, size_t count, void *arg)
{
	const float *factor = arg;

	for (size_t m = 0; m < count; m++) {
		const float *in = messages[m].data;
		float out[SAMPLES];

		for (size_t i = 0; i < messages[m].size / sizeof(float); i++)
			out[i] = *factor * in[i];
		mqshm_stage_emit(stage, out, messages[m].size); /* an error here ends the stage in any case */
	}
	return 0;
}

struct level {
	double peak, squares;
	unsigned long samples;
};

static int meter(struct mqshm_stage *stage, const struct mqshm_message *messages, size_t count, void *arg)
{
	struct level *level = arg;

	(void)stage;
	for (size_t m = 0; m < count; m++) {
		const float *in = messages[m].data;

		for (size_t i = 0; i < messages[m].size / sizeof(float); i++, level->samples++) {
			level->peak = fmax(level->peak, fabs((double)in[i]));
			level->squares += (double)in[i] * (double)in[i];
		}
	}
	return 0;
}

static int write_samples(struct mqshm_stage *stage, const struct mqshm_message *messages, size_t count, void *arg)
{
	(void)stage;
	for (size_t m = 0; m < count; m++)
		if (fwrite(messages[m].data, 1, messages[m].size, arg) != messages[m].size)
			return -EIO; /* ends this stage only: the meter goes on */
	return 0;
}

/* The head of a WAV file: one channel of float32. */
static int write_head(FILE *file)
{
	uint32_t size = BLOCKS * SAMPLES * sizeof(float);
	struct {
		char riff[4];
		uint32_t riff_size;
		char wave[4], fmt[4];
		uint32_t fmt_size;
		uint16_t format, channels;
		uint32_t rate, bytes_per_second;
		uint16_t frame, bits;
		char data[4];
		uint32_t data_size;
	} head = { "RIFF", 36 + size, "WAVE", "fmt ", 16, 3, 1, RATE, RATE * sizeof(float), sizeof(float), 32, "data", size };

	return fwrite(&head, sizeof(head), 1, file) == 1 ? 0 : -1;
}

int main(int argc, char **argv)
{
	struct mqshm_queue_options queue = { .size = sizeof(queue), .node_count = 32, .block_size = SAMPLES * sizeof(float) };
	FILE *file = argc > 1 ? fopen(argv[1], "wb") : tmpfile();
	char toned[64], quiet[64];
	unsigned long position = 0;
	struct level level = { 0 };
	float half = 0.5f;
	struct mqshm_stage_options stages[] = {
		{ .name = "tone", .output = toned, .callback = tone, .arg = &position },
		{ .name = "gain", .input = toned, .output = quiet, .callback = gain, .arg = &half },
		{ .name = "meter", .input = quiet, .callback = meter, .arg = &level },
		{ .name = "file", .input = quiet, .callback = write_samples, .arg = file, .buffer_messages = 100 },
	};
	enum { COUNT = sizeof(stages) / sizeof(stages[0]) };
	struct mqshm_stage *stage[COUNT] = { NULL };
	int bad = 0;

	if (!file || write_head(file)) {
		perror("file");
		return 1;
	}
	snprintf(toned, sizeof(toned), "stages-tone-%d", (int)getpid());
	snprintf(quiet, sizeof(quiet), "stages-gain-%d", (int)getpid());
	/* All are opened before any starts, so that nobody misses the beginning. */
	for (int i = 0; i < COUNT && !bad; i++) {
		stages[i].size = sizeof(stages[i]);
		stages[i].input_queue = stages[i].input ? &queue : NULL;
		stages[i].output_queue = stages[i].output ? &queue : NULL;
		bad = mqshm_stage_open(&stage[i], &stages[i]) < 0;
	}
	for (int i = COUNT; i-- > 0 && !bad;)
		bad = mqshm_stage_start(stage[i]) < 0;
	if (bad)
		fprintf(stderr, "%s\n", mqshm_last_error());
	for (int i = 0; i < COUNT; i++) {
		struct mqshm_stage_stat stat;

		if (!stage[i])
			continue;
		if (bad)
			mqshm_stage_stop(stage[i], MQSHM_STAGE_AT_ONCE, 1000);
		else if (mqshm_stage_wait(stage[i], 10000) < 0)
			bad = fprintf(stderr, "%s: %s\n", stages[i].name, mqshm_last_error());
		mqshm_stage_stat(stage[i], &stat);
		printf("%-5s  in %4llu  out %4llu  calls %4llu  buffered at most %3llu  in the callback %6.1f ms\n", stages[i].name,
		       (unsigned long long)stat.in, (unsigned long long)stat.out, (unsigned long long)stat.calls,
		       (unsigned long long)stat.depth_most, (double)stat.callback_ns / 1e6);
		bad |= !!stat.dropped;
		mqshm_stage_close(stage[i]);
	}
	bad |= ftell(file) != 44 + (long)(BLOCKS * SAMPLES * sizeof(float)) || level.samples != BLOCKS * SAMPLES;
	bad |= fclose(file) != 0;
	printf("level: peak %.3f, rms %.3f of %lu samples\n", level.peak, sqrt(level.squares / (double)level.samples), level.samples);
	return bad || level.peak > 0.5 || level.peak < 0.499;
}
