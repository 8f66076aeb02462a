#!/bin/bash
# SPDX-License-Identifier: MIT
# --help of the tool and of each command, --version, and the completion scripts.
# shellcheck source-path=SCRIPTDIR
source "$(dirname "$0")/lib.bash"

commands='create list stat top watch push pop merge evict rm gc bench'

for command in $commands; do
	text=$("$MQSHM" "$command" --help 2> "$WORK/err")
	check "$command --help exits 0" equal $? 0
	check "$command --help gives a synopsis" matches "$text" "^usage: mqshm $command"
	check "$command --help tells of exit codes" matches "$text" "exit (code|status)"
	check "$command --help says nothing on stderr" equal "$(< "$WORK/err")" ''
	check "$command --help fits 100 columns" equal "$(awk 'length > 100' <<< "$text")" ''
done

text=$("$MQSHM" --help)
check "--help exits 0" equal $? 0
for command in $commands; do
	check "--help lists $command" matches "$text" $'\n'"  $command +[a-z]"
done

text=$("$MQSHM" --version)
check "--version exits 0" equal $? 0
check "--version is name and version" matches "$text" '^mqshm [0-9]+\.[0-9]+\.[0-9]+$'

"$MQSHM" --help > /dev/full 2> "$WORK/err"
check "help that can't be written exits 1" equal $? 1
check "... and says so" matches "$(< "$WORK/err")" "^mqshm: can't write to stdout: "

# completes EXPECTED WORD...: the last word is the one to complete.
completes()
{
	local expected=$1
	shift
	equal "$(bash --norc -c '
		source packaging/completion/mqshm.bash || exit 1
		COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
		_mqshm 2> /dev/null
		echo "${COMPREPLY[*]}"' bash "$@" 2>&1)" "$expected"
}

check "the bash completion loads silently" equal "$(bash --norc -c 'source packaging/completion/mqshm.bash' 2>&1)" ''
check "it completes commands" completes 'push pop' mqshm p
check "it completes options" completes '--lines --lossy --lease --leave' mqshm pop x --l
check "it completes values" completes 'block' mqshm create --overflow b
check "... of --slow" completes 'evict:500' mqshm create --slow e
"$MQSHM" create "$Q-complete" > /dev/null
check "it completes queues" completes "$Q-complete" mqshm stat "$Q-"
check "... for evict" completes "$Q-complete" mqshm evict "$Q-"
check "it completes no second queue for stat" completes '' mqshm stat "$Q-complete" "$Q-"
check "it completes a second queue for merge" completes "$Q-complete" mqshm merge "$Q-complete" "$Q-"
check "it completes a second queue for top" completes "$Q-complete" mqshm top "$Q-complete" "$Q-"
"$MQSHM" rm "$Q-complete" > /dev/null
# Somebody else's file name must not be run as a command.
evil="$Q-\$(touch evil)"
(cd "$WORK" && : > "/dev/shm/mqshm.$evil")
check "it offers no file with an improper name" completes '' mqshm stat "$Q-"
check "... and runs nothing from it" test ! -e evil
rm -f "/dev/shm/mqshm.$evil"
if command -v zsh > /dev/null; then
	check "the zsh completion parses" zsh -n packaging/completion/_mqshm
else
	skip "the zsh completion parses" "missing package: zsh"
fi
conclude
