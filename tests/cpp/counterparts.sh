#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Each public function of mqshm.h has its counterpart in mqshm.hpp, or is said to be left out: probes/counterparts.cpp.
set -u
# shellcheck source=tests/tap.bash
. tests/tap.bash

have g++ g++ "counterparts" || conclude
list=tests/cpp/probes/counterparts.cpp
all_listed() # HEADER
{
	same "$(sed 's|^[ /]\*.*||' "$1" | grep -o '\bmqshm_[a-z0-9_]*(' | tr -d '(' | sort -u)" \
		"$(sed -nE 's/^(COUNTERPART|LEFT_OUT)\((mqshm_[a-z0-9_]*),.*/\2/p' "$list" | sort -u)"
}
compiles() # LIST
{
	g++ -std=c++17 -Wall -Wextra -Wno-unused-function -Wno-unused-value -Iinclude -fsyntax-only "$1"
}
check "all functions are in the list" all_listed include/mqshm.h
check "all counterparts are there" compiles "$list"
sed 's/^void mqshm_stat_free/int mqshm_queue_rename(const char *from, const char *to);\n&/' include/mqshm.h > "$OUT/more.h"
goes_red "a new function is missed" '< mqshm_queue_rename' all_listed "$OUT/more.h"
sed 's/c().leave()/c().go()/' "$list" > "$OUT/less.cpp"
goes_red "a counterpart that is not there is missed" "no member named .go." compiles "$OUT/less.cpp"
conclude
