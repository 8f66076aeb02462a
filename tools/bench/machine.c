/* SPDX-License-Identifier: MIT */
/* What mqshm bench ran on: no number is worth anything without it. No host name. */
#include "bench.h"

#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

/* x86 says "model name", others "Model", "cpu model", or nothing. */
static void look_for_cpu(char *text, size_t size)
{
	FILE *in = fopen("/proc/cpuinfo", "re");
	char line[256], *value;

	snprintf(text, size, "unknown");
	while (in && fgets(line, sizeof(line), in)) {
		value = strchr(line, ':');
		if (!value || (strncmp(line, "model name", 10) != 0 && strncmp(line, "Model", 5) != 0 &&
			       strncmp(line, "cpu model", 9) != 0))
			continue;
		value += strspn(value, ": \t");
		value[strcspn(value, "\n")] = 0;
		snprintf(text, size, "%s", value);
		break;
	}
	if (in)
		fclose(in);
}

/* The hypervisor bit is what makes classes necessary: say it. */
static bool virtual_machine(void)
{
	FILE *in = fopen("/proc/cpuinfo", "re");
	char line[4096];
	bool found = false;

	while (in && !found && fgets(line, sizeof(line), in))
		found = strncmp(line, "flags", 5) == 0 && strstr(line, " hypervisor");
	if (in)
		fclose(in);
	return found;
}

void bench_machine_look(struct bench_machine *machine)
{
	struct utsname name;
	time_t now = time(NULL);
	struct tm tm;

	memset(machine, 0, sizeof(*machine));
	look_for_cpu(machine->cpu, sizeof(machine->cpu));
	machine->virtual = virtual_machine();
	machine->cpus = (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
	if (uname(&name) == 0)
		snprintf(machine->kernel, sizeof(machine->kernel), "%s %s %s", name.sysname, name.release, name.machine);
#ifdef __clang__
	snprintf(machine->compiler, sizeof(machine->compiler), "%s", __VERSION__);
#else
	snprintf(machine->compiler, sizeof(machine->compiler), "gcc %s", __VERSION__);
#endif
	if (gmtime_r(&now, &tm))
		strftime(machine->date, sizeof(machine->date), "%Y-%m-%dT%H:%M:%SZ", &tm);
}
