/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The simulated kernel's log: what printk would have said, in a ring of lines
 * that keep their numbers, so that a reader can mark a place and come back. It
 * knows nothing of priorities, times or readers.
 */
#include "log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "state.h"

int sim_log_init(struct sim_log *log)
{
    log->lines = calloc(SIM_LOG_LINES, sizeof(*log->lines));
    if (!log->lines)
        return -ENOMEM;
    log->end = 1;
    return 0;
}

void sim_log_done(struct sim_log *log)
{
    free(log->lines);
    log->lines = NULL;
}

__attribute__((format(printf, 3, 0))) static void log_line(struct dmi_sim *sim, const char *head,
                                                           const char *format, va_list arguments)
{
    char *line = sim->log.lines[sim->log.end % SIM_LOG_LINES];
    int used = snprintf(line, SIM_LOG_LINE, "%s: ", head);

    (void)vsnprintf(line + used, SIM_LOG_LINE - (size_t)used, format, arguments);
    sim->log.end++;
}

void sim_log(struct dmi_sim *sim, const char *prefix, const char *format, ...)
{
    char head[64];
    va_list arguments;

    (void)snprintf(head, sizeof(head), "device-mapper: %s", prefix);
    va_start(arguments, format);
    log_line(sim, head, format, arguments);
    va_end(arguments);
}

void sim_log_crypt(struct dmi_sim *sim, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    log_line(sim, "trusted_key: device-mapper: crypt", format, arguments);
    va_end(arguments);
}

void sim_log_md(struct dmi_sim *sim, const char *personality, const char *format, ...)
{
    char head[64];
    va_list arguments;

    (void)snprintf(head, sizeof(head), "md/%s:mdX", personality);
    va_start(arguments, format);
    log_line(sim, head, format, arguments);
    va_end(arguments);
}

const char *sim_errno(int error, char *buffer, size_t size)
{
    const char *name = strerrorname_np(-error);
    if (name)
        (void)snprintf(buffer, size, "-%s", name);
    else
        (void)snprintf(buffer, size, "%d", error);
    return buffer;
}

int dmi_sim_log(struct dmi_sim *sim, uint64_t *cursor, char *ret_line, size_t size)
{
    int found = 0;

    sim_lock(sim);
    uint64_t oldest = sim->log.end > SIM_LOG_LINES ? sim->log.end - SIM_LOG_LINES : 1;
    if (*cursor < oldest)
        *cursor = oldest;
    if (*cursor < sim->log.end) {
        (void)snprintf(ret_line, size, "%s", sim->log.lines[*cursor % SIM_LOG_LINES]);
        ++*cursor;
        found = 1;
    }
    sim_unlock(sim);
    return found;
}

uint64_t dmi_sim_log_end(struct dmi_sim *sim)
{
    sim_lock(sim);
    uint64_t end = sim->log.end;
    sim_unlock(sim);
    return end;
}
