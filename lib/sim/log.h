/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log.h - the simulated kernel's log: a ring of lines.
 */
#ifndef SIM_LOG_H
#define SIM_LOG_H

#include <stddef.h>
#include <stdint.h>

enum { SIM_LOG_LINES = 1024, SIM_LOG_LINE = 256 };

struct sim_log {
    char (*lines)[SIM_LOG_LINE];
    uint64_t end; /* number of the line that comes next; 0 is never used */
};

int sim_log_init(struct sim_log *log);
void sim_log_done(struct sim_log *log);

struct dmi_sim;

/* "device-mapper: PREFIX: ..." as the kernel's DMERR() and DMWARN() write it. */
__attribute__((format(printf, 3, 4))) void sim_log(struct dmi_sim *sim, const char *prefix,
                                                   const char *format, ...);

/*
 * The same for dm-crypt, whose lines 6.1 begins with "trusted_key: " by accident (a
 * header that it includes sets the prefix of all that it prints).
 */
__attribute__((format(printf, 2, 3))) void sim_log_crypt(struct dmi_sim *sim, const char *format,
                                                         ...);

/* "md/PERSONALITY:mdX: ..." as md writes it, whose arrays raid targets are. */
__attribute__((format(printf, 3, 4))) void sim_log_md(struct dmi_sim *sim, const char *personality,
                                                      const char *format, ...);

/* The name of a negative errno as the kernel's %pe prints it, such as "-EINVAL". */
const char *sim_errno(int error, char *buffer, size_t size);

#endif
