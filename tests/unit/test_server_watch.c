/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of watch.c: what changed from one list of devices to the next, and when there is a list. */
#include "server_rig.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "watch.h"

enum { MOST = 4 };

/* A device of a list; minor 0 ends it. */
struct row {
    uint32_t minor;
    const char *name, *uuid;
    uint32_t event_nr;
    uint64_t diskseq;
};

struct listed {
    struct watch_list list;
    struct dmi_device_entry entries[MOST];
    uint64_t diskseqs[MOST];
};

static const struct watch_list *fill(struct listed *listed, const struct row *rows)
{
    *listed = (struct listed){0};
    listed->list.devices.entries = listed->entries;
    listed->list.diskseqs = listed->diskseqs;
    for (size_t i = 0; i < MOST && rows[i].minor; i++) {
        listed->entries[i] = (struct dmi_device_entry){
            .device = {254, rows[i].minor},
            .name = rows[i].name,
            .uuid = rows[i].uuid,
            .event_nr = rows[i].event_nr,
        };
        listed->diskseqs[i] = rows[i].diskseq;
        listed->list.devices.count++;
    }
    return &listed->list;
}

static const char *word(enum watch_kind kind)
{
    static const char *const words[] = {"removed", "renamed", "added", "changed"};
    return words[kind];
}

/* "removed a, added b" */
static void assert_changes(const struct row *before, const struct row *after, const char *expected)
{
    struct listed old, new;
    struct watch_change *changes = NULL;
    size_t count = 0;
    char text[256] = "";

    const struct watch_list *first = before ? fill(&old, before) : NULL;
    assert_int_equal(watch_compare(first, fill(&new, after), &changes, &count), 0);
    for (size_t i = 0; i < count; i++) {
        const struct dmi_device_entry *about =
            changes[i].after ? changes[i].after : changes[i].before;
        (void)strcat(text, i ? ", " : "");
        (void)strcat(strcat(strcat(text, word(changes[i].kind)), " "), about->name);
    }
    assert_string_equal(text, expected);
    free(changes);
}

#define ROWS(...) ((const struct row[MOST]){__VA_ARGS__})

static void test_compare(void **state)
{
    const struct row *none = ROWS({0});
    const struct row *a = ROWS({1, "a", "", 0, 5});

    (void)state;
    assert_changes(NULL, a, "");
    assert_changes(none, none, "");
    assert_changes(a, a, "");
    assert_changes(none, a, "added a");
    assert_changes(a, none, "removed a");
    assert_changes(a, ROWS({1, "a", "", 1, 5}), "changed a");
    assert_changes(a, ROWS({1, "a", "U", 0, 5}), "changed a");
    assert_changes(a, ROWS({1, "b", "", 1, 5}), "renamed b");
    assert_changes(a, ROWS({1, "b", "", 0, 5}), "renamed b");
    /* Made anew: another disk, or none any more. */
    assert_changes(a, ROWS({1, "a", "", 0, 6}), "removed a, added a");
    assert_changes(a, ROWS({1, "b", "", 9, 6}), "removed a, added b");
    assert_changes(a, ROWS({1, "a", "", 0, 0}), "removed a, added a");
    assert_changes(ROWS({1, "a", "", UINT32_MAX, 5}), ROWS({1, "a", "", 0, 5}), "changed a");
}

/* What no disk tells. */
static void test_compare_without_disks(void **state)
{
    const struct row *a = ROWS({1, "a", "U", 7, 0});

    (void)state;
    assert_changes(a, ROWS({1, "a", "U", 7, 3}), ""); /* its first table */
    assert_changes(a, ROWS({1, "a", "U", 6, 0}), "removed a, added a");
    assert_changes(a, ROWS({1, "a", "V", 7, 0}), "removed a, added a");
    assert_changes(a, ROWS({1, "a", NULL, 7, 0}), "changed a");
    assert_changes(a, ROWS({1, "b", "U", 8, 0}), "renamed b");
    assert_changes(a, ROWS({1, "b", "U", 7, 0}), "removed a, added b");
    assert_changes(ROWS({1, "a", "", UINT32_MAX, 0}), ROWS({1, "a", "", 0, 0}), "changed a");
}

/* Removed ones first, then renamed ones: no name is taken twice on the way. */
static void test_compare_many(void **state)
{
    (void)state;
    assert_changes(ROWS({1, "a", "", 0, 1}, {2, "b", "", 0, 2}, {3, "c", "", 0, 3}),
                   ROWS({2, "c", "", 1, 2}, {4, "b", "", 0, 4}),
                   "removed a, removed c, renamed c, added b");
    assert_changes(ROWS({1, "a", "", 0, 1}, {3, "c", "", 0, 3}),
                   ROWS({1, "a", "", 1, 1}, {2, "b", "", 0, 2}, {3, "c", "", 2, 3}),
                   "added b, changed a, changed c");
}

/* --- when there is a list --- */

struct seen {
    struct watch_user user;
    struct rig *rig;
    int lists, failures, rc;
    size_t changes;
    uint64_t round;
    bool stop; /* in there */
};

