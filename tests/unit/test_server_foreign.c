/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of foreign.c: uevents are made up, lists and devices are the simulated kernel's. */
#include "server_rig.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "events.h"
#include "foreign.h"
#include "uevents.h"
#include "watch.h"

struct world {
    struct watch_user user; /* first: the callbacks cast */
    struct rig rig;
    struct foreign *foreign;
    struct sink sink;
    struct out out;
    int lists;
};

static void on_listed(struct watch_user *user, const struct watch_news *news)
{
    struct world *world = (struct world *)(void *)user;

    foreign_listed(world->foreign, news);
    world->lists++;
}

static void on_failed(struct watch_user *user, int rc, const struct dmi *dm)
{
    (void)user;
    (void)rc;
    (void)dm;
}

static void on_ready(struct sink *sink)
{
    struct world *world = (struct world *)(void *)((char *)sink - offsetof(struct world, sink));
    sink_take(sink, &world->out);
}

static bool is_listed(void *what)
{
    const struct world *world = what;
    return world->lists > 0;
}

/* All lists and looks that there is reason for are over. */
static void settle(struct world *world)
{
    for (int i = 0; i < 4; i++) {
        world->lists = 0;
        watch_look(world->rig.dispatcher.watch);
        rig_until(&world->rig, is_listed, world);
        rig_until_idle(&world->rig);
    }
}

static int setup(void **state)
{
    static const struct filter all;
    static struct world world;
    const struct dmi *dm;

    memset(&world, 0, sizeof(world));
    rig_init(&world.rig);
    rig_device(&world.rig, "x", "UX");
    rig_device(&world.rig, "y", NULL);
    sink_init(&world.sink, world.rig.dispatcher.events, on_ready);
    out_init(&world.out, SIZE_MAX, &world.rig.budget);
    assert_int_equal(foreign_new(&world.rig.dispatcher, &world.foreign), 0);
    foreign_start(world.foreign); /* opens nothing: it is no real kernel */
    world.user.listed = on_listed;
    world.user.failed = on_failed;
    watch_add(world.rig.dispatcher.watch, &world.user);
    assert_int_equal(watch_start(world.rig.dispatcher.watch, &world.user, &dm), 0);
    assert_int_equal(
        events_stream(world.rig.dispatcher.events, &world.sink, &(struct peer){0}, &all, false), 0);
    settle(&world);
    *state = &world;
    return 0;
}

static int teardown(void **state)
{
    struct world *world = *state;

    sink_done(&world->sink);
    out_done(&world->out);
    watch_stop(world->rig.dispatcher.watch, &world->user);
    rig_until_idle(&world->rig);
    foreign_stop(world->foreign);
    world->foreign = foreign_free(world->foreign);
    rig_done(&world->rig);
    return 0;
}

static struct dmi_info info_of(struct world *world, const char *name)
{
    const struct dmi_id id = {.kind = DMI_BY_NAME, .name = name};
    struct dmi_info info;
    struct dmi dm;

    dmi_init(&dm, world->rig.dispatcher.host.transport);
    assert_int_equal(dmi_device_status(&dm, &id, 0, &info), 0);
    return info;
}

/* The kernel says that the device changed. */
static void change(struct world *world, const char *name, uint32_t cookie)
{
    const struct uevent uevent = {
        .is_disk = true,
        .is_plain_change = true,
        .device = info_of(world, name).device,
        .cookie = cookie,
    };
    foreign_uevent(world->foreign, &uevent);
}

/* Kinds, in order, of what has been told by now; `!` stands behind a resume by others. */
static void expect(struct world *world, const char *kinds)
{
    char found[256] = "";

    settle(world);
    char *text = rig_text(&world->out, NULL);
    for (char *at = text; (at = strstr(at, "event: ")) != NULL; at++) {
        const char *end = strchr(at, '\n');
        const char *next = strstr(end, "event: ");
        const char *mark = strstr(end, "\"foreign\":true");
        (void)strncat(found, at + 7, (size_t)(end - at - 7));
        (void)strcat(found, mark && (!next || mark < next) ? "! " : " ");
    }
    free(text);
    assert_string_equal(found, kinds);
}

static void test_resume(void **state)
{
    struct world *world = *state;
    const struct uevent other = {.is_disk = true, .device = info_of(world, "x").device};

    foreign_uevent(world->foreign, &other); /* no plain change */
    expect(world, "");
    change(world, "x", 0);
    expect(world, "resumed! ");
    change(world, "y", DMI_UDEV_PRIMARY_SOURCE);
    change(world, "y", 0); /* close together */
    change(world, "x", 0);
    expect(world, "resumed! resumed! ");
    expect(world, "");
}

static void test_rename(void **state)
{
    struct world *world = *state;

    change(world, "x", 0);
    rig_rename(&world->rig, "x", "z");
    expect(world, "renamed ");
    rig_rename(&world->rig, "z", "x"); /* the list may come before the uevent is read */
    change(world, "x", 0);
    change(world, "x", 0);
    expect(world, "renamed resumed! ");
    change(world, "y", 0);
    rig_rename(&world->rig, "x", "z");
    change(world, "z", 0);
    expect(world, "renamed resumed! ");
}

