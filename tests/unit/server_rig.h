/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server_rig.h - the daemon without its sockets, over a simulated kernel.
 *
 * All parts that a call goes through, in one process and on one loop that the test
 * turns. What goes wrong in here fails the test that runs.
 */
#ifndef SERVER_RIG_H
#define SERVER_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <ev.h>
#include <jansson.h>

#include "dispatch.h"
#include "sim/sim.h"
#include "waits.h"

struct rig {
    struct ev_loop *loop;
    ev_timer tick; /* no turn of the loop is longer than this */
    struct dmi_sim *sim;
    struct budget budget;
    struct dispatcher dispatcher;
};

void rig_init(struct rig *rig);

/* Ends what waits, waits for what runs, and checks that the budget was given back. */
void rig_done(struct rig *rig);

/* Turns the loop until `is_so` or, after some seconds, the test has failed. */
void rig_until(struct rig *rig, bool (*is_so)(void *what), void *what);
void rig_until_idle(struct rig *rig);
void rig_turns(struct rig *rig, int count);

/* Sleeps for some milliseconds, turning the loop. */
void rig_sleep(struct rig *rig, int ms);

/* A device with a live table of one zero target; `uuid` may be NULL. */
void rig_device(struct rig *rig, const char *name, const char *uuid);
void rig_rename(struct rig *rig, const char *name, const char *new_name);
void rig_remove(struct rig *rig, const char *name);
void rig_event(struct rig *rig, const char *name);
bool rig_exists(struct rig *rig, const char *name);

/* Calls of `nr` wait until rig_release. Returns the fault's id. */
uint64_t rig_hold(struct rig *rig, enum dmi_ioctl nr, const char *device);
void rig_release(struct rig *rig, uint64_t id);

/* Turns the loop until `count` calls wait in the fault. */
void rig_until_held(struct rig *rig, uint64_t id, uint32_t count);

/* The next `calls` calls of `nr` fail with `errnum` (0 calls: all from now on). */
void rig_fault(struct rig *rig, enum dmi_ioctl nr, int errnum, uint32_t calls);

/* All that `out` holds, emptied; with a NUL behind, to be freed. */
char *rig_text(struct out *out, size_t *ret_length);

/* Parses a JSON text; it must be one. */
json_t *rig_json(const char *text);

/* What stands at `path` ("error/data/path", "0/id"); NULL where nothing does. */
const json_t *rig_at(const json_t *json, const char *path);
const char *rig_string(const json_t *json, const char *path);

/* Both are JSON; equal whatever the order of keys. */
#define assert_json_equal(json, expected) rig_assert_json(json, expected, __FILE__, __LINE__)
void rig_assert_json(const json_t *json, const char *expected, const char *file, int line);

/* Is it an error reply with this code and this data.error? */
#define assert_error(json, code, name) rig_assert_error(json, code, name, __FILE__, __LINE__)
void rig_assert_error(const json_t *json, int code, const char *name, const char *file, int line);

#endif