static void on_listed(struct watch_user *user, const struct watch_news *news)
{
    struct seen *seen = (struct seen *)(void *)user;

    seen->lists++;
    seen->changes += news->count;
    seen->round = news->round;
    if (seen->stop) {
        watch_stop(seen->rig->dispatcher.watch, user);
    }
}

static void on_failed(struct watch_user *user, int rc, const struct dmi *dm)
{
    struct seen *seen = (struct seen *)(void *)user;

    (void)dm;
    seen->failures++;
    seen->rc = rc;
}

struct world {
    struct rig rig;
    struct seen a, b;
};

static void start(struct world *world, struct seen *seen)
{
    const struct dmi *dm;

    assert_int_equal(watch_start(world->rig.dispatcher.watch, &seen->user, &dm), 0);
    assert_true(seen->user.on);
}

static void stop(struct world *world, struct seen *seen)
{
    watch_stop(world->rig.dispatcher.watch, &seen->user);
}

static int setup(void **state)
{
    static struct world world;

    memset(&world, 0, sizeof(world));
    rig_init(&world.rig);
    rig_device(&world.rig, "x", NULL);
    struct seen *both[] = {&world.a, &world.b};
    for (size_t i = 0; i < 2; i++) {
        both[i]->user.listed = on_listed;
        both[i]->user.failed = on_failed;
        both[i]->rig = &world.rig;
        watch_add(world.rig.dispatcher.watch, &both[i]->user);
    }
    *state = &world;
    return 0;
}

static int teardown(void **state)
{
    struct world *world = *state;

    stop(world, &world->a);
    stop(world, &world->b);
    rig_done(&world->rig);
    return 0;
}

static bool has_list(void *what)
{
    const struct seen *seen = what;
    return seen->lists > 0;
}

static void await(struct world *world, struct seen *seen)
{
    seen->lists = 0;
    rig_until(&world->rig, has_list, seen);
}

static void test_lists(void **state)
{
    struct world *world = *state;

    start(world, &world->a);
    rig_sleep(&world->rig, 15);
    assert_int_equal(world->a.lists, 0); /* nothing happened */
    rig_event(&world->rig, "x");
    await(world, &world->a);
    assert_int_equal(world->a.changes, 0); /* there was none to compare with */
    start(world, &world->b);
    rig_event(&world->rig, "x");
    await(world, &world->b);
    assert_int_equal(world->b.changes, 1);
    assert_int_equal(world->a.changes, 1);
    stop(world, &world->a);
    rig_event(&world->rig, "x");
    world->a.lists = 0;
    await(world, &world->b);
    assert_int_equal(world->a.lists, 0);
}

static void test_look(void **state)
{
    struct world *world = *state;
    struct watch *watch = world->rig.dispatcher.watch;

    start(world, &world->a);
    uint64_t round = watch_round(watch);
    watch_look(watch);
    watch_look(watch);
    await(world, &world->a);
    assert_int_equal(world->a.round, round + 1);
    rig_sleep(&world->rig, 30);
    assert_int_equal(world->a.lists, 1);
}

/* A list that was begun for others who have gone is no list for those who come then. */
static void test_stale(void **state)
{
    struct world *world = *state;

    start(world, &world->a);
    uint64_t held = rig_hold(&world->rig, DMI_LIST_DEVICES, "");
    rig_event(&world->rig, "x");
    rig_until_held(&world->rig, held, 1);
    stop(world, &world->a);
    start(world, &world->b);
    uint64_t round = watch_round(world->rig.dispatcher.watch);
    rig_release(&world->rig, held);
    await(world, &world->b);
    assert_int_equal(world->b.round, round + 1);
    assert_int_equal(world->b.changes, 0);
}

static void test_stop_inside(void **state)
{
    struct world *world = *state;

    world->a.stop = true;
    start(world, &world->a);
    start(world, &world->b);
    rig_event(&world->rig, "x");
    await(world, &world->b);
    assert_false(world->a.user.on);
    world->b.stop = true;
    rig_event(&world->rig, "x");
    await(world, &world->b);
    rig_until_idle(&world->rig);
    rig_sleep(&world->rig, 15);
}

static bool has_failed(void *what)
{
    const struct seen *seen = what;
    return seen->failures > 0;
}

/* It is tried again by itself. */
static void test_failure(void **state)
{
    struct world *world = *state;

    start(world, &world->a);
    rig_fault(&world->rig, DMI_LIST_DEVICES, EIO, 1);
    rig_event(&world->rig, "x");
    rig_until(&world->rig, has_failed, &world->a);
    assert_int_equal(world->a.rc, -EIO);
    await(world, &world->a);
    assert_int_equal(world->a.failures, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_compare),
        cmocka_unit_test(test_compare_without_disks),
        cmocka_unit_test(test_compare_many),
        TEST(test_lists),
        TEST(test_look),
        TEST(test_stale),
        TEST(test_stop_inside),
        TEST(test_failure),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
