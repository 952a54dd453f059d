/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log.h - what the daemon says to its operator: lines on stderr, and records for a writer.
 *
 * stderr may be a full pipe, or a file on a device that is suspended: whoever has to
 * resume it must not wait for it. So lines and records are handed to a thread, in one
 * order, and dropped, and counted, where it is too far behind.
 *
 * Any thread. Never of what requests contain: table lines and messages hold keys.
 */
#ifndef DMRPC_LOG_H
#define DMRPC_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { LOG_RECORD_BYTES = 1536 };

/*
 * One line, whatever is in it: by text_line. Until log_start it writes at once, and may block; from
 * then on it neither blocks nor allocates.
 */
__attribute__((format(printf, 1, 2))) void log_line(const char *format, ...);

/* "PATH: cannot WHAT: why, by errno. ADVICE" Returns -errno. */
int log_errno(const char *path, const char *what, const char *advice);

/* Where records go: called on the log's thread, which may block in there. False: it is lost. */
struct log_writer {
    bool (*write)(void *data, const void *record);
    bool (*lost)(void *data, uint64_t count); /* so many records were, before what comes now */
    void *data;
};

/* Copies `size` bytes, at most LOG_RECORD_BYTES, for the writer; nothing where there is none. */
void log_record(const void *record, size_t size);

/* The same of what nobody misses: dropped uncounted, and before it is in a record's way. */
void log_hint(const void *hint, size_t size);

/* For a writer: whole, on stderr. False: nobody will ever read it. */
bool log_write(const char *bytes, size_t length);

/* Starts the thread. `writer` is copied; NULL: there are no records. Nobody forks after it. 0 or
 * -errno. */
int log_start(const struct log_writer *writer);

/*
 * Waits for what is on its way, but not for long, and for the thread if it is not
 * stuck. Lines after it are written at once, unless it is. Nothing where it was not started.
 */
void log_stop(void);

/* Lines that nobody got to read, and records, since log_start. */
uint64_t log_dropped(void);
uint64_t log_records_dropped(void);

#endif
