/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of explain.c: hints are made of facts, and what is told goes with its call. */
#include "server_rig.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "call.h"
#include "explain.h"
#include "holders.h"
#include "server_host.h"

/* --- what this process may --- */

#define INITIAL   "         0          0 4294967295\n"
#define ALL_CAPS  "Name:\tdmrpcd\nCapPrm:\t0000000000000000\nCapEff:\t000001ffffffffff\n"
#define SOME_CAPS "Name:\tdmrpcd\nCapPrm:\t000001ffffffffff\nCapEff:\t000001ffffdfffff\n"

static void test_permission(void **state)
{
    static const struct {
        const char *uid_map, *status, *words;
    } rows[] = {
        {INITIAL, SOME_CAPS, "lacks CAP_SYS_ADMIN"},
        {INITIAL, ALL_CAPS, "security module"},
        {"0 1000 1\n", ALL_CAPS, "user namespace"},
        {"0 100000 65536\n", SOME_CAPS, "user namespace"},
        {"", "", "security module"}, /* nothing is known */
    };
    const struct block_host host = {.root = host_root};

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        host_put("/proc/self/uid_map", rows[i].uid_map);
        host_put("/proc/self/status", rows[i].status);
        assert_non_null(strstr(explain_permission(&host), rows[i].words));
    }
}

/* --- calls --- */

/* A failed call of `method`, with its params. */
static void fail_call(struct rig *rig, struct call *call, const char *method, const char *params,
                      enum dmi_ioctl ioctl, int errnum)
{
    *call = (struct call){.host = &rig->dispatcher.host, .method = method_find(method)};
    dmi_init(&call->dm, rig->dispatcher.host.transport);
    call->params_json = rig_json(params);
    call->dm.last = ioctl;
    call->exists = true;
    explain_begin(call);
    (void)call_fail_kernel(call, -errnum);
}

static void end_call(struct call *call)
{
    json_decref(call->params_json);
    call_done(call);
    assert_int_equal(call->failure.data.kernel_log_count, 0);
    assert_int_equal(call->failure.data.holders_count, 0);
}

#define LINE(type, params)                                                                         \
    "{\"start\":0,\"length\":8,\"type\":\"" type "\",\"params\":\"" params "\"}"

/* Without the log the params show a gap; a reason further up is not known then. */
static void test_tables_without_a_log(void **state)
{
    static const struct {
        const char *targets;
        int errnum;
        const char *hint; /* how it begins; NULL: as failure.c has it */
    } rows[] = {
        {"{\"start\":0,\"length\":8},{\"start\":9,\"length\":8}", EINVAL,
         "line 2 must start at sector 8"},
        {"{\"start\":1,\"length\":8}", EINVAL, "line 1 must start at sector 0"},
        {"{\"start\":0,\"length\":8},{\"start\":8,\"length\":8}", EINVAL, NULL},
        {"{\"start\":1,\"length\":8}", EIO, NULL},
        {"", EINVAL, NULL},
        /* words that are devices, and no others */
        {LINE("linear", "/dev/nosuch 0"), ENODEV, "line 1: there is no block device /dev/nosuch"},
        {LINE("zero", "") "," LINE("linear", "9:9 0"), ENXIO,
         "line 2: there is no block device 9:9"},
        {LINE("linear", "/elsewhere/nosuch 0"), ENODEV, NULL},
        {LINE("crypt", "aes /dev/key 0 /dev/disk 0"), ENODEV, NULL},
        {LINE("nosuch", "/dev/nosuch"), ENODEV, NULL},
        {LINE("linear", "/dev/disk 0"), EBUSY, NULL},
    };
    struct dmi_sim_disk disk = {.path = "/dev/disk", .device = {8, 0}, .sectors = 8};
    struct rig rig;

    (void)state;
    rig_init(&rig);
    assert_int_equal(dmi_sim_disk_add(rig.sim, &disk, NULL), 0);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char params[256];
        struct call call;
        (void)snprintf(params, sizeof(params), "{\"name\":\"x\",\"targets\":[%s]}",
                       rows[i].targets);
        fail_call(&rig, &call, "table_load", params, DMI_TABLE_LOAD, rows[i].errnum);
        const char *before = call.failure.data.hint;
        explain_end(&call);
        if (rows[i].hint) {
            assert_memory_equal(call.failure.data.hint, rows[i].hint, strlen(rows[i].hint));
        } else {
            assert_ptr_equal(call.failure.data.hint, before);
        }
        end_call(&call);
    }
    rig_done(&rig);
}

