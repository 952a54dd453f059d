# SPDX-License-Identifier: Apache-2.0
"""Runs a program to which the system refuses a call, as a container may."""

PR_SET_DUMPABLE = 4

PROGRAM = """
import ctypes, os, sys
class Condition(ctypes.Structure):
    _fields_ = [("argument", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64)]
call, first, *command = sys.argv[1:]
ALLOW, EPERM, EQUAL = 0x7FFF0000, 0x00050001, 4
lib = ctypes.CDLL("libseccomp.so.2")
lib.seccomp_init.restype = ctypes.c_void_p
filter = ctypes.c_void_p(lib.seccomp_init(ALLOW))
number = lib.seccomp_syscall_resolve_name(call.encode())
conditions = [Condition(0, EQUAL, int(first), 0)] if first else []
array = (Condition * len(conditions))(*conditions)
assert lib.seccomp_rule_add_array(filter, EPERM, number, len(conditions), array) == 0
assert lib.seccomp_load(filter) == 0
os.execv(command[0], command)
"""


def forbid(call, first=""):
    """The command that runs another without a system call; with `first`, without those of that first argument."""
    return ("/usr/bin/python3", "-c", PROGRAM, call, str(first))
