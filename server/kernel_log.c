/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one reader of the kernel's log, and whose each line is. It knows the forms in which
 * device-mapper and the block layer name a device, and nothing of calls but when they ran.
 */
#include "kernel_log.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    RING = 1024,   /* lines of device-mapper that are kept, for calls that still run */
    RECORD = 8192, /* the kernel's own limit on a record of /dev/kmsg */
    /* Records: who writes faster than this is read must not hold up calls for ever. */
    READS_BEFORE = 8192,
    READS_AFTER = 65536, /* a kernel's log of some megabytes */
};

/* What a line speaks of. Majors are not always told: "dm-3" is a minor alone. */
struct subject {
    enum { NO_DEVICE, BY_NUMBER, BY_MINOR } kind;
    struct dmi_device device;
};

struct line {
    struct subject subject;
    char text[KERNEL_LOG_LINE];
};

struct kernel_log {
    struct kernel_log_source source;
    pthread_mutex_t lock; /* of all that follows */
    uint64_t end;         /* lines ever kept: the number of the next one */
    uint64_t lost;        /* times that some went unread */
    uint64_t begun;       /* calls ever */
    size_t active;        /* calls now */
    struct line lines[RING];
};

/* --- the source: /dev/kmsg --- */

struct kmsg {
    int fd;
    char record[RECORD];
};

static ssize_t read_record(struct kmsg *kmsg)
{
    ssize_t length;

    do {
        length = read(kmsg->fd, kmsg->record, sizeof(kmsg->record) - 1);
    } while (length < 0 && errno == EINTR); /* workers get signals to leave their ioctls */
    return length < 0 ? -errno : length;
}

/* "PRIORITY,NUMBER,TIME,FLAGS;TEXT\n KEY=VALUE\n". False: not the kernel's own words. */
static bool take_text(char *record, char *ret_line, size_t size)
{
    char *text = strchr(record, ';');
    char *end;
    unsigned long priority = strtoul(record, &end, 10);

    if (!text || end == record || *end != ',' || priority >> 3 != 0) {
        return false;
    }
    text++;
    text[strcspn(text, "\n")] = '\0';
    (void)snprintf(ret_line, size, "%s", text);
    return true;
}

static int kmsg_next(void *data, char *ret_line, size_t size)
{
    struct kmsg *kmsg = data;
    ssize_t length = read_record(kmsg);

    if (length == 0 || length == -EAGAIN) {
        return 0;
    }
    if (length < 0) {
        return (int)length;
    }
    kmsg->record[length] = '\0';
    if (!take_text(kmsg->record, ret_line, size)) {
        *ret_line = '\0';
    }
    return 1;
}

static int kmsg_skip(void *data)
{
    const struct kmsg *kmsg = data;

    return lseek(kmsg->fd, 0, SEEK_END) < 0 ? -errno : 0;
}

static void kmsg_close(void *data)
{
    struct kmsg *kmsg = data;

    (void)close(kmsg->fd);
    free(kmsg);
}

int kernel_log_open(const char *path, struct kernel_log **ret_log)
{
    struct kmsg *kmsg = calloc(1, sizeof(*kmsg));

    if (!kmsg) {
        return -ENOMEM;
    }
    kmsg->fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (kmsg->fd < 0) {
        int rc = -errno;
        free(kmsg);
        return rc;
    }
    const struct kernel_log_source source = {
        .next = kmsg_next, .skip = kmsg_skip, .close = kmsg_close, .data = kmsg};
    return kernel_log_new(&source, ret_log);
}

/* --- whose a line is --- */

/* A number at `*at`, which is moved past it. */
static bool take_number(const char **at, uint32_t *ret_number)
{
    char *end;

    if (!isdigit((unsigned char)**at)) {
        return false;
    }
    *ret_number = (uint32_t)strtoul(*at, &end, 10);
    *at = end;
    return true;
}

/* "254:3" or "dm-3" at the beginning of a word. */
static bool take_subject(const char *word, struct subject *ret_subject)
{
    struct subject found = {.kind = BY_MINOR};

    if (strncmp(word, "dm-", 3) == 0) {
        word += 3;
    } else {
        found.kind = BY_NUMBER;
        if (!take_number(&word, &found.device.major) || *word++ != ':') {
            return false;
        }
    }
    if (!take_number(&word, &found.device.minor) || isalnum((unsigned char)*word)) {
        return false;
    }
    *ret_subject = found;
    return true;
}

/* The first device that a line names is the one it speaks of; others are below or above it. */
static struct subject find_subject(const char *text)
{
    struct subject subject = {.kind = NO_DEVICE};

    for (const char *at = text; *at; at++) {
        bool begins = at == text || !isalnum((unsigned char)at[-1]);
        if (begins && take_subject(at, &subject)) {
            break;
        }
    }
    return subject;
}

/* Lines of others (a file system, the block layer) count where they name a dm-N. */
static bool is_of_interest(const char *text, const struct subject *subject)
{
    return strstr(text, "device-mapper: ") != NULL || subject->kind == BY_MINOR;
}

