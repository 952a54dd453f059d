/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The daemon's log: a ring of lines and records, and the thread that writes them. It knows
 * nothing but how to write whole lines in their order; what a record is knows its writer.
 */
#include "log.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "text.h"

/* Each kind has slots of its own, so that neither is in the way of the other. */
enum { LINES = 128, RECORDS = 512, SLOTS = LINES + RECORDS, FLUSH_SECONDS = 1 };
/* A writer of records may need some of it; sanitizers want more than PTHREAD_STACK_MIN. */
enum { STACK_BYTES = 131072 };

struct text {
    size_t length;
    char bytes[1024];
};

enum slot_kind { SLOT_LINE, SLOT_RECORD, SLOT_HINT, SLOT_MISSED };

struct counts {
    uint64_t lines, records;
};

struct slot {
    enum slot_kind kind;
    union {
        struct text text;
        struct counts missed;
        max_align_t align;
        unsigned char record[LOG_RECORD_BYTES];
    };
};

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed; /* something has come or gone, or it is time to go */
    bool started, closing;
    bool left;  /* by a stop while it was stuck: the thread is nobody's */
    bool waits; /* the thread has nothing to do: who has something wakes it */
    pthread_t thread;
    struct log_writer writer;
    struct slot *slots;
    size_t first, count;  /* the first may be in the thread's hands */
    struct counts held;   /* what the slots hold; what says that some were missed is a line */
    struct counts missed; /* since that was said last */
    struct counts dropped;
} logger = {.lock = PTHREAD_MUTEX_INITIALIZER};

__attribute__((format(printf, 2, 0))) static void format_line(struct text *text, const char *format,
                                                              va_list args)
{
    static const char PREFIX[] = "dmrpcd: ";
    const size_t start = sizeof(PREFIX) - 1;
    const size_t room = sizeof(text->bytes) - start - 1; /* a line end follows */
    char raw[sizeof(text->bytes)];

    if (vsnprintf(raw, sizeof(raw), format, args) < 0) {
        raw[0] = '\0';
    }
    memcpy(text->bytes, PREFIX, start);
    text_line(raw, text->bytes + start, room);
    text->length = strlen(text->bytes);
    text->bytes[text->length++] = '\n';
}

__attribute__((format(printf, 2, 3))) static void format_text(struct text *text, const char *format,
                                                              ...)
{
    va_list args;

    va_start(args, format);
    format_line(text, format, args);
    va_end(args);
}

bool log_write(const char *bytes, size_t length)
{
    size_t done = 0;

    while (done < length) {
        ssize_t n = write(STDERR_FILENO, bytes + done, length - done);
        if (n > 0) {
            done += (size_t)n;
        } else if (n < 0 && errno == EAGAIN) { /* somebody has made it non-blocking */
            struct pollfd writable = {.fd = STDERR_FILENO, .events = POLLOUT};
            (void)poll(&writable, 1, -1);
        } else if (n == 0 || errno != EINTR) {
            return false;
        }
    }
    return true;
}

static bool write_text(const struct text *text)
{
    return log_write(text->bytes, text->length);
}

/* --- the ring, with the lock held --- */

static uint64_t *count_of(struct counts *counts, enum slot_kind kind)
{
    return kind == SLOT_RECORD || kind == SLOT_HINT ? &counts->records : &counts->lines;
}

static struct slot *add_slot(enum slot_kind kind)
{
    struct slot *slot = &logger.slots[(logger.first + logger.count++) % SLOTS];

    slot->kind = kind;
    ++*count_of(&logger.held, kind);
    if (logger.waits) { /* a wake-up costs more than all else of a record */
        logger.waits = false;
        pthread_cond_broadcast(&logger.changed);
    }
    return slot;
}

/* What was missed came before what comes now. */
static void put_missed(void)
{
    bool any = logger.missed.lines > 0 || logger.missed.records > 0;

    if (any && logger.held.lines < LINES && logger.held.records < RECORDS) {
        add_slot(SLOT_MISSED)->missed = logger.missed;
        logger.missed = (struct counts){0};
    }
}

static void drop(enum slot_kind kind)
{
    ++*count_of(&logger.missed, kind);
    ++*count_of(&logger.dropped, kind);
}

__attribute__((format(printf, 1, 0))) static void push_line(const char *format, va_list args)
{
    put_missed();
    if (logger.held.lines == LINES) {
        drop(SLOT_LINE);
        return;
    }
    format_line(&add_slot(SLOT_LINE)->text, format, args);
}

static void push_record(enum slot_kind kind, const void *record, size_t size)
{
    put_missed();
    if (logger.held.records < (kind == SLOT_HINT ? RECORDS / 2 : RECORDS)) {
        memcpy(add_slot(kind)->record, record, size);
    } else if (kind == SLOT_RECORD) {
        drop(kind);
    }
}

/* --- the thread --- */

/* Returns what could not be said. */
static struct counts write_missed(struct counts missed)
{
    struct text text;

    if (missed.lines > 0) {
        format_text(&text, "%" PRIu64 " lines of this log were dropped.", missed.lines);
        missed.lines = write_text(&text) ? 0 : missed.lines;
    }
    if (missed.records > 0) {
        format_text(&text, "%" PRIu64 " records of the audit were dropped.", missed.records);
        (void)write_text(&text); /* the writer may have another way */
        missed.records =
            logger.writer.lost(logger.writer.data, missed.records) ? 0 : missed.records;
    }
    return missed;
}

