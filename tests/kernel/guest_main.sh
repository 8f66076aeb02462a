# SPDX-License-Identifier: MIT
# shellcheck shell=sh
# What the guest runs for check.sh, under busybox's sh: /list has a line "BACKEND PROGRAM" for each test program; those of
# backend kernel and the selftests run between insmod and rmmod. The output of each stands between "## begin" and "## end".
limit=180 # seconds for one program
scale=100 # percent of the usual load

# step NAME COMMAND...: one line of TAP.
step()
{
	name=$1
	shift
	if "$@"; then echo "ok - $name"; else echo "not ok - $name"; fi
}

run() # BACKEND PROGRAM
{
	echo "## begin $1 $2"
	start=$(date +%s)
	# What is shown at full load on the host needs only a touch here; what the kernel backend does is shown here.
	if [ "$1" = posix ]; then
		export MQSHM_TEST_SCALE=$((scale / 5 + 1)) MQSHM_TEST_KILLS=10
	else
		export MQSHM_TEST_SCALE="$scale" MQSHM_TEST_KILLS=200
	fi
	backend=$1 program=$2
	[ "$program" = kernel/owners ] && MQSHM_TEST_KILLS=100 # of four roles; all 200 are for owners.sh
	set -- "/tests/$program"
	# Both processors, but for who single-steps another process: there each step would be a slow wake-up across them.
	[ "${program##*/}" = every_instruction ] && set -- taskset 1 "$@"
	if [ "$backend" = example ]; then
		step "it ends with 0" timeout -k 5 "$limit" "$@"
	else
		MQSHM_BACKEND=$backend timeout -k 5 "$limit" "$@"
	fi
	echo "## end $? $(($(date +%s) - start))"
}

removed()
{
	[ ! -e /dev/mqshm ] && [ ! -e /sys/class/mqshm ] && [ ! -e /sys/module/mqshm ]
}

# What a debug kernel alone can say; see kasan.sh. kmemleak wants to have seen an object twice.
leaks=/sys/kernel/debug/kmemleak
no_leaks()
{
	sleep 6 # younger objects are not looked at
	echo scan > $leaks && echo scan > $leaks || return 1
	cat $leaks
	[ -z "$(cat $leaks)" ]
}

# shellcheck disable=SC1091
. /settings # says otherwise
echo "## kernel $(uname -r)"
while read -r backend program; do
	[ "$backend" = posix ] && run posix "$program"
done < /list
if [ -e /mqshm.ko ]; then
	echo "## begin module load"
	step insmod insmod /mqshm.ko
	step "a control node" test -c /dev/mqshm/control
	echo "## end 0 0"
	while read -r backend program; do
		[ "$backend" = posix ] || run "$backend" "$program"
	done < /list
	echo "## begin module unload"
	[ ! -e $leaks ] || step "no leaks while it is loaded" no_leaks
	step rmmod rmmod mqshm
	step "nothing left behind" removed
	[ ! -e $leaks ] || step "no leaks afterwards" no_leaks
	[ ! -e /proc/lockdep_stats ] || step "lockdep is still on" grep -q 'debug_locks: *1' /proc/lockdep_stats
	echo "## end 0 0"
fi