static void test_uuid(void **state)
{
    struct world *world = *state;
    struct dmi_info info;
    struct dmi dm;

    dmi_init(&dm, world->rig.dispatcher.host.transport);
    assert_int_equal(dmi_device_set_uuid(&dm, "y", "UY", 0, &info), 0);
    rig_rename(&world->rig, "y", "z");
    change(world, "z", 0);
    change(world, "z", 0);
    expect(world, "renamed ");
}

static void on_refresh(struct order_entry *entry)
{
    (void)entry;
}

/* While a call changes it, unless udev is used in another way than we do. */
static void test_ours(void **state)
{
    struct world *world = *state;
    struct order *order = &world->rig.dispatcher.order;
    struct order_entry entry = {.refresh = on_refresh};
    struct order_entry waits = {.refresh = on_refresh};

    order_add_device(&entry, info_of(world, "x").device);
    order_add_device(&waits, info_of(world, "x").device);
    order_add_device(&waits, info_of(world, "y").device);
    assert_true(order_enter(order, &entry));
    assert_false(order_enter(order, &waits));
    change(world, "x", DMI_UDEV_PRIMARY_SOURCE);
    expect(world, "");
    change(world, "x", DMI_UDEV_PRIMARY_SOURCE | 1);
    change(world, "y", DMI_UDEV_PRIMARY_SOURCE); /* that call has not begun */
    expect(world, "resumed! resumed! ");
    order_leave(order, &waits);
    order_leave(order, &entry);
    change(world, "x", DMI_UDEV_PRIMARY_SOURCE);
    expect(world, "resumed! ");
}

static void suspend(struct world *world, const char *name)
{
    const struct dmi_id id = {.kind = DMI_BY_NAME, .name = name};
    struct dmi_info info;
    struct dmi dm;

    dmi_init(&dm, world->rig.dispatcher.host.transport);
    assert_int_equal(dmi_device_suspend(&dm, &id, 0, &info), 0);
}

static void test_not_running(void **state)
{
    struct world *world = *state;

    suspend(world, "x");
    change(world, "x", 0);
    change(world, "y", 0);
    rig_remove(&world->rig, "y");
    expect(world, "removed ");
}

/* A call of ours suspends the device while it is looked at: what it told stays the last word. */
static void test_suspended_by_us(void **state)
{
    struct world *world = *state;
    const struct uevent uevent = {
        .is_disk = true, .is_plain_change = true, .device = info_of(world, "x").device};
    uint64_t hold = rig_hold(&world->rig, DMI_DEV_STATUS, "x");

    foreign_suspended(world->foreign, uevent.device); /* nothing is looked at */
    foreign_uevent(world->foreign, &uevent);
    rig_until_held(&world->rig, hold, 1);
    foreign_suspended(world->foreign, uevent.device);
    rig_release(&world->rig, hold);
    expect(world, "");
    change(world, "x", 0);
    expect(world, "resumed! ");
}

static void test_remade(void **state)
{
    struct world *world = *state;
    struct uevent uevent = {.is_disk = true, .is_plain_change = true};
    struct dmi dm;

    dmi_init(&dm, world->rig.dispatcher.host.transport);
    uevent.device = info_of(world, "x").device;
    assert_int_equal(dmi_device_diskseq(&dm, uevent.device, &uevent.diskseq), 0);
    foreign_uevent(world->foreign, &uevent);
    expect(world, "resumed! ");
    uevent.diskseq++;
    foreign_uevent(world->foreign, &uevent);
    expect(world, "");
}

/* Nobody wants to hear of it while it is looked at; the next who does hears what comes then. */
static void test_stopped(void **state)
{
    struct world *world = *state;
    const struct uevent uevent = {
        .is_disk = true, .is_plain_change = true, .device = info_of(world, "x").device};
    uint64_t hold = rig_hold(&world->rig, DMI_DEV_STATUS, "x");

    foreign_uevent(world->foreign, &uevent);
    rig_until_held(&world->rig, hold, 1);
    foreign_uevent(world->foreign, &uevent);
    foreign_stop(world->foreign);
    foreign_start(world->foreign);
    foreign_uevent(world->foreign, &uevent); /* before the first list */
    rig_release(&world->rig, hold);
    expect(world, "");
    foreign_uevent(world->foreign, &uevent);
    expect(world, "resumed! ");
}

static void test_many(void **state)
{
    struct world *world = *state;
    char name[16];

    for (int i = 0; i < 40; i++) {
        (void)snprintf(name, sizeof(name), "d%d", i);
        rig_device(&world->rig, name, NULL);
    }
    settle(world);
    free(rig_text(&world->out, NULL));
    for (int i = 0; i < 40; i++) {
        (void)snprintf(name, sizeof(name), "d%d", i);
        change(world, name, 0);
    }
    settle(world);
    char *text = rig_text(&world->out, NULL);
    for (int i = 0; i < 40; i++) {
        (void)snprintf(name, sizeof(name), "\"d%d\"", i);
        assert_non_null(strstr(text, name));
    }
    free(text);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_resume),  TEST(test_rename),      TEST(test_uuid),
        TEST(test_ours),    TEST(test_not_running), TEST(test_remade),
        TEST(test_stopped), TEST(test_many),        TEST(test_suspended_by_us),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