/* Without the lock: only this thread moves `first`. Returns what is missed now. */
static struct counts write_slot(const struct slot *slot)
{
    bool written = true;

    switch (slot->kind) {
    case SLOT_LINE:
        written = write_text(&slot->text);
        return (struct counts){.lines = !written};
    case SLOT_RECORD:
        written = logger.writer.write(logger.writer.data, slot->record);
        return (struct counts){.records = !written};
    case SLOT_HINT:
        (void)logger.writer.write(logger.writer.data, slot->record);
        break;
    case SLOT_MISSED:
        return write_missed(slot->missed);
    }
    return (struct counts){0};
}

static void take_first(void)
{
    struct slot *slot = &logger.slots[logger.first];

    pthread_mutex_unlock(&logger.lock);
    struct counts missed = write_slot(slot);
    pthread_mutex_lock(&logger.lock);
    logger.missed.lines += missed.lines;
    logger.missed.records += missed.records;
    if (slot->kind != SLOT_MISSED) { /* else they have been counted */
        logger.dropped.lines += missed.lines;
        logger.dropped.records += missed.records;
    }
    --*count_of(&logger.held, slot->kind);
    logger.first = (logger.first + 1) % SLOTS;
    logger.count--;
    if (missed.lines == 0 && missed.records == 0) { /* else the news would be lost as well */
        put_missed();
    }
}

static void *log_main(void *argument)
{
    (void)argument;
    pthread_mutex_lock(&logger.lock);
    for (;;) {
        while (logger.count == 0 && !logger.closing) {
            logger.waits = true;
            pthread_cond_wait(&logger.changed, &logger.lock);
        }
        if (logger.count == 0) {
            break;
        }
        take_first();
    }
    free(logger.slots); /* in here, since nobody may be left who waits for us */
    logger.started = false;
    pthread_cond_broadcast(&logger.changed);
    pthread_mutex_unlock(&logger.lock);
    return NULL;
}

/* --- what others call --- */

void log_line(const char *format, ...)
{
    struct text text;
    va_list args;

    va_start(args, format);
    pthread_mutex_lock(&logger.lock);
    bool started = logger.started;
    if (started) {
        push_line(format, args);
    }
    pthread_mutex_unlock(&logger.lock);
    if (!started) {
        format_line(&text, format, args);
        (void)write_text(&text); /* a log that fails stops nothing */
    }
    va_end(args);
}

static void hand_over(enum slot_kind kind, const void *record, size_t size)
{
    pthread_mutex_lock(&logger.lock);
    if (logger.started && logger.writer.write) {
        push_record(kind, record, size);
    }
    pthread_mutex_unlock(&logger.lock);
}

void log_record(const void *record, size_t size)
{
    hand_over(SLOT_RECORD, record, size);
}

void log_hint(const void *hint, size_t size)
{
    hand_over(SLOT_HINT, hint, size);
}

int log_errno(const char *path, const char *what, const char *advice)
{
    int rc = -errno;

    log_line("%s: cannot %s: %s. %s", path, what, strerror(-rc), advice);
    return rc;
}

static int start_thread(void)
{
    pthread_attr_t attributes;
    sigset_t all;
    sigset_t before;

    (void)pthread_attr_init(&attributes);
    (void)pthread_attr_setstacksize(&attributes, STACK_BYTES);
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&logger.thread, &attributes, log_main, NULL);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    (void)pthread_attr_destroy(&attributes);
    return -rc;
}

int log_start(const struct log_writer *writer)
{
    pthread_condattr_t monotonic;

    logger.slots = calloc(SLOTS, sizeof(*logger.slots));
    if (!logger.slots) {
        return -ENOMEM;
    }
    logger.writer = writer ? *writer : (struct log_writer){0};
    (void)pthread_condattr_init(&monotonic);
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&logger.changed, &monotonic);
    (void)pthread_condattr_destroy(&monotonic);
    logger.closing = logger.waits = logger.left = false;
    logger.first = logger.count = 0;
    logger.held = logger.missed = logger.dropped = (struct counts){0};
    logger.started = true;
    int rc = start_thread();
    if (rc < 0) {
        logger.started = false;
        free(logger.slots);
    }
    return rc;
}

void log_stop(void)
{
    struct timespec until;

    pthread_mutex_lock(&logger.lock);
    bool was_started = logger.started;
    logger.closing = true;
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += FLUSH_SECONDS;
    if (was_started) {
        pthread_cond_broadcast(&logger.changed);
    }
    while (logger.started && pthread_cond_timedwait(&logger.changed, &logger.lock, &until) == 0) {
    }
    bool stuck = logger.started;
    bool was_left = logger.left;
    logger.left = stuck;
    pthread_mutex_unlock(&logger.lock);
    if (was_left) {
        return; /* by an earlier stop: the thread is nobody's */
    }
    if (stuck) {
        (void)pthread_detach(logger.thread);
    } else if (was_started) {
        (void)pthread_join(logger.thread, NULL);
        (void)pthread_cond_destroy(&logger.changed);
    }
}

static uint64_t read_dropped(enum slot_kind kind)
{
    pthread_mutex_lock(&logger.lock);
    uint64_t dropped = *count_of(&logger.dropped, kind);
    pthread_mutex_unlock(&logger.lock);
    return dropped;
}

uint64_t log_dropped(void)
{
    return read_dropped(SLOT_LINE);
}

uint64_t log_records_dropped(void)
{
    return read_dropped(SLOT_RECORD);
}
