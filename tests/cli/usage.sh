#!/bin/bash
# SPDX-License-Identifier: MIT
# Wrong usage, as a table of cases: exit code 2, one line on stderr that names what is wrong, nothing on stdout, no
# queue made.
# shellcheck source-path=SCRIPTDIR
source "$(dirname "$0")/lib.bash"

# wrong EXPECTED ARGUMENT...: the message matches the ERE.
wrong()
{
	local expected=$1 name out status
	shift
	printf -v name ' %q' "${@:0:0}" "${@//$long/LONG}"
	out=$(timeout 60 "$MQSHM" "$@" 2> "$WORK/err" < /dev/null)
	status=$?
	if [[ $status == 2 && -z $out && $(lines_of "$WORK/err") == 1 && $(< "$WORK/err") =~ ^mqshm.*$expected ]]; then
		result "usage error: mqshm${name:0:100}" 0
	else
		echo "# status $status, stdout '$out', stderr '$(< "$WORK/err")', expected '$expected'"
		result "usage error: mqshm${name:0:100}" 1
	fi
}

printf -v long '%64s' ''
long=${long// /n}
x=$Q-x

wrong 'command is missing'
wrong "unknown command 'nonsense'" nonsense
wrong "unknown command ''" ''
wrong "unknown option '--nonsense'" --nonsense
wrong "unknown option '-x'" -x
wrong "surplus argument 'x'" --version x
wrong "surplus argument 'x'" --help x

for command in create stat push pop; do
	wrong 'NAME is missing' "$command"
	wrong 'is empty' "$command" ''
	wrong 'longer than 63' "$command" "$long"
	wrong 'begins with a dot' "$command" .hidden
	wrong 'begins with a dot' "$command" ..
	wrong 'reserved' "$command" control
	wrong 'characters other than' "$command" a/b
	wrong 'characters other than' "$command" 'a b'
	wrong 'characters other than' "$command" $'a\nb'
	wrong 'characters other than' "$command" $'\xff'
	wrong 'surplus argument' "$command" "$x" surplus surplus
done
for command in create list stat top watch push pop merge rm gc bench; do
	wrong "unknown option '--nonsense'" "$command" --nonsense
	wrong "unknown option '-X'" "$command" -X
done
wrong 'surplus argument' list "$x"
wrong 'is empty' top ''
wrong 'begins with a dot' top "$x" .hidden
wrong 'characters other than' top '*' a/b
wrong 'surplus argument' gc "$x" "$x"
wrong 'NAME is missing' rm
wrong 'NAME is missing' rm --force
wrong 'begins with a dot' rm "$x" .hidden
wrong 'NAME is missing' merge
wrong 'NAME is missing' merge --sync 5
wrong 'reserved' merge "$x" control
wrong "'--sync' needs a value" merge "$x" --sync
wrong 'is empty' gc ''
wrong 'is empty' watch ''
wrong 'begins with a dot' watch "$x" .hidden
wrong "'--count' needs a value" watch --count
wrong 'allowed is 1 to' watch --count 0
wrong "'--json=1' takes no value" watch --json=1
wrong 'reserved' gc control
wrong "'--json=1' takes no value" stat "$x" --json=1
wrong "'--force=1' takes no value" rm "$x" --force=1

for option in nodes block consumers metadata overflow mode; do
	wrong "'--$option' needs a value" create "$x" "--$option"
done
for option in block nodes wait; do
	wrong "'--$option' needs a value" push "$x" "--$option"
done
for option in from count timeout; do
	wrong "'--$option' needs a value" pop "$x" "--$option"
done

# Numbers: COMMAND OPTION, below, above
numbers()
{
	local value
	for value in '' x -1 +1 ' 1' '1 ' 1x 0x10 1.5 1e3 ¹; do
		wrong "$2: '.*' is not .*allowed is [0-9]+ to [0-9]+" "$1" "$x" "$2" "$value"
	done
	for value in "${@:3}" 99999999999999999999999999; do
		wrong "$2: .* is out of range; allowed is [0-9]+ to [0-9]+" "$1" "$x" "$2" "$value"
	done
}

numbers create --nodes 0 1073741825
numbers create --block 0 1073741825 2G 99999999999999999G
numbers create --consumers 0 257
numbers push --nodes 0 1073741825
numbers push --block 0 1073741825 1025M
numbers push --wait 257
numbers pop --count 0 9223372036854775808
numbers pop --timeout 2147483648
numbers merge --sync 2147483648
numbers merge --count 0 9223372036854775808
numbers merge --timeout 2147483648
wrong '--block' create "$x" --block 1KB
wrong '--nodes' create "$x" --nodes 1K
for mode in '' 0 0000 1000 7777 0o660 rw-rw---- 0668 -660 000000000660; do
	wrong '--mode: .* is not a mode; allowed is 0001 to 0777' create "$x" --mode "$mode"
done
wrong "--overflow: 'drop' is not one of block or overwrite" create "$x" --overflow drop
wrong "--overflow: '' is not one of" create "$x" --overflow ''
wrong 'exclude each other' create "$x" --hold --overflow overwrite
wrong "--metadata: 257 bytes are too many; allowed are 256" create "$x" --metadata "$(printf '%257s' '')"
wrong "--from: 'first' is not one of latest, oldest or beginning" pop "$x" --from first
wrong 'only one of' pop "$x" --lines --json
wrong 'only one of' pop "$x" --raw --lines
wrong "only one of" merge "$x" --raw --json
conclude
