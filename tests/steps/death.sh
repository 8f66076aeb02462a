#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Kill and stop a process at every labelled step of the library, see the others go on (tests/steps/probes/drive.c), and
# see that planted bugs don't pass. MQSHM_LONG=1 for all combinations; the table is $BUILD/steps-report.txt.
# alone: beside work without end some kernels leave ready processes waiting for many seconds
set -u
# shellcheck source=tests/tap.bash
. tests/tap.bash

# A stopped process is in the way of those who attach for 0.15 s here, not 5 s.
flags="-DMQSHM_STEPS -DLIFECYCLE_NS=150000000u -include tests/steps/probes/step.h"

build() # DIRECTORY PROGRAM: with the library of a directory
{
	make -s -C "$1" -j"$JOBS" BUILD="$2.lib" EXTRA_CFLAGS="$flags" "$2.lib/libmqshm.a" > /dev/null &&
		gcc -O1 -g -std=gnu11 -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -D_GNU_SOURCE \
			-D_FILE_OFFSET_BITS=64 -I"$1/include" -I"$1/lib" -Itests -Itests/steps/probes -o "$2" \
			tests/steps/probes/*.c -Wl,--whole-archive "$2.lib/libmqshm.a" -Wl,--no-whole-archive -pthread
}

[[ ${MQSHM_LONG:-} ]] || unset MQSHM_LONG
check "the test build and its driver build" build . "$OUT/drive" || conclude
"$OUT/drive" --report "$BUILD/steps-report.txt" > "$OUT/drive.txt"
status=$?
cat "$OUT/drive.txt"
result "killed and stopped at every step, the others go on, and nothing is left" "$status"

# plant NAME FILE SED WORDS OPTION...: a bug in a copy of the library shall be found, by the steps that OPTION selects.
plant()
{
	local name=$1 file=$2 edit=$3 words=$4
	shift 4
	rm -rf "$OUT/planted"
	mkdir -p "$OUT/planted/tests/steps/probes"
	cp -r lib include Makefile "$OUT/planted"
	cp tests/steps/probes/step.h "$OUT/planted/tests/steps/probes"
	sed -i "$edit" "$OUT/planted/$file"
	if cmp -s "$file" "$OUT/planted/$file"; then
		echo "# nothing was planted"
		result "$name" 1
		return
	fi
	if ! build "$OUT/planted" "$OUT/planted/drive"; then
		result "$name" 1
		return
	fi
	goes_red "$name" "$words" env -u MQSHM_LONG "$OUT/planted/drive" --hang 3 --failures 1 --no-pairs "$@"
}
plant "a record that is written after tail is found" include/mqshm/ring.h \
	'/WRITE_ONCE(record->end, position);/d; s/^\tw->tail = position;$/\tWRITE_ONCE(record->end, position);\n&/' \
	'no record belongs to tail|is damaged' --program push --only writer_publish
plant "a dead consumer whose bit stays is found" lib/posix_owner.c \
	's/if (state != MQSHM_SLOT_FREE)$/if (state == 77)/' \
	'does not go on|holds the producer back|the most it was created for' --program 'pop' --only reader_advance
plant "a lock that is not taken over is found" lib/lock.c \
	's/^\treturn m->backend->check(m, slot);/\treturn true;/' \
	'does not go on' --program 'reserve, commit beside' --only writer_finish
plant "a head that a take-over does not take back is found" include/mqshm/ring.h \
	's/^\t\t\tat = (struct mqshm_mark){ cursor, first };/\t\t\t;/' \
	'is not held back by the one who joined|after the take-over: the cursor' --program 'push, and one joins' --only writer_make_room
plant "what who died while repairing left undone, for ever, is found" lib/posix_owner.c \
	's/ || holds_back(r, i);/ || (0 \&\& holds_back(r, i));/' \
	'does not go on|holds the producer back|the most it was created for' --program 'evicting alone' --only clear_reliable
plant "an eviction that nobody finishes after who began it died is found" lib/posix_owner.c \
	's/(!has_owner(smp_load_acquire(&participant->state)) ||/(false ||/' \
	'does not go on' --program 'evicting alone' --only clear_reliable
plant "a name that is stored again by who takes on a cursor is found" lib/backend_posix.c \
	's/^\tWRITE_ONCE(participant->lease_ms, how->lease_ms);/\tshared_copy(participant->name, "", 1);\n\tshared_copy(participant->name, how->consumer_name ? how->consumer_name : "", how->consumer_name ? 5 : 1);\n&/' \
	'no cursor to take on' --program 'take on a cursor' --only 'fill_participant: copy to participant->name'
conclude
