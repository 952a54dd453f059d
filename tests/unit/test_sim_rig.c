/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What tests of the simulated kernel share. It calls through the library's typed
 * calls where it can, and builds raw requests for what they would never send.
 */
#include "test_sim_rig.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "sim/state.h"
#include "sim/wait.h"

int rig_setup(void **state)
{
    struct rig *rig = calloc(1, sizeof(*rig));
    assert_non_null(rig);
    assert_int_equal(dmi_sim_new(&rig->sim), 0);
    for (uint32_t i = 0; i < 3; i++) {
        struct dmi_sim_disk disk = {.device = {8, i}, .sectors = RIG_DISK_SECTORS};
        (void)snprintf(disk.path, sizeof(disk.path), "/dev/sim%u", i);
        assert_int_equal(dmi_sim_disk_add(rig->sim, &disk, NULL), 0);
    }
    assert_int_equal(dmi_sim_open(rig->sim, &rig->transport), 0);
    dmi_init(&rig->dm, rig->transport);
    *state = rig;
    return 0;
}

int rig_teardown(void **state)
{
    struct rig *rig = *state;
    (void)dmi_transport_free(rig->transport);
    (void)dmi_sim_free(rig->sim);
    free(rig);
    return 0;
}

struct dmi_id by_name(const char *name)
{
    return (struct dmi_id){.kind = DMI_BY_NAME, .name = name};
}

void rig_create(struct rig *rig, const char *name)
{
    struct dmi_info info;
    assert_int_equal(dmi_device_create(&rig->dm, name, NULL, 0, 0, &info), 0);
}

int rig_load(struct rig *rig, const char *name, const char *type, uint64_t length,
             const char *params)
{
    const struct dmi_target target = {.length = length, .type = type, .params = params};
    const struct dmi_id id = by_name(name);
    struct dmi_info info;
    return dmi_table_load(&rig->dm, &id, &target, 1, 0, &info);
}

int rig_resume(struct rig *rig, const char *name)
{
    const struct dmi_id id = by_name(name);
    struct dmi_info info;
    return dmi_device_resume(&rig->dm, &id, 0, 0, &info);
}

int rig_suspend(struct rig *rig, const char *name)
{
    const struct dmi_id id = by_name(name);
    struct dmi_info info;
    return dmi_device_suspend(&rig->dm, &id, 0, &info);
}

int rig_remove(struct rig *rig, const char *name)
{
    const struct dmi_id id = by_name(name);
    struct dmi_info info;
    return dmi_device_remove(&rig->dm, &id, 0, 0, &info);
}

int rig_message(struct rig *rig, const char *name, const char *message)
{
    const struct dmi_id id = by_name(name);
    struct dmi_message answer;
    int rc = dmi_target_msg(&rig->dm, &id, 0, message, 0, 0, &answer);
    if (rc == 0)
        dmi_message_done(&answer);
    return rc;
}

void rig_live(struct rig *rig, const char *name, const char *type, uint64_t length,
              const char *params)
{
    rig_create(rig, name);
    assert_int_equal(rig_load(rig, name, type, length, params), 0);
    assert_int_equal(rig_resume(rig, name), 0);
}

struct dmi_info rig_status(struct rig *rig, const char *name, uint32_t flags)
{
    const struct dmi_id id = by_name(name);
    struct dmi_info info;
    assert_int_equal(dmi_device_status(&rig->dm, &id, flags, &info), 0);
    return info;
}

void assert_line(struct rig *rig, const char *name, uint32_t flags, const char *expected)
{
    const struct dmi_id id = by_name(name);
    struct dmi_table table;
    assert_int_equal(dmi_table_status(&rig->dm, &id, flags, &table), 0);
    assert_true(table.count > 0);
    assert_string_equal(table.targets[0].params, expected);
    dmi_table_done(&table);
}

void assert_logged(struct rig *rig, const char *text)
{
    char line[256];
    uint64_t cursor = 0;
    while (dmi_sim_log(rig->sim, &cursor, line, sizeof(line)) == 1)
        if (strstr(line, text))
            return;
    fail_msg("not logged: %s", text);
}

static size_t count_sleepers(struct dmi_sim *sim)
{
    size_t count = 0;

    sim_lock(sim);
    for (const struct sim_waiter *waiter = sim->waiters; waiter; waiter = waiter->next)
        count++;
    sim_unlock(sim);
    return count;
}

void rig_sleepers(struct rig *rig, size_t count)
{
    const struct timespec moment = {.tv_nsec = 1000000};

    for (int tries = 0; count_sleepers(rig->sim) != count; tries++) {
        assert_true(tries < 20000);
        (void)nanosleep(&moment, NULL);
    }
}

void rig_interrupt(pthread_t thread, const atomic_bool *ended)
{
    const struct timespec moment = {.tv_nsec = 1000000};

    for (int tries = 0; !atomic_load(ended); tries++) {
        assert_true(tries < 20000);
        assert_int_equal(pthread_kill(thread, SIGUSR1), 0);
        (void)nanosleep(&moment, NULL);
    }
}

bool is_readable(struct dmi_transport *transport)
{
    struct pollfd poll_fd = {.fd = transport->poll_fd(transport), .events = POLLIN};
    return poll(&poll_fd, 1, 0) == 1;
}

struct raw raw_new(size_t data_size)
{
    struct raw raw = {.size = data_size};
    raw.head = calloc(1, data_size > sizeof(*raw.head) ? data_size : sizeof(*raw.head));
    assert_non_null(raw.head);
    raw.head->version[0] = 4;
    raw.head->data_size = (uint32_t)data_size;
    raw.head->data_start = sizeof(*raw.head);
    return raw;
}

void raw_name(struct raw *raw, const char *name)
{
    (void)snprintf(raw->head->name, sizeof(raw->head->name), "%s", name);
}

void raw_uuid(struct raw *raw, const char *uuid)
{
    (void)snprintf(raw->head->uuid, sizeof(raw->head->uuid), "%s", uuid);
}

void raw_text(struct raw *raw, size_t offset, const char *text)
{
    size_t at = sizeof(*raw->head) + offset;
    assert_true(at + strlen(text) < raw->size);
    (void)snprintf((char *)raw->head + at, raw->size - at, "%s", text);
}

void raw_done(struct raw *raw)
{
    free(raw->head);
    raw->head = NULL;
}

int raw_call(struct rig *rig, enum dmi_ioctl nr, struct raw *raw)
{
    return rig->transport->ioctl(rig->transport, nr, raw->head);
}