/* --- tables of very many lines --- */

static size_t looks;

static void look_paths(const struct block_host *host, struct dmi_device device,
                       struct block_paths *ret_paths)
{
    (void)host;
    *ret_paths = (struct block_paths){0};
    (void)snprintf(ret_paths->node, sizeof(ret_paths->node), "/dev/x%u", device.minor);
}

/* Of the devices only 8:29 has a holder. */
static int look_for_holders(const struct block_host *host, struct dmi_device device,
                            struct arena *arena, struct holders *holders)
{
    const struct holder holder = {.kind = "mount", .path = "/mnt/29"};

    (void)host;
    looks++;
    return device.minor == 29 ? holders_put(holders, arena, &holder) : 0;
}

/* As many lines as a request has room for: the device they are for waits for its explanation. */
static void test_a_table_of_very_many_lines(void **state)
{
    enum { LINES = 50000 };
    static const struct {
        unsigned int first, devices; /* of the lines, over and over */
        size_t looks;
        bool found;
    } rows[] = {
        {1, 1, 1, false},
        {1, 2, 2, false},
        {1, 29, 29, true},
        {30, LINES, 32, false},
    };
    const size_t size = (size_t)LINES * 80;
    char *params = malloc(size);
    struct rig rig;

    (void)state;
    assert_non_null(params);
    rig_init(&rig);
    rig.dispatcher.host.block =
        (struct block_host){.paths = look_paths, .add_holders = look_for_holders};
    for (size_t row = 0; row < sizeof(rows) / sizeof(rows[0]); row++) {
        struct call call;
        size_t length = (size_t)snprintf(params, size, "{\"targets\":[");
        for (unsigned int i = 0; i < LINES; i++) {
            length += (size_t)snprintf(
                params + length, size - length,
                "%s{\"start\":%u,\"length\":8,\"type\":\"linear\",\"params\":\"8:%u 0\"}",
                i > 0 ? "," : "", 8 * i, rows[row].first + i % rows[row].devices);
        }
        (void)snprintf(params + length, size - length, "]}");
        fail_call(&rig, &call, "table_load", params, DMI_TABLE_LOAD, EBUSY);
        const char *before = call.failure.data.hint;
        looks = 0;
        explain_end(&call);
        assert_int_equal(looks, rows[row].looks);
        assert_int_equal(call.failure.data.holders_count, rows[row].found);
        assert_true((call.failure.data.hint != before) == rows[row].found);
        call.failure.data.holders_count = 0;
        end_call(&call);
    }
    free(params);
    rig_done(&rig);
}

/* One that is tried again is not looked into: its turn to be explained comes with the last try. */
static void test_tries(void **state)
{
    struct rig rig;
    struct call call;

    (void)state;
    rig_init(&rig);
    rig_device(&rig, "a", NULL);
    fail_call(&rig, &call, "device_remove", "{\"name\":\"a\"}", DMI_DEV_REMOVE, EBUSY);
    call.has_device = true;
    call.device = (struct dmi_device){254, 0};
    const char *before = call.failure.data.hint;
    call.again_ms = 50;
    explain_end(&call);
    assert_ptr_equal(call.failure.data.hint, before);
    call.again_ms = 0;
    explain_end(&call);
    assert_non_null(strstr(call.failure.data.hint, "closed meanwhile"));
    end_call(&call);
    rig_remove(&rig, "a");
    rig_done(&rig);
}

/* Nothing is known of who failed for reasons of the server's own. */
static void test_no_errno(void **state)
{
    struct rig rig;
    struct call call;

    (void)state;
    rig_init(&rig);
    fail_call(&rig, &call, "device_create", "{\"name\":\"a\"}", DMI_DEV_CREATE, EBUSY);
    (void)call_fail(&call, ERROR_OVERLOADED, "no");
    explain_end(&call);
    assert_null(call.failure.data.hint);
    end_call(&call);
    rig_done(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_permission, host_setup, host_teardown),
        cmocka_unit_test(test_tables_without_a_log),
        cmocka_unit_test(test_a_table_of_very_many_lines),
        cmocka_unit_test(test_tries),
        cmocka_unit_test(test_no_errno),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
