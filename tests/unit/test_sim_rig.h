/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_sim_rig.h - a simulated kernel with three disks for each test, and short
 * ways to say what most tests say. Helpers assert success unless they return it.
 */
#ifndef TEST_SIM_RIG_H
#define TEST_SIM_RIG_H

#include <linux/dm-ioctl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dmioctl.h"
#include "sim/sim.h"
#include "transport.h"

enum { RIG_DISK_SECTORS = 131072 };

struct rig {
    struct dmi_sim *sim;
    struct dmi_transport *transport;
    struct dmi dm;
};

/* cmocka fixtures; *state is the struct rig. Disks: /dev/sim0 to /dev/sim2, 8:0 to 8:2. */
int rig_setup(void **state);
int rig_teardown(void **state);

#define RIG_TEST(test) cmocka_unit_test_setup_teardown(test, rig_setup, rig_teardown)

struct dmi_id by_name(const char *name);

void rig_create(struct rig *rig, const char *name);
int rig_load(struct rig *rig, const char *name, const char *type, uint64_t length,
             const char *params);
int rig_resume(struct rig *rig, const char *name);
int rig_suspend(struct rig *rig, const char *name);
int rig_remove(struct rig *rig, const char *name);
int rig_message(struct rig *rig, const char *name, const char *message);

/* Creates, loads and resumes. */
void rig_live(struct rig *rig, const char *name, const char *type, uint64_t length,
              const char *params);
struct dmi_info rig_status(struct rig *rig, const char *name, uint32_t flags);

/* The first line of a device's table, to be compared: DMI_STATUS_TABLE and the like in `flags`. */
void assert_line(struct rig *rig, const char *name, uint32_t flags, const char *expected);

/* The latest line of the log that contains `text`; fails if there is none. */
void assert_logged(struct rig *rig, const char *text);

/* Is the transport's descriptor readable? */
bool is_readable(struct dmi_transport *transport);

/* Waits until so many threads sleep in the simulated kernel. */
void rig_sleepers(struct rig *rig, size_t count);

/* Signals a thread with SIGUSR1 until it has ended: what comes before its poll(2) is lost. */
void rig_interrupt(pthread_t thread, const atomic_bool *ended);

/* A raw ioctl on a buffer with `size` bytes after the header's 312 (or fewer: negative). */
struct raw {
    struct dm_ioctl *head;
    size_t size;
};

struct raw raw_new(size_t data_size);
void raw_done(struct raw *raw);

/* Set a field, or the text `offset` bytes into the payload (which begins at byte 312). */
void raw_name(struct raw *raw, const char *name);
void raw_uuid(struct raw *raw, const char *uuid);
void raw_text(struct raw *raw, size_t offset, const char *text);
int raw_call(struct rig *rig, enum dmi_ioctl nr, struct raw *raw);

#endif
