/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of protect.c: what the kernel refuses is told, and done without. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "protect.h"

static bool refused;    /* nothing is allowed */
static bool may_lock;   /* CAP_IPC_LOCK */
static rlim_t hard;     /* of locked memory */
static int locked_with; /* the flags of mlockall; 0: it was not called */

int __wrap_prctl(int option, ...);
int __wrap_mlockall(int flags);
int __wrap_setrlimit(int what, const struct rlimit *limit);
int __wrap_getrlimit(int what, struct rlimit *ret_limit);
long __wrap_syscall(long number, void *header, uint32_t *data);
int __wrap_open(const char *path, int flags, ...);
int __real_open(const char *path, int flags, ...);

static int answer(bool ok)
{
    errno = ok ? 0 : EPERM;
    return ok ? 0 : -1;
}

int __wrap_prctl(int option, ...)
{
    assert_int_equal(option, PR_SET_IO_FLUSHER);
    return answer(!refused);
}

int __wrap_mlockall(int flags)
{
    locked_with = flags;
    return answer(!refused);
}

int __wrap_setrlimit(int what, const struct rlimit *limit)
{
    assert_int_equal(what, RLIMIT_MEMLOCK);
    return answer(limit->rlim_max <= hard);
}

int __wrap_getrlimit(int what, struct rlimit *ret_limit)
{
    assert_int_equal(what, RLIMIT_MEMLOCK);
    *ret_limit = (struct rlimit){.rlim_cur = 65536, .rlim_max = hard};
    return 0;
}

long __wrap_syscall(long number, void *header, uint32_t *data)
{
    (void)header;
    assert_int_equal(number, SYS_capget);
    data[0] = may_lock ? 1U << 14 : 0;
    return 0;
}

/* The test's own score stays as it is. */
int __wrap_open(const char *path, int flags, ...)
{
    if (strcmp(path, "/proc/self/oom_score_adj") == 0) {
        return refused ? -1 : __real_open("/dev/zero", flags);
    }
    return __real_open(path, flags);
}

static int setup(void **state)
{
    (void)state;
    refused = false;
    may_lock = true;
    hard = RLIM_INFINITY;
    locked_with = 0;
    return 0;
}

static void begin(struct lacks *lacks)
{
    *lacks = (struct lacks){0};
    protect_begin(lacks);
    protect_memory(lacks);
}

static bool misses(const struct lacks *lacks, enum protect_part part)
{
    return lacks_has(lacks, &protect_parts[part]);
}

#ifdef PROTECT_SANITIZED

static void test_a_sanitizer_keeps_it_from_locking(void **state)
{
    struct lacks lacks;

    (void)state;
    begin(&lacks);
    assert_int_equal(locked_with, 0);
    assert_true(misses(&lacks, PROTECT_LOCKED_MEMORY));
    assert_false(misses(&lacks, PROTECT_IO_FLUSHER));
}

#else

static void test_all_is_granted(void **state)
{
    struct lacks lacks;
    char text[256];

    (void)state;
    begin(&lacks);
    assert_int_equal(locked_with, MCL_CURRENT | MCL_FUTURE);
    assert_int_equal(lacks.count, 0);
    lacks_tell(&lacks, text, sizeof(text));
    assert_string_equal(text, "");
}

/* At its limit a process that locks all it maps could map nothing more. */
static void test_a_limit_that_stays(void **state)
{
    struct lacks lacks;

    (void)state;
    hard = 8 << 20;
    may_lock = false;
    begin(&lacks);
    assert_int_equal(locked_with, 0);
    assert_int_equal(lacks.count, 1);
    assert_true(misses(&lacks, PROTECT_LOCKED_MEMORY));
}

static void test_a_limit_does_not_bind_who_may_lock(void **state)
{
    struct lacks lacks;

    (void)state;
    hard = 8 << 20;
    begin(&lacks);
    assert_int_equal(locked_with, MCL_CURRENT | MCL_FUTURE);
    assert_int_equal(lacks.count, 0);
}

#endif

static void test_all_is_refused(void **state)
{
    struct lacks lacks;
    char text[512];

    (void)state;
    refused = true;
    begin(&lacks);
    assert_int_equal(lacks.count, PROTECT_PARTS);
    for (int part = 0; part < PROTECT_PARTS; part++) {
        assert_true(misses(&lacks, (enum protect_part)part));
        assert_non_null(protect_parts[part].name);
    }
    lacks_tell(&lacks, text, sizeof(text));
    assert_non_null(strstr(text, "LimitMEMLOCK=infinity"));
    assert_non_null(strstr(text, "OOMScoreAdjust"));
}

static void test_it_is_measured(void **state)
{
    uint64_t locked = 1;
    uint64_t resident = 0;

    (void)state;
    protect_measure(&locked, &resident);
    assert_int_equal(locked % 1024, 0);
    assert_true(resident > 65536);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#ifdef PROTECT_SANITIZED
        cmocka_unit_test_setup(test_a_sanitizer_keeps_it_from_locking, setup),
#else
        cmocka_unit_test_setup(test_all_is_granted, setup),
        cmocka_unit_test_setup(test_a_limit_that_stays, setup),
        cmocka_unit_test_setup(test_a_limit_does_not_bind_who_may_lock, setup),
#endif
        cmocka_unit_test_setup(test_all_is_refused, setup),
        cmocka_unit_test_setup(test_it_is_measured, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
