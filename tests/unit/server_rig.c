/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rig of the server's tests. It puts the parts together as server.c does, and
 * waits by turning the loop, never by a fixed time.
 */
#include "server_rig.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "simulated.h"
#include "transport.h"
#include "watch.h"

static const double PATIENCE = 20; /* seconds: a test that has to wait this long has failed */

static double now(void)
{
    struct timespec time;

    (void)clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void on_tick(struct ev_loop *loop, ev_timer *watcher, int events)
{
    (void)loop;
    (void)watcher;
    (void)events;
}

static void set_limits(struct limits *limits)
{
    for (size_t i = 0; i < type_limits.count; i++) {
        const struct field *field = &type_limits.fields[i];
        void *at = (char *)limits + field->offset;
        if (field->kind == FIELD_U32) {
            *(uint32_t *)at = (uint32_t)field->preset;
        } else {
            *(uint64_t *)at = field->preset;
        }
    }
}

void rig_init(struct rig *rig)
{
    struct dispatcher *dispatcher = &rig->dispatcher;

    memset(rig, 0, sizeof(*rig));
    rig->loop = ev_loop_new(EVFLAG_AUTO);
    assert_non_null(rig->loop);
    ev_timer_init(&rig->tick, on_tick, 0.002, 0.002);
    ev_timer_start(rig->loop, &rig->tick);
    set_limits(&dispatcher->host.limits);
    rig->budget.limit = dispatcher->host.limits.total_bytes;
    dispatcher->loop = rig->loop;
    turns_init(&dispatcher->turns, rig->loop);
    dispatcher->budget = &rig->budget;
    dispatcher->host.backend = "simulated";
    (void)strcpy(dispatcher->host.instance, "00000000-0000-0000-0000-000000000000");
    dispatcher->host.pid = getpid();
    assert_int_equal(dmi_sim_new(&rig->sim), 0);
    assert_int_equal(dmi_sim_open(rig->sim, &dispatcher->host.transport), 0);
    dispatcher->host.sim = rig->sim;
    dispatcher->host.block = simulated_host(rig->sim);
    assert_int_equal(workers_new(rig->loop, 4, &dispatcher->workers), 0);
    assert_int_equal(rules_new_builtin(geteuid(), &dispatcher->rules), 0);
    assert_int_equal(watch_new(dispatcher, &dispatcher->watch), 0);
    assert_int_equal(waits_new(dispatcher, &dispatcher->waits), 0);
    assert_int_equal(events_new(dispatcher, &dispatcher->events), 0);
}

void rig_done(struct rig *rig)
{
    struct dispatcher *dispatcher = &rig->dispatcher;

    dmi_sim_fault_clear(rig->sim);
    waits_end_all(dispatcher->waits);
    rig_until_idle(rig);
    assert_int_equal(dispatcher->pending, 0);
    assert_int_equal(dispatcher->woken, 0);
    assert_int_equal(dispatcher->order.count, 0);
    assert_null(dispatcher->order.first);
    assert_int_equal(rig->budget.used, 0);
    dispatcher->workers = workers_free(dispatcher->workers);
    dispatcher->events = events_free(dispatcher->events);
    dispatcher->waits = waits_free(dispatcher->waits);
    dispatcher->watch = watch_free(dispatcher->watch);
    dispatcher->host.transport = dmi_transport_free(dispatcher->host.transport);
    rig->sim = dmi_sim_free(rig->sim);
    dispatcher->rules = rules_unref(dispatcher->rules);
    ev_timer_stop(rig->loop, &rig->tick);
    ev_loop_destroy(rig->loop);
}

void rig_until(struct rig *rig, bool (*is_so)(void *what), void *what)
{
    double end = now() + PATIENCE;

    while (!is_so(what)) {
        if (now() > end) {
            fail_msg("what was waited for did not come");
        }
        (void)ev_run(rig->loop, EVRUN_ONCE);
    }
}

static bool is_idle(void *what)
{
    const struct rig *rig = what;
    return workers_busy(rig->dispatcher.workers) == 0 && !rig->dispatcher.turns.first;
}

void rig_until_idle(struct rig *rig)
{
    rig_until(rig, is_idle, rig);
}

void rig_turns(struct rig *rig, int count)
{
    for (int i = 0; i < count; i++) {
        (void)ev_run(rig->loop, EVRUN_ONCE);
    }
}

void rig_sleep(struct rig *rig, int ms)
{
    double end = now() + ms / 1000.;

    while (now() < end) {
        (void)ev_run(rig->loop, EVRUN_ONCE);
    }
}

/* --- devices --- */

static struct dmi dm_of(struct rig *rig)
{
    struct dmi dm;

    dmi_init(&dm, rig->dispatcher.host.transport);
    return dm;
}

static struct dmi_id by_name(const char *name)
{
    return (struct dmi_id){.kind = DMI_BY_NAME, .name = name};
}

void rig_device(struct rig *rig, const char *name, const char *uuid)
{
    const struct dmi_target target = {.length = 8, .type = "zero", .params = ""};
    const struct dmi_id id = by_name(name);
    struct dmi dm = dm_of(rig);
    struct dmi_info info;

    assert_int_equal(dmi_device_create(&dm, name, uuid, 0, 0, &info), 0);
    assert_int_equal(dmi_table_load(&dm, &id, &target, 1, 0, &info), 0);
    assert_int_equal(dmi_device_resume(&dm, &id, 0, 0, &info), 0);
}

void rig_rename(struct rig *rig, const char *name, const char *new_name)
{
    struct dmi dm = dm_of(rig);
    struct dmi_info info;

    assert_int_equal(dmi_device_rename(&dm, name, new_name, 0, &info), 0);
}

void rig_remove(struct rig *rig, const char *name)
{
    const struct dmi_id id = by_name(name);
    struct dmi dm = dm_of(rig);
    struct dmi_info info;

    assert_int_equal(dmi_device_remove(&dm, &id, 0, 0, &info), 0);
}

void rig_event(struct rig *rig, const char *name)
{
    const struct dmi_id id = by_name(name);

    assert_int_equal(dmi_sim_event(rig->sim, &id), 0);
}

bool rig_exists(struct rig *rig, const char *name)
{
    const struct dmi_id id = by_name(name);
    struct dmi dm = dm_of(rig);
    struct dmi_info info;

    return dmi_device_status(&dm, &id, 0, &info) == 0;
}

/* --- faults --- */

uint64_t rig_hold(struct rig *rig, enum dmi_ioctl nr, const char *device)
{
    struct dmi_sim_fault fault = {.nr = nr, .held = true};
    uint64_t id = 0;

    (void)strncpy(fault.device, device, sizeof(fault.device) - 1);
    assert_int_equal(dmi_sim_fault_add(rig->sim, &fault, &id), 0);
    return id;
}

void rig_release(struct rig *rig, uint64_t id)
{
    assert_int_equal(dmi_sim_fault_remove(rig->sim, id), 0);
}

struct held {
    struct rig *rig;
    uint64_t id;
    uint32_t count;
};

static bool is_held(void *what)
{
    const struct held *held = what;
    struct dmi_sim_fault_state *faults = NULL;
    size_t count = 0;
    bool found = false;

    assert_int_equal(dmi_sim_faults(held->rig->sim, &faults, &count), 0);
    for (size_t i = 0; i < count; i++) {
        found = found || (faults[i].id == held->id && faults[i].waiting == held->count);
    }
    free(faults);
    return found;
}

void rig_until_held(struct rig *rig, uint64_t id, uint32_t count)
{
    struct held held = {rig, id, count};
    rig_until(rig, is_held, &held);
}

void rig_fault(struct rig *rig, enum dmi_ioctl nr, int errnum, uint32_t calls)
{
    const struct dmi_sim_fault fault = {.nr = nr, .error = errnum, .calls = calls};
    uint64_t id;

    assert_int_equal(dmi_sim_fault_add(rig->sim, &fault, &id), 0);
}

/* --- what comes out --- */

char *rig_text(struct out *out, size_t *ret_length)
{
    size_t length = out->length;
    char *text = malloc(length + 1);
    size_t at = 0;
    int fds[2];

    assert_non_null(text);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    while (at < length) {
        assert_true(out_send(out, fds[0]) >= 0);
        ssize_t n = recv(fds[1], text + at, length - at, MSG_DONTWAIT);
        assert_true(n > 0);
        at += (size_t)n;
    }
    assert_int_equal(out->length, 0);
    (void)close(fds[0]);
    (void)close(fds[1]);
    text[length] = '\0';
    if (ret_length) {
        *ret_length = length;
    }
    return text;
}

json_t *rig_json(const char *text)
{
    json_error_t error;
    json_t *json = json_loads(text, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, &error);

    if (!json) {
        fail_msg("not JSON (%s): %s", error.text, text);
    }
    return json;
}

const json_t *rig_at(const json_t *json, const char *path)
{
    char key[64];

    while (json && *path) {
        size_t length = strcspn(path, "/");
        assert_true(length < sizeof(key));
        memcpy(key, path, length);
        key[length] = '\0';
        path += path[length] ? length + 1 : length;
        json = json_is_array(json) ? json_array_get(json, strtoul(key, NULL, 10))
                                   : json_object_get(json, key);
    }
    return json;
}

const char *rig_string(const json_t *json, const char *path)
{
    const char *string = json_string_value(rig_at(json, path));
    return string ? string : "(none)";
}

void rig_assert_json(const json_t *json, const char *expected, const char *file, int line)
{
    json_t *wanted = rig_json(expected);

    if (!json_equal(json, wanted)) {
        char *text = json ? json_dumps(json, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
        print_error("%s\nis not\n%s\n", text ? text : "(none)", expected);
        free(text);
        _fail(file, line);
    }
    json_decref(wanted);
}

void rig_assert_error(const json_t *json, int code, const char *name, const char *file, int line)
{
    const json_t *found = rig_at(json, "error/code");

    if (!json_is_integer(found) || json_integer_value(found) != code ||
        strcmp(rig_string(json, "error/data/error"), name) != 0) {
        char *text = json ? json_dumps(json, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
        print_error("%s\nis not the error %d, %s\n", text ? text : "(none)", code, name);
        free(text);
        _fail(file, line);
    }
}
