# SPDX-License-Identifier: MIT
"""Is there a step on either side of every store to shared memory, and of every system call, in the test build?

labels.py [CLANG ARGUMENT...] -- FILE.c...

Preprocesses each file as the test build does, reads the result with libclang, and follows pointers into the shared
object through variables, parameters, fields and results of all files together: what is reached through a struct of
abi.h, through the nodes, or through a pointer made from one of these, is shared. Every store there has to stand alone
between two calls of mqshm_step(). A pointer of which nothing is known, to a struct of abi.h, counts as shared. An atomic
builtin needs no step where its operand is known to be private: a variable, or a field of a struct that is not in the
object, like a handle's cancelled and notifier, the log's sinks or the word that controls a thread.
"""
import glob
import re
import subprocess
import sys

sys.path += ["/usr/lib/python3/dist-packages"]
from clang.cindex import Config, CursorKind, Index, StorageClass, TypeKind  # noqa: E402

Config.set_library_file(sorted(glob.glob("/usr/lib/*/libclang-14.so*") + glob.glob("/usr/lib/llvm-14/lib/libclang*.so*"))[0])

# Calls of the C library that store nothing where others see it, and stop nobody: no step needed around them.
HARMLESS = set("""
    __errno_location aligned_alloc atexit calloc fclose fflush fopen fprintf free fscanf getenv getline malloc memchr memcmp
    memcpy memmove memset printf qsort realloc reallocarray snprintf sscanf strchr strcmp strcpy strerror strlen strncmp strncpy strnlen
    strrchr strspn strcspn strstr strtol strtoull sysconf va_start vsnprintf
    clock_gettime geteuid getpid getrlimit opendir readdir closedir readlink stat fstatvfs sched_getaffinity __sched_cpucount
    pthread_atfork pthread_mutex_lock pthread_mutex_unlock pthread_once pthread_sigmask sigaddset sigemptyset sigfillset
    sigismember sigpending sigtimedwait
    pthread_create pthread_join pthread_mutex_destroy pthread_mutex_init pthread_setname_np
    mqshm_step mqshm_step_lock
    """.split())
# Above the queues. What these do to one they do through the public functions, whose steps are there; all else is threads,
# mutexes and memory of this process. log.c knows no queue, it writes on stderr. So their system calls need no steps; a
# store to shared memory would be found here, too.
ABOVE = {f"lib/{name}.c" for name in ("heap", "log", "manager", "merge", "stage", "stage_buffer", "stage_run")}
# Fields that hold functions of the user's.
USERS = {"tell_slow"}
# Fields that hold addresses in the object, to begin with.
SEEDS = {("mqshm_ring", f) for f in ("info", "producer", "consumers", "nodes", "participants")} | {("posix_mapping", "address"), ("kernel_mapping", "address")}

abi = set(re.findall(r"^struct (\w+) \{", open("include/mqshm/abi.h", encoding="ascii").read(), re.M))


class Unit:
    """A preprocessed file: its functions, and the text, for the tokens."""

    def __init__(self, path, arguments):
        self.path = path
        self.text = subprocess.run(["clang", "-E", "-P", *arguments, path], check=True, stdout=subprocess.PIPE).stdout
        name = path.replace("/", "-") + ".i"
        self.tree = Index.create().parse(name, args=["-std=gnu11", "-x", "cpp-output"],
                                         unsaved_files=[(name, self.text.decode())])
        errors = [d for d in self.tree.diagnostics if d.severity >= 3]
        if errors:
            sys.exit(f"{path}: {errors[0]}")

    def source(self, cursor):
        return self.text[cursor.extent.start.offset:cursor.extent.end.offset].decode()


def kids(c):
    return list(c.get_children())


def strip(c):
    """Without parentheses and casts."""
    while True:
        inner = kids(c)
        if c.kind in (CursorKind.PAREN_EXPR,) or (c.kind == CursorKind.UNEXPOSED_EXPR and len(inner) == 1):
            c = inner[0]
        elif c.kind == CursorKind.CSTYLE_CAST_EXPR and inner:
            c = inner[-1]
        else:
            return c


def key(c):
    """Of a variable or parameter: its place."""
    return (c.translation_unit.spelling, c.location.offset)


