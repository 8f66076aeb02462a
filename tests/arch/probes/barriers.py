#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
Do the barriers of docs/memory-model.md stand in the code that a compiler made?

    barriers.py OBJDUMP OBJECT...      objects built with -g -fno-jump-tables; all rules, or
    FUNCTION=NAME barriers.py ...      those about one function

A rule names a function, an access X and an access Y by the words of their source line, and that X must come before Y
for other processors. On every way through the function from X to Y there has to be a fence for the two, or Y is a
release or X an acquire. An access that is not found is an error too: a rule about nothing would always be kept.
"""
import os
import re
import subprocess
import sys
from collections import namedtuple

# kind: what the access is to be, "load", "store", or "" for either; bytes: its width, 0 for any. "return" as words of Y:
# wherever the function ends. exact: a call of that function instead of an access.
Access = namedtuple("Access", "kind words bytes", defaults=(0,))
Rule = namedtuple("Rule", "id function x y")
RETURN = Access("", "return")

TAIL = Access("store", r"smp_store_release\(&p->tail")
READ_TAIL = Access("load", r"smp_load_acquire\(&p->tail\)")
HEAD = Access("store", r"smp_store_release\(&r->producer->head, to\.position")
READ_HEAD = Access("load", r"READ_ONCE\(r->producer->head\) > position", 8)
CURSOR = Access("store", r"smp_store_release\(&rd->area->position")
READ_CURSOR = Access("load", r"smp_load_acquire\(&ring_area\(r, slot\)->position")
RELIABLE = Access("load", r"smp_load_acquire\(&r->info->reliable\[i\]\)")
EPOCH = Access("load", r"smp_load_acquire\(&r->info->epoch\)", 4)
PAYLOAD = Access("load", r"memcpy\(to, from, bytes\)|racy_copy")
BIT = Access("store", r"atomic_or\(&r->info->reliable")
CAS_LOCK = Access("load", r"try_cmpxchg\(word, &from")
UNLOCK = Access("store", r"try_cmpxchg\(word, &mine")

RULES = [
    Rule("MO-1", "probe_publish", Access("store", r"WRITE_ONCE\(node->(word|sequence|timestamp_ns)", 8), TAIL),
    Rule("MO-1", "probe_publish", Access("store", r"WRITE_ONCE\(record->(end|next)", 8), TAIL),
    Rule("MO-1", "probe_read_tail", READ_TAIL, Access("load", r"READ_ONCE\(p->record\[i\]", 8)),
    Rule("MO-1", "probe_find", Access("load", r"smp_load_acquire\(&rd->ring->producer->tail"),
         Access("load", r"racy_load\(&node->", 8)),
    Rule("MO-2", "probe_publish", TAIL, Access("load", r"info->data\.word", 4)),
    Rule("MO-2", "posix_wake_all", Access("store", r"atomic_add\(&info->epoch"),
         Access("call", r"mqshm_wake\(&p->base, &info->data\)")),
    Rule("MO-2", "mqshm_wait", Access("call", r"w->value = mqshm_arm\(w->mapping, w->armed\)"), RETURN),
    Rule("MO-3", "probe_make_room", HEAD, RELIABLE),
    Rule("MO-3", "probe_make_room", HEAD, READ_CURSOR),
    Rule("MO-3", "probe_take_over", Access("store", r"smp_store_release\(&p->head, head\)"), RETURN),
    Rule("MO-3", "probe_join", CURSOR, READ_HEAD),
    Rule("MO-3", "probe_join", BIT, READ_HEAD),
    Rule("MO-14", "probe_join", READ_HEAD, Access("store", r"try_cmpxchg\(state, &before")),
    Rule("MO-4", "probe_take", PAYLOAD, CURSOR),
    Rule("MO-4", "probe_make_room", READ_CURSOR, RETURN),
    Rule("MO-4", "probe_take_over", Access("load", r"cursor = .*smp_load_acquire\(&ring_area"), RETURN),
    Rule("MO-5", "probe_take", CURSOR, Access("load", r"info->room\.word", 4)),
    Rule("MO-5", "posix_wake_all", Access("store", r"atomic_add\(&info->epoch"),
         Access("call", r"mqshm_wake\(&p->base, &info->room\)")),
    Rule("MO-6", "probe_make_room", HEAD, RETURN),
    Rule("MO-6", "probe_look_again", PAYLOAD, Access("load", r"READ_ONCE\(rd->ring->producer->head\)", 8)),
    Rule("MO-6", "probe_resync", Access("load", r"f->sequence = racy_load\(&node->sequence\)", 8),
         Access("load", r"READ_ONCE\(p->head\) > to", 8)),
    Rule("MO-7", "probe_look_again", PAYLOAD, Access("load", r"READ_ONCE\(\*rd->state_word\)", 4)),
    Rule("MO-7", "posix_end_role", Access("store", r"try_cmpxchg\(&participant->state"),
         Access("store", r"atomic_and\(&r->info->reliable")),
    Rule("MO-7", "posix_demote", Access("store", r"try_cmpxchg\(&participant->state"),
         Access("store", r"atomic_and\(&r->info->reliable")),
    Rule("MO-8", "probe_publish_twice", TAIL, Access("store", r"WRITE_ONCE\(record->end", 8)),
    Rule("MO-8", "probe_read_tail", Access("load", r"\*sequence = READ_ONCE\(p->record\[i\]\.next\)", 8),
         Access("load", r"if \(READ_ONCE\(p->tail\) == t\)", 8)),
    Rule("MO-9", "probe_join", BIT, Access("store", r"smp_store_release\(&r->info->hold, 0\)", 4)),
    Rule("MO-9", "probe_make_room", Access("load", r"smp_load_acquire\(&r->info->hold\)", 4), RELIABLE),
    Rule("MO-10", "probe_join", Access("store", r"atomic_add\(&r->info->epoch"), BIT),
    Rule("MO-10", "probe_make_room", RELIABLE, EPOCH),
    Rule("MO-10", "probe_make_room", EPOCH, READ_CURSOR),
    Rule("MO-11", "probe_lock_take", CAS_LOCK, Access("load", r"tail = READ_ONCE\(p->tail\)", 8)),
    Rule("MO-11", "probe_lock_release", Access("store", r"under the lock", 8), UNLOCK),
    Rule("MO-12", "mqshm_settle_producers", Access("entry", "entry"),
         Access("store", r"try_cmpxchg\(&ring->info->producer_epoch")),
    Rule("MO-12", "stream_end", Access("load", r"smp_load_acquire\(&c->reader\.ring->info->producer_epoch"),
         RETURN),
]

# What an instruction is for other processors: accesses of some width, acquire or release, or a fence (before, after).
Effect = namedtuple("Effect", "reads writes acquire release bytes fence", defaults=(False, False, False, False, 0, None))
ALL = "rw"


def arm64(name, operands):
    width = 4 if re.match(r"w\d|wzr", operands) else 8
    if re.match(r"st(lx|x)r", name):  # the first operand says whether it was stored
        width = 4 if re.match(r"w\d+, w", operands) else 8
    if name.endswith("b"):
        width = 1
    elif name.endswith("h"):
        width = 2
    if name == "dmb":
        return Effect(fence={"ish": (ALL, ALL), "ishld": ("r", ALL), "ishst": ("w", "w")}.get(operands.split()[0]))
    outline = re.search(r"<__aarch64_(?:cas|swp|ldadd|ldclr|ldset|ldeor)(\d)_(relax|acq_rel|acq|rel|sync)>", operands)
    if name == "bl" and outline:
        order = outline[2]
        return Effect(True, True, order in ("acq", "acq_rel", "sync"), order in ("rel", "acq_rel", "sync"), int(outline[1]))
    if re.match(r"(cas|swp|ld(add|clr|set|eor))(a|l|al)?$", name):
        order = re.match(r"(?:cas|swp|ld(?:add|clr|set|eor))(a?l?)$", name)[1]
        return Effect(True, True, "a" in order, "l" in order, width)
    if name.startswith("ld"):
        return Effect(reads=True, acquire=name.startswith(("lda",)), bytes=width)
    if name.startswith("st"):
        return Effect(writes=True, release=name.startswith("stl"), bytes=width)
    return Effect()


def riscv64(name, operands):
    base, *bits = name.split(".")
    width = {"b": 1, "h": 2, "w": 4, "d": 8}
    if base == "fence":
        if bits:  # fence.tso: all but a store before a load
            return Effect(fence=None)
        before, after = (operands.split(",") + ["rw"])[:2] if operands else (ALL, ALL)
        return Effect(fence=(before, after))
    order = bits[-1] if bits and bits[-1] in ("aq", "rl", "aqrl") else ""
    if base == "lr":  # .rl without .aq orders nothing
        return Effect(reads=True, acquire="aq" in order, bytes=width[bits[0]])
    if base == "sc":  # .aq without .rl orders nothing
        return Effect(writes=True, release="rl" in order, bytes=width[bits[0]])
    if base.startswith("amo"):
        reads = not (base == "amoswap" and operands.startswith("zero"))  # gcc's atomic store
        return Effect(reads, True, "aq" in order, "rl" in order, width[bits[0]])
    if re.match(r"l[bhwd]u?$", name):
        return Effect(reads=True, bytes=width[name[1]])
    if re.match(r"s[bhwd]$", name):
        return Effect(writes=True, bytes=width[name[1]])
    return Effect()


Instruction = namedtuple("Instruction", "address name operands effect source call")


def is_return(i):
    return i.name == "ret" or (i.name in ("b", "br", "j", "jr", "tail") and not target(i))


def target(i):
    """The address a branch goes to inside this section."""
    found = re.search(r"(?:^|[ ,])([0-9a-f]+) <([^>+]+)", i.operands)
    return int(found[1], 16) if found else None


def read(objdump, objects):
    """Functions by name: their instructions in order."""
    functions, sources = {}, {}
    for path in objects:
        only = [f"--disassemble={os.environ['FUNCTION']}"] if "FUNCTION" in os.environ else []
        said = subprocess.run([objdump, "-drl", "--no-show-raw-insn", *only, path], check=True, capture_output=True, text=True).stdout
        model = arm64 if "aarch64" in said[:200] else riscv64
        symbols = subprocess.run([objdump, "-t", path], check=True, capture_output=True, text=True).stdout
        starts = {(m[2], int(m[1], 16)): m[3] for m in
                  re.finditer(r"^([0-9a-f]+) .{6}F (\S+)\t[0-9a-f]+ (?:\.hidden )?(\S+)$", symbols, re.M)}
        code, line, section = None, "", ""
        for text in said.splitlines():
            if m := re.match(r"Disassembly of section (\S+):", text):
                section = m[1]
            elif m := re.match(r"([0-9a-f]+) <", text):  # labels of riscv's relaxation end no function
                if name := starts.get((section, int(m[1], 16))):
                    code = functions.setdefault(re.sub(r"(\.(isra|constprop)\.\d+)+$", "", name), [])
            elif m := re.match(r"(/?\S+):(\d+)(?: \(discriminator \d+\))?$", text):
                if m[1] not in sources:
                    with open(m[1], encoding="utf-8") as f:
                        sources[m[1]] = f.read().split("\n")
                line = sources[m[1]][int(m[2]) - 1]
            elif (m := re.match(r"\s+([0-9a-f]+):\s+R_\S+\s+(\S+)", text)) and code:
                i = code[-1]  # a call of another object: its name is in the relocation
                callee = m[2].split("+")[0]
                if i.name in ("bl", "b", "auipc") and callee != "*ABS*":
                    operands = f"<{callee}>"
                    code[-1] = i._replace(operands=operands, effect=model(i.name, operands), call=callee)
            elif (m := re.match(r"\s+([0-9a-f]+):\s+(\S+)(?:\s+(.*))?$", text)) and code is not None:
                operands = re.sub(r"\s*(//|#).*", "", m[3] or "").strip()
                code.append(Instruction(int(m[1], 16), m[2], operands, model(m[2], operands), line, None))
    return functions


def fits(i, access):
    if access.words == "return":
        return is_return(i)
    if access.kind == "call":
        return i.call is not None and re.search(access.words, i.source) is not None
    if access.bytes and i.effect.bytes and i.effect.bytes != access.bytes:
        return False
    if not re.search(access.words, i.source):
        return False
    return i.effect.reads if access.kind == "load" else i.effect.writes


def is_pointer(code, n):
    """Is what this load gets used as an address first, as rd and ring are in rd->ring->tail?"""
    got = code[n].operands.split(",")[0]
    for i in code[n + 1:]:
        first, _, rest = i.operands.partition(",")
        if (i.effect.reads or i.effect.writes) and re.search(rf"[\[(]{got}\b", rest):
            return True
        if i.name == "add" and i.source == code[n].source and re.match(rf"\s*{got}, ?#?\w+$", rest):
            return True
        if re.search(rf"\b{got}\b", i.operands) or is_return(i):
            return False
    return False


def accesses(code, access):
    """Where the access is: not the loads of pointers on its line."""
    found = [n for n, i in enumerate(code) if fits(i, access)]
    if access.kind == "load":
        acquires = [n for n in found if code[n].effect.acquire]
        found = acquires or [n for n in found if code[n].effect.writes or not is_pointer(code, n)]
    return found


def next_of(code, at):
    i = code[at]
    by_address = next_of.index
    if is_return(i):
        return []
    goal = target(i)
    ways = []
    if goal is not None and goal in by_address and i.name not in ("bl", "jal"):
        ways.append(by_address[goal])
    if not (goal is not None and i.name in ("b", "j")) and at + 1 < len(code):
        ways.append(at + 1)
    return ways


def between(effect, before, after):
    """A fence that orders an access before (r, w or both) against one after."""
    return effect.fence is not None and set(before) <= set(effect.fence[0]) and set(after) <= set(effect.fence[1])


def letters(access):
    return {"load": "r", "store": "w"}.get(access.kind, ALL)


def broken(code, rule):
    """What is wrong, or None."""
    next_of.index = {i.address: n for n, i in enumerate(code)}
    if rule.x.kind == "entry":
        starts = [-1]
    else:
        starts = accesses(code, rule.x)
    ends = set(accesses(code, rule.y))
    if not starts or not ends:
        return f"there is no {'first' if not starts else 'second'} access in the code"
    reached = False
    for start in starts:
        acquire = start >= 0 and code[start].effect.acquire and rule.x.kind == "load"
        seen, todo = set(), [0] if start < 0 else next_of(code, start)
        free = set()  # reached without a fence
        stack = [(n, False) for n in todo]
        while stack:
            n, fenced = stack.pop()
            if (n, fenced) in seen:
                continue
            seen.add((n, fenced))
            if n in ends:
                reached = True
                i = code[n]
                release = i.effect.release and rule.y.kind == "store"
                if not (fenced or acquire or release):
                    free.add(n)
            fenced = fenced or between(code[n].effect, letters(rule.x), letters(rule.y))
            stack += [(m, fenced) for m in next_of(code, n)]
        if free:
            n = min(free)
            x = "entry" if start < 0 else f"{code[start].address:x} {code[start].name}"
            return f"{x} is not ordered before {code[n].address:x} {code[n].name} ({code[n].source.strip()})"
    return None if reached else "the second access never comes after the first"


def main():
    functions = read(sys.argv[1], sys.argv[2:])
    bad = 0
    rules = [rule for rule in RULES if os.environ.get("FUNCTION", rule.function) == rule.function]
    for rule in rules:
        # A static function may be part of others: then wherever its line went.
        codes = [functions[rule.function]] if rule.function in functions else \
                [code for code in functions.values() if accesses(code, rule.x)]
        wrong = next(filter(None, (broken(code, rule) for code in codes)), None) if codes else "there is no such function"
        if wrong:
            print(f"{rule.id} {rule.function}: {wrong}")
            bad += 1
    print(f"{len(rules) - bad} of {len(rules)} orders are kept")
    sys.exit(bad > 0 or not rules)


main()
