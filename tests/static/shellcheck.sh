#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# All shell code of the repository through shellcheck, with the exceptions of .shellcheckrc.
set -u
# shellcheck source=tests/tap.bash
. tests/tap.bash

have shellcheck shellcheck "shellcheck" || conclude
mapfile -t scripts < <(find . \( -path ./build -o -path ./.git \) -prune -o -type f \( -name '*.sh' -o -name '*.bash' \) -print |
	sort)
for script in tests/run .ci/run "${scripts[@]#./}"; do
	check "$script" shellcheck --shell=bash --external-sources "$script"
done
printf '#!/bin/bash\nrm -rf $1/*\n' > "$OUT/red.sh"
goes_red "an unquoted variable is found" SC2086 shellcheck "$OUT/red.sh"
conclude
