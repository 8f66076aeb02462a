#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# `make demo-python` in a short form: three processes, two queues, a picture; and it fails when what arrives is wrong.
set -u
# shellcheck source=tests/tap.bash
. tests/tap.bash

for package in python3-dev python3-venv python3-setuptools python3-wheel python3-numpy python3-matplotlib; do
	dpkg-query -W -f '${Status}' "$package" 2> /dev/null | grep -q 'ok installed' && continue
	skip "the Python demo" "missing package: $package"
	conclude
done
export PYTHONDONTWRITEBYTECODE=1 MPLCONFIGDIR=$OUT/matplotlib
short="--blocks 10 --interval 0.01 --name $Q-demo"
pictures()
{
	local f
	for f in demo demo-asyncio; do
		[[ $(head -c 4 "$OUT/python/$f.png" | od -An -tx1) == " 89 50 4e 47" ]] || { echo "no picture $f.png"; return 1; }
	done
}
rm -f "$OUT/python/"*.png
said=$(make BUILD="$OUT" demo-python ARGS="$short" 2>&1)
result "make demo-python" $?
check "it says that all samples are half of what was sent, twice" same 2 \
	"$(grep -c 'right: all 32,000 samples in 10 blocks' <<< "$said")"
check "and where the pictures are" same 2 "$(grep -c "picture: $OUT/python/demo.*png" <<< "$said")"
check "there they are" pictures

cp -r examples/python "$OUT/wrong"
sed -i 's/float32(0.5)/float32(0.25)/' "$OUT/wrong/halve.py"
# shellcheck disable=SC2086 # words
goes_red "a filter that does something else is found" "samples are not half" \
	"$OUT/python/venv/bin/python" "$OUT/wrong/demo.py" --out "$OUT" $short
rm -rf "$OUT/wrong"
conclude