def field_of(c):
    d = c.referenced
    return (d.semantic_parent.spelling, d.spelling) if d is not None else None


def pointee(t):
    return t.get_canonical().get_pointee()


def abi_pointer(t):
    p = pointee(t)
    return p.kind == TypeKind.RECORD and p.get_declaration().spelling in abi


class Check:
    def __init__(self, units):
        self.units = units
        self.unit = None
        self.pointers, self.fields, self.results, self.outs = set(), set(SEEDS), set(), set()
        self.known = set()   # variables and parameters that something is known of
        self.bodies = {}     # USR: (unit, cursor)
        self.called = set()  # or their address is taken
        self.members = {}    # field name: functions put into such a field
        for unit in units:
            for c in unit.tree.cursor.get_children():
                if c.kind == CursorKind.FUNCTION_DECL and c.is_definition():
                    self.bodies[c.get_usr()] = (unit, c)
        names = {}
        for usr, (unit, c) in self.bodies.items():
            names.setdefault(c.spelling, []).append(usr)
        for unit in units:
            for member, function in re.findall(r"\.(\w+) = (\w+)\s*[,;}]", unit.text.decode()):
                for usr in names.get(function, []):
                    self.members.setdefault(member, set()).add(usr)

    # -- what an expression is --

    def operator(self, c):
        text = self.unit.source(c)
        a, b = kids(c)[0], kids(c)[-1]
        if c.kind == CursorKind.UNARY_OPERATOR:
            before = text[:a.extent.start.offset - c.extent.start.offset].strip()
            return before or text[a.extent.end.offset - c.extent.start.offset:].strip() + " after"
        return text[a.extent.end.offset - c.extent.start.offset:b.extent.start.offset - c.extent.start.offset].strip(" ()\n\t")

    def shared(self, c):
        """Is this pointer one into the object?"""
        c = strip(c)
        k = c.kind
        inner = kids(c)
        if k == CursorKind.DECL_REF_EXPR and c.referenced is not None:
            where = key(c.referenced)
            if where in self.pointers:
                return True
            return abi_pointer(c.type) and where not in self.known and c.referenced.kind in (CursorKind.VAR_DECL,
                                                                                             CursorKind.PARM_DECL)
        if k == CursorKind.MEMBER_REF_EXPR:
            if c.type.get_canonical().kind in (TypeKind.CONSTANTARRAY, TypeKind.INCOMPLETEARRAY):
                return self.place(c)
            return field_of(c) in self.fields
        if k == CursorKind.ARRAY_SUBSCRIPT_EXPR and c.type.get_canonical().kind == TypeKind.CONSTANTARRAY:
            return self.place(c)
        if k == CursorKind.UNARY_OPERATOR:
            operator = self.operator(c)
            if operator == "&":
                return self.place(inner[0])
            if operator == "*":
                inside = strip(inner[0])
                return inside.kind == CursorKind.DECL_REF_EXPR and key(inside.referenced) in self.outs
            return self.shared(inner[0])
        if k == CursorKind.BINARY_OPERATOR:
            return c.type.get_canonical().kind == TypeKind.POINTER and any(self.shared(i) for i in inner)
        if k == CursorKind.CONDITIONAL_OPERATOR:
            return any(self.shared(i) for i in inner[1:])
        if k == CursorKind.CALL_EXPR and c.referenced is not None:
            return c.referenced.get_usr() in self.results
        if k == CursorKind.StmtExpr:
            last = kids(inner[0])[-1]
            return self.shared(last)
        return False

    def place(self, c):
        """Is this lvalue in the object?"""
        c = strip(c)
        inner = kids(c)
        if c.kind == CursorKind.MEMBER_REF_EXPR and inner:
            if inner[0].type.get_canonical().kind == TypeKind.POINTER:
                return self.shared(inner[0])
            return self.place(inner[0])
        if c.kind == CursorKind.ARRAY_SUBSCRIPT_EXPR:
            base = strip(inner[0])
            if base.type.get_canonical().kind == TypeKind.CONSTANTARRAY:
                return self.place(base)
            return self.shared(base)
        if c.kind == CursorKind.UNARY_OPERATOR and self.operator(c) == "*":
            return self.shared(inner[0])
        return False

    def private(self, c):
        """Is this pointer known not to be one into the object?"""
        c = strip(c)
        if self.shared(c):
            return False
        if c.kind == CursorKind.UNARY_OPERATOR and self.operator(c) == "&":
            inside = strip(kids(c)[0])
            while inside.kind in (CursorKind.MEMBER_REF_EXPR, CursorKind.ARRAY_SUBSCRIPT_EXPR) and \
                    strip(kids(inside)[0]).type.get_canonical().kind != TypeKind.POINTER:
                inside = strip(kids(inside)[0])
            if inside.kind == CursorKind.MEMBER_REF_EXPR:
                return True # of a struct that is reached by a pointer not into the object
            return inside.kind == CursorKind.DECL_REF_EXPR
        return c.kind == CursorKind.DECL_REF_EXPR and c.referenced is not None and key(c.referenced) in self.known

    # -- following pointers --

    def callees(self, c):
        if c.referenced is not None and c.referenced.kind == CursorKind.FUNCTION_DECL:
            return [c.referenced.get_usr()]
        chosen = strip(kids(c)[0]) if kids(c) else c
        if c.referenced is None and chosen.kind == CursorKind.CONDITIONAL_OPERATOR: # (this ? a : b)(...)
            sides = [strip(i).spelling for i in kids(chosen)[1:]]
            found = [self.members.get(name, set()) for name in sides]
            return list(set().union(*found)) if all(found) else []
        name = c.referenced.spelling if c.referenced is not None else ""
        return list(self.members.get(name, []))

    def learn(self, to, value):
        if to.kind == CursorKind.DECL_REF_EXPR and to.referenced is not None:
            self.known.add(key(to.referenced))
            if self.shared(value):
                self.pointers.add(key(to.referenced))
        elif to.kind == CursorKind.MEMBER_REF_EXPR:
            if self.shared(value):
                self.fields.add(field_of(to))
        elif to.kind == CursorKind.UNARY_OPERATOR and self.operator(to) == "*" and self.shared(value):
            inside = strip(kids(to)[0])
            if inside.kind == CursorKind.DECL_REF_EXPR:
                self.outs.add(key(inside.referenced))

    def follow(self, c, function):
        pointer = c.type.get_canonical().kind == TypeKind.POINTER
        inner = kids(c)
        if c.kind == CursorKind.DECL_REF_EXPR and c.referenced is not None and c.referenced.kind == CursorKind.FUNCTION_DECL:
            self.called.add(c.referenced.get_usr())
        if c.kind == CursorKind.BINARY_OPERATOR and pointer and self.operator(c) == "=":
            self.learn(strip(inner[0]), inner[1])
        elif c.kind == CursorKind.VAR_DECL and pointer and inner and inner[-1].kind.is_expression():
            self.known.add(key(c))
            if self.shared(inner[-1]):
                self.pointers.add(key(c))
        elif c.kind == CursorKind.INIT_LIST_EXPR:
            for i in inner: # .field = value
                parts = kids(i)
                if i.kind == CursorKind.UNEXPOSED_EXPR and len(parts) == 2 and parts[0].kind == CursorKind.MEMBER_REF \
                        and self.shared(parts[1]):
                    self.fields.add(field_of(parts[0]))
        elif c.kind == CursorKind.RETURN_STMT and inner and self.shared(inner[0]):
            self.results.add(function.get_usr())
        elif c.kind == CursorKind.CALL_EXPR:
            arguments = list(c.get_arguments())
            for usr in self.callees(c):
                if usr not in self.bodies:
                    continue
                for argument, parameter in zip(arguments, self.bodies[usr][1].get_arguments()):
                    where = key(parameter)
                    self.known.add(where)
                    if self.shared(argument):
                        self.pointers.add(where)
                    a = strip(argument)
                    if a.kind == CursorKind.UNARY_OPERATOR and self.operator(a) == "&":
                        inside = strip(kids(a)[0]) # &payload, and *payload = in there
                        if where in self.outs and inside.kind == CursorKind.DECL_REF_EXPR:
                            self.pointers.add(key(inside.referenced))
                    elif a.kind == CursorKind.DECL_REF_EXPR and where in self.outs:
                        self.outs.add(key(a.referenced))
        for i in inner:
            self.follow(i, function)

    def fixpoint(self):
        while True:
            size = [len(s) for s in (self.pointers, self.fields, self.results, self.outs, self.known)]
            for unit, function in self.bodies.values():
                self.unit = unit
                self.follow(function, function)
            if size == [len(s) for s in (self.pointers, self.fields, self.results, self.outs, self.known)]:
                return

    # -- what is stored --

    def stores(self, c):
        """Why this very node is a store to the object, or a system call; or None."""
        inner = kids(c)
        if c.kind in (CursorKind.BINARY_OPERATOR, CursorKind.COMPOUND_ASSIGNMENT_OPERATOR):
            operator = self.operator(c)
            assigns = c.kind == CursorKind.COMPOUND_ASSIGNMENT_OPERATOR or operator == "="
            return "an assignment" if assigns and self.place(inner[0]) else None
        if c.kind == CursorKind.UNARY_OPERATOR:
            return "an increment" if self.operator(c)[:2] in ("++", "--") and self.place(inner[0]) else None
        if c.kind == CursorKind.UNEXPOSED_EXPR and len(inner) > 1:
            name = re.match(r"(__atomic_\w+|__sync_\w+|__c11_atomic_\w+)", self.unit.source(c))
            if not name or "_load" in name.group(1) or self.private(inner[0]):
                return None
            return name.group(1)
        if c.kind == CursorKind.CALL_EXPR:
            name = c.spelling
            if c.referenced is None or c.referenced.kind != CursorKind.FUNCTION_DECL:
                users = c.referenced is not None and c.referenced.kind == CursorKind.PARM_DECL # its own code
                users = users or name in USERS or self.unit.path in ABOVE
                return None if users or self.callees(c) else f"a call of nobody knows what, {name}"
            if c.referenced.get_usr() in self.bodies or name.startswith("__builtin_"):
                return None
            if name not in HARMLESS and not name.startswith("mqshm_") and self.unit.path not in ABOVE:
                return f"{name}()"
            types = list(c.referenced.type.argument_types()) if c.referenced.type.kind == TypeKind.FUNCTIONPROTO else []
            for i, argument in enumerate(c.get_arguments()):
                t = types[i] if i < len(types) else strip(argument).type
                if t.get_canonical().kind == TypeKind.POINTER and not pointee(t).is_const_qualified() and self.shared(argument):
                    return f"{name}() to shared memory"
        return None

    def is_step(self, c):
        c = strip(c)
        return c.kind == CursorKind.CALL_EXPR and c.spelling == "mqshm_step"

    def visit(self, c, function, alone):
        """alone: c stands between two steps; a list of what is stored there."""
        what = self.stores(c)
        if what:
            self.count += 1
            text = " ".join(self.unit.source(c).split())[:120]
            if alone is None:
                self.wrong.add(f"{self.unit.path}: {function.spelling}: {what} without a step on either side: {text}")
            else:
                alone.append(text)
                if len(alone) > 1:
                    self.wrong.add(f"{self.unit.path}: {function.spelling}: two stores in one step: {', '.join(alone)}")
        inner = kids(c)
        if c.kind == CursorKind.StmtExpr:
            inner = kids(inner[0])
            for i, child in enumerate(inner):
                between = 0 < i < len(inner) - 1 and self.is_step(inner[i - 1]) and self.is_step(inner[i + 1])
                self.steps += between
                self.visit(child, function, [] if between else alone)
            return
        for i in inner:
            self.visit(i, function, alone)

    def run(self):
        self.count, self.steps, self.wrong = 0, 0, set()
        self.fixpoint()
        used = self.called.union(*self.members.values())
        for usr, (unit, function) in self.bodies.items():
            if function.storage_class == StorageClass.STATIC and usr not in used:
                continue # a header's function that this file does not use
            self.unit = unit
            self.visit(function, function, None)
        for line in sorted(self.wrong):
            print(line)
        if self.count < 60:
            print(f"only {self.count} stores and system calls were found: this check has gone blind")
        print(f"{self.count} stores to shared memory and system calls, {self.steps} between two steps, {len(self.wrong)} wrong")
        return 1 if self.wrong or self.count < 60 else 0


split = sys.argv.index("--")
sys.exit(Check([Unit(path, sys.argv[1:split]) for path in sys.argv[split + 1:]]).run())
