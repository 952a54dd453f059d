/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernel_log.h - what the kernel said during one call.
 *
 * Why a table was refused stands nowhere but in the kernel's log. One reader of it serves all
 * calls: each marks the place before it asks the kernel, and one that failed collects what came
 * since. The kernel stores a line before the ioctl that made it returns, however slow the
 * console is.
 *
 * A line that names a device-mapper device belongs to the calls that change that device, of
 * which there is one at a time. One of device-mapper's that names none belongs to a call only if
 * no other ran beside it. Lines of processes, which may write to the log too, belong to nobody.
 *
 * Any thread, but for new and free. Never blocks; asks for memory only to collect. A NULL log
 * has no lines.
 */
#ifndef DMRPC_KERNEL_LOG_H
#define DMRPC_KERNEL_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arena.h"
#include "dmioctl.h"

struct kernel_log;

enum {
    KERNEL_LOG_LINE = 256, /* bytes of a line, with its NUL; longer ones are cut */
    KERNEL_LOG_LINES = 16, /* the last ones of a call; earlier ones are lost */
};

/* Where lines come from. Called by one thread at a time. */
struct kernel_log_source {
    /* 1: a line, without priority and time; 0: there is none yet; -EPIPE: some are gone. */
    int (*next)(void *data, char *ret_line, size_t size);
    /* Goes past all that is there now. Negative: it cannot, they are to be read. */
    int (*skip)(void *data);
    void (*close)(void *data);
    void *data;
};

/* Where a call began. Zeroed: it did not. */
struct kernel_log_mark {
    bool open;
    bool alone;     /* nobody else ran when it began, */
    uint64_t begun; /* and the number of those that had begun tells whether somebody did since */
    uint64_t line, lost;
};

struct kernel_log_lines {
    char *const *lines; /* in the arena, each of KERNEL_LOG_LINE bytes */
    size_t count;
    bool lost; /* there may have been more */
};

/* Reads `path`, /dev/kmsg or what behaves like it. 0 or -errno: -EPERM without CAP_SYSLOG. */
int kernel_log_open(const char *path, struct kernel_log **ret_log);

/* Reads `source`, which is closed at the end. 0, or -ENOMEM, and then it is closed at once. */
int kernel_log_new(const struct kernel_log_source *source, struct kernel_log **ret_log);

/* Takes NULL. Returns NULL. */
struct kernel_log *kernel_log_free(struct kernel_log *log);

/* Right before a call asks the kernel for a change. Costs one system call. */
void kernel_log_begin(struct kernel_log *log, struct kernel_log_mark *ret_mark);

/* When it has returned, whatever it did; once more does no harm. */
void kernel_log_end(struct kernel_log *log, struct kernel_log_mark *mark);

/*
 * For one that failed, before kernel_log_end: what the kernel said about `device` (NULL: no
 * number is known) since. Without memory there are no lines, and `lost` is set.
 */
void kernel_log_collect(struct kernel_log *log, const struct kernel_log_mark *mark,
                        const struct dmi_device *device, struct arena *arena,
                        struct kernel_log_lines *ret_lines);

#endif
