#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# examples/stages.c writes a WAV file through a chain of stages: every sample of it is what it should be, every time. And
# the comparison finds one that is not.
set -u
# shellcheck source=tests/tap.bash
. tests/tap.bash

make -s -j"$JOBS" BUILD="$BUILD" "$BUILD/examples/stages" || { result "the example builds" 1; conclude; }
have python3 python3 "every sample" || conclude
file=$OUT/stages.wav
compare() # FILE
{
	python3 - "$1" << 'END'
import math, struct, sys

data = open(sys.argv[1], "rb").read()
rate, count = 48000, 150 * 3200
head = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + 4 * count, b"WAVE", b"fmt ", 16, 3, 1, rate, 4 * rate, 4, 32,
		   b"data", 4 * count)
if data[:44] != head:
	sys.exit("the head differs")
if len(data) != 44 + 4 * count:
	sys.exit("%d bytes" % len(data))
got = struct.unpack("<%df" % count, data[44:])
for n in range(count):
	tone = struct.unpack("f", struct.pack("f", math.sin(2 * math.pi * 440 * n / rate)))[0]
	if got[n] != 0.5 * tone:
		sys.exit("sample %d is %r, not %r" % (n, got[n], 0.5 * tone))
END
}
for turn in 1 2 3; do
	rm -f "$file"
	check "it runs ($turn)" "$BUILD/examples/stages" "$file" && check "each sample is exact ($turn)" compare "$file"
done
printf '\1' | dd of="$file" bs=1 seek=1234567 conv=notrunc status=none
goes_red "a wrong byte is found" 'sample 308630 is' compare "$file"
truncate -s -4 "$file"
goes_red "a missing sample is found" '1920040 bytes' compare "$file"
rm -f "$file"
conclude