/* A number that is none of device-mapper's is no name of the device: a disk below it. */
static bool belongs(const struct line *line, const struct dmi_device *device, bool alone)
{
    const struct subject *subject = &line->subject;

    switch (subject->kind) {
    case BY_MINOR:
        return device && subject->device.minor == device->minor;
    case BY_NUMBER:
        if (!device || subject->device.major == device->major) {
            return device && subject->device.minor == device->minor;
        }
        break;
    case NO_DEVICE:
        break;
    }
    return alone;
}

/* --- reading --- */

static void keep(struct kernel_log *log, const char *text)
{
    struct subject subject = find_subject(text);

    if (is_of_interest(text, &subject)) {
        struct line *line = &log->lines[log->end++ % RING];
        line->subject = subject;
        (void)snprintf(line->text, sizeof(line->text), "%s", text);
    }
}

/* With the lock. */
static void read_all(struct kernel_log *log, int limit)
{
    char text[KERNEL_LOG_LINE];

    for (int i = 0; i < limit; i++) {
        int rc = log->source.next(log->source.data, text, sizeof(text));
        if (rc == 1) {
            keep(log, text);
        } else if (rc == -EPIPE) {
            log->lost++; /* the next read goes on with the oldest that is left */
        } else {
            return;
        }
    }
    log->lost++;
    (void)log->source.skip(log->source.data);
}

/* --- calls --- */

void kernel_log_begin(struct kernel_log *log, struct kernel_log_mark *ret_mark)
{
    if (!log) {
        return;
    }
    (void)pthread_mutex_lock(&log->lock);
    /* What nobody runs for nobody wants to read: to skip it costs the same however much it is. */
    if (log->active > 0 || log->source.skip(log->source.data) < 0) {
        read_all(log, READS_BEFORE);
    }
    *ret_mark = (struct kernel_log_mark){
        .open = true,
        .alone = log->active == 0,
        .begun = ++log->begun,
        .line = log->end,
        .lost = log->lost,
    };
    log->active++;
    (void)pthread_mutex_unlock(&log->lock);
}

void kernel_log_end(struct kernel_log *log, struct kernel_log_mark *mark)
{
    if (!log || !mark->open) {
        return;
    }
    mark->open = false;
    (void)pthread_mutex_lock(&log->lock);
    log->active--;
    (void)pthread_mutex_unlock(&log->lock);
}

/* With the lock. Copies the last ones that belong to the call, oldest first; returns how many. */
static size_t copy_lines(const struct kernel_log *log, const struct kernel_log_mark *mark,
                         const struct dmi_device *device, char (*texts)[KERNEL_LOG_LINE],
                         bool *ret_lost)
{
    bool alone = mark->alone && log->begun == mark->begun;
    uint64_t oldest = log->end > RING ? log->end - RING : 0;
    uint64_t first = mark->line > oldest ? mark->line : oldest;
    size_t count = 0;
    uint64_t from = log->end;

    *ret_lost = log->lost != mark->lost || first > mark->line;
    for (; from > first && count <= KERNEL_LOG_LINES; from--) {
        count += belongs(&log->lines[(from - 1) % RING], device, alone);
    }
    if (count > KERNEL_LOG_LINES) {
        *ret_lost = true;
        from++; /* it belongs to the call, but is one too many */
    }
    count = 0;
    for (; from < log->end; from++) {
        const struct line *line = &log->lines[from % RING];
        if (belongs(line, device, alone)) {
            memcpy(texts[count++], line->text, KERNEL_LOG_LINE);
        }
    }
    return count;
}

void kernel_log_collect(struct kernel_log *log, const struct kernel_log_mark *mark,
                        const struct dmi_device *device, struct arena *arena,
                        struct kernel_log_lines *ret_lines)
{
    char(*texts)[KERNEL_LOG_LINE];
    char **lines;

    *ret_lines = (struct kernel_log_lines){0};
    if (!log || !mark->open) {
        return;
    }
    /* Not under the lock: memory may have to wait for a device that another call resumes. */
    texts = arena_alloc(arena, KERNEL_LOG_LINES, sizeof(*texts));
    lines = arena_alloc(arena, KERNEL_LOG_LINES, sizeof(*lines));
    if (!texts || !lines) {
        ret_lines->lost = true;
        return;
    }
    (void)pthread_mutex_lock(&log->lock);
    read_all(log, READS_AFTER);
    size_t count = copy_lines(log, mark, device, texts, &ret_lines->lost);
    (void)pthread_mutex_unlock(&log->lock);
    for (size_t i = 0; i < count; i++) {
        lines[i] = texts[i];
    }
    ret_lines->lines = lines;
    ret_lines->count = count;
}

/* --- all of it --- */

int kernel_log_new(const struct kernel_log_source *source, struct kernel_log **ret_log)
{
    struct kernel_log *log = calloc(1, sizeof(*log));

    if (!log) {
        source->close(source->data);
        return -ENOMEM;
    }
    log->source = *source;
    (void)pthread_mutex_init(&log->lock, NULL);
    *ret_log = log;
    return 0;
}

struct kernel_log *kernel_log_free(struct kernel_log *log)
{
    if (log) {
        log->source.close(log->source.data);
        (void)pthread_mutex_destroy(&log->lock);
        free(log);
    }
    return NULL;
}
