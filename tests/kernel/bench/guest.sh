# SPDX-License-Identifier: MIT
# shellcheck shell=sh
# What the guest runs for bench.sh: each case on one backend after the other, "## BACKEND CASE" before what it printed.
reps=5 queues=1000
# shellcheck disable=SC1091
. /settings # says otherwise
insmod /mqshm.ko || exit 1
ulimit -n 16384 # three for each queue

on() # BACKEND CASE COMMAND...
{
	echo "## $1 $2"
	export MQSHM_BACKEND="$1"
	shift 2
	"$@" || { echo "failed: $*"; exit 1; }
}

for rep in $(seq "$reps"); do
	on posix trip_apart_futex side trip futex 0 1 # it is of no backend
	on posix trip_together_futex side trip futex 0 0
	backends='posix kernel'
	[ $((rep % 2)) = 0 ] && backends='kernel posix'
	for backend in $backends; do
		for size in 64B 12800B; do
			on "$backend" "throughput_$size" mqshm bench --reps 1 --at-most 6 --seconds-per-run 0.5 --json \
				--only "throughput/mqshm/copy/default/$size/1c"
		done
		on "$backend" trip_apart side trip queue 0 1
		on "$backend" trip_together side trip queue 0 0
		on "$backend" life side life "$queues"
		on "$backend" touch side touch
		on "$backend" touch_prefault side touch prefault
	done
done
rmmod mqshm
