/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Locks this process into memory and tells the kernel what it is for. It knows the process,
 * and nothing of devices.
 */
#include "protect.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <malloc.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Of the loop's stack: the deepest that the parser goes, a handler and a signal on top. */
enum { STACK_BYTES = 256 * 1024 };
/* Larger blocks are mapped, and go back as they are freed. */
enum { MMAP_BYTES = 128 * 1024 };
/*
 * Next to last: whoever suspends devices and dies leaves that to the guardian, which is last.
 * Not -1000, because what clients make it hold is much, and a kernel that has nobody left to
 * kill panics.
 */
enum { OOM_SCORE = -900 };

#ifdef PROTECT_SANITIZED
static const bool sanitized = true;
#else
static const bool sanitized = false;
#endif

const struct lack protect_parts[PROTECT_PARTS] = {
    [PROTECT_LOCKED_MEMORY] =
        {
            .name = "locked_memory",
            .what = "its memory is not locked (CAP_IPC_LOCK or LimitMEMLOCK=infinity, and no "
                    "sanitizer)",
        },
    [PROTECT_IO_FLUSHER] =
        {
            .name = "io_flusher",
            .what = "it may wait for memory that a suspended device holds up (CAP_SYS_RESOURCE)",
        },
    [PROTECT_OOM_SCORE] =
        {
            .name = "oom_score",
            .what = "the kernel may kill it early when memory is short (CAP_SYS_RESOURCE, or "
                    "OOMScoreAdjust=-900)",
        },
};

static void miss(struct lacks *lacks, enum protect_part part)
{
    lacks_add(lacks, &protect_parts[part]);
}

/* --- of the process --- */

static bool lower_oom_score(void)
{
    char text[16] = "";
    int fd = open("/proc/self/oom_score_adj", O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    bool done = read(fd, text, sizeof(text) - 1) > 0 && strtol(text, NULL, 10) <= OOM_SCORE;
    if (!done) {
        int length = snprintf(text, sizeof(text), "%d", OOM_SCORE);
        done = pwrite(fd, text, (size_t)length, 0) == length;
    }
    (void)close(fd);
    return done;
}

void protect_begin(struct lacks *lacks)
{
    if (prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0) < 0) {
        miss(lacks, PROTECT_IO_FLUSHER);
    }
    if (!lower_oom_score()) {
        miss(lacks, PROTECT_OOM_SCORE);
    }
}

/* --- of its memory --- */

static bool may_lock(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {{0}};

    return syscall(SYS_capget, &header, data) == 0 &&
           data[CAP_TO_INDEX(CAP_IPC_LOCK)].effective & CAP_TO_MASK(CAP_IPC_LOCK);
}

/* Only without a limit: at the limit nothing could be mapped any more, not even a stack. */
static bool has_room(void)
{
    struct rlimit limit = {RLIM_INFINITY, RLIM_INFINITY};

    if (setrlimit(RLIMIT_MEMLOCK, &limit) == 0 || may_lock()) {
        return true;
    }
    if (getrlimit(RLIMIT_MEMLOCK, &limit) < 0 || limit.rlim_max != RLIM_INFINITY) {
        return false;
    }
    limit.rlim_cur = limit.rlim_max;
    return setrlimit(RLIMIT_MEMLOCK, &limit) == 0;
}

__attribute__((noinline)) static void touch_stack(void)
{
    char bytes[STACK_BYTES];

    explicit_bzero(bytes, sizeof(bytes));
}

/* What is freed is to be given back: it is locked otherwise. An arena would be 64 MiB. */
static void tune_malloc(void)
{
    (void)mallopt(M_ARENA_MAX, 1);
    (void)mallopt(M_MMAP_THRESHOLD, MMAP_BYTES);
    (void)mallopt(M_TRIM_THRESHOLD, MMAP_BYTES);
}

void protect_memory(struct lacks *lacks)
{
    if (sanitized || !has_room()) {
        miss(lacks, PROTECT_LOCKED_MEMORY);
        return;
    }
    tune_malloc();
    touch_stack();
    /* Not MCL_ONFAULT: the first touch of a page of ours would read it from a disk. */
    if (mlockall(MCL_CURRENT | MCL_FUTURE) < 0) {
        miss(lacks, PROTECT_LOCKED_MEMORY);
    }
}

/* --- to be told --- */

static uint64_t find_kib(const char *status, const char *key)
{
    const char *at = strstr(status, key);

    return at ? strtoull(at + strlen(key), NULL, 10) * 1024 : 0;
}

void protect_measure(uint64_t *ret_locked, uint64_t *ret_resident)
{
    char status[4096] = "";
    int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, status, sizeof(status) - 1);

    if (fd >= 0) {
        (void)close(fd);
    }
    status[n < 0 ? 0 : n] = '\0';
    *ret_locked = find_kib(status, "\nVmLck:");
    *ret_resident = find_kib(status, "\nVmRSS:");
}
