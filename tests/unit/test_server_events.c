/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of events.c, subscriber.c and filter.c, over streams whose client is the test. */
#include "server_rig.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "events.h"
#include "subscriber.h"

struct world {
    struct rig rig;
    struct sink sink;
    int ready;
    struct out out;
};

static void on_ready(struct sink *sink)
{
    struct world *world = (struct world *)(void *)((char *)sink - offsetof(struct world, sink));
    world->ready++;
}

static int setup(void **state)
{
    static struct world world;

    memset(&world, 0, sizeof(world));
    rig_init(&world.rig);
    rig_device(&world.rig, "x", "UX");
    sink_init(&world.sink, world.rig.dispatcher.events, on_ready);
    out_init(&world.out, SIZE_MAX, &world.rig.budget);
    *state = &world;
    return 0;
}

static int teardown(void **state)
{
    struct world *world = *state;

    sink_done(&world->sink);
    out_done(&world->out);
    assert_int_equal(events_count(world->rig.dispatcher.events), 0);
    rig_done(&world->rig);
    return 0;
}

static bool is_ready(void *what)
{
    const struct world *world = what;
    return world->ready > 0;
}

/* What the client would read now, as one string. */
static char *take(struct world *world)
{
    sink_take(&world->sink, &world->out);
    return rig_text(&world->out, NULL);
}

/* The next that comes; to be freed. */
static char *await(struct world *world)
{
    for (;;) {
        char *text = take(world);
        if (*text) {
            return text;
        }
        free(text);
        world->ready = 0;
        rig_until(&world->rig, is_ready, world);
    }
}

static void expect(struct world *world, const char *part)
{
    char *text = await(world);

    if (!strstr(text, part)) {
        fail_msg("'%s' is not in %s", part, text);
    }
    free(text);
}

static void subscribe(struct world *world, const struct filter *filter)
{
    assert_int_equal(
        events_stream(world->rig.dispatcher.events, &world->sink, &(struct peer){0}, filter, true),
        0);
    expect(world, "event: snapshot\n");
}

static const struct filter all;

/* It has its first list. */
static bool is_open(void *what)
{
    const struct world *world = what;
    return world->sink.first->state != SUBSCRIBER_WAITS;
}

struct greedy {
    struct sink sink;
    int left;
};

static void on_greedy(struct sink *sink)
{
    struct greedy *greedy = (struct greedy *)(void *)sink;

    if (greedy->left-- > 0) {
        events_ready(sink);
    }
}

static void test_told(void **state)
{
    struct world *world = *state;
    struct events *events = world->rig.dispatcher.events;
    struct dmi_info info = {.name = "n", .uuid = "U", .device = {254, 7}, .event_nr = 3};

    subscribe(world, &all);
    events_suspended(events, &info);
    expect(world, "\"kind\":\"suspended\",\"name\":\"n\",\"uuid\":\"U\","
                  "\"device\":{\"major\":254,\"minor\":7},\"event_nr\":3}\n\n");
    events_resumed(events, &info);
    expect(world, "event: resumed\n");
    events_lease_ended(
        events,
        &(struct event_lease){
            .device = {254, 7}, .name = "n", .uuid = "", .reason = "timeout", .state = "running"});
    expect(world, "\"kind\":\"lease_ended\",\"name\":\"n\",\"device\":{\"major\":254,\"minor\":7},"
                  "\"reason\":\"timeout\",\"state\":\"running\"}");
    events_call_ended(events, &(struct event_call){.call = 12, .method = "device_suspend"});
    expect(world, "\"kind\":\"call_ended\",\"call\":12,\"method\":\"device_suspend\"}");
    events_call_ended(events, &(struct event_call){.call = 13,
                                                   .method = "table_load",
                                                   .error = "kernel_error",
                                                   .has_device = true,
                                                   .name = "b\xff"});
    expect(world, "\"name\":\"b\\\\xff\",\"name_exact\":false,");
    events_suspended(NULL, &info);
    events_call_ended(NULL, &(struct event_call){0});
}

/* Each one has the next number, also while nobody listens. */
static void test_numbers(void **state)
{
    struct world *world = *state;
    struct events *events = world->rig.dispatcher.events;
    const struct dmi_info info = {.name = "n"};

    events_suspended(events, &info);
    subscribe(world, &all);
    events_suspended(events, &info);
    expect(world, "/2\nevent: suspended");
}

static void test_filter(void **state)
{
    struct filter filter = {0};

    (void)state;
    assert_true(filter_takes_kind(&filter, EVENT_ADDED));
    assert_true(filter_takes_device(&filter, NULL, NULL));
    assert_true(filter_add_kind(&filter, "added,removed", 5));
    assert_false(filter_add_kind(&filter, "add", 3));
    assert_false(filter_add_kind(&filter, "", 0));
    assert_false(filter_add_kind(&filter, "lost", 4));
    assert_false(filter_add_kind(&filter, "uevents_lost", 12));
    assert_false(filter_takes_kind(&filter, EVENT_UEVENTS_LOST)); /* only with resumes */
    assert_true(filter_add_kind(&filter, "resumed", 7));
    assert_true(filter_takes_kind(&filter, EVENT_UEVENTS_LOST));
    assert_true(filter_takes_kind(&filter, EVENT_ADDED));
    assert_false(filter_takes_kind(&filter, EVENT_REMOVED));
    assert_true(filter_takes_kind(&filter, EVENT_LOST));
    assert_true(filter_takes_kind(&filter, EVENT_SNAPSHOT));
    assert_true(filter_set_glob(filter.name, "a*\\*"));
    assert_true(filter_takes_device(&filter, "a/b*", NULL));
    assert_false(filter_takes_device(&filter, "ab", NULL));
    assert_false(filter_takes_device(&filter, NULL, NULL));
    assert_true(filter_set_glob(filter.uuid, "?*"));
    assert_false(filter_takes_device(&filter, "a*", NULL));
    assert_true(filter_takes_device(&filter, "a*", "."));
    assert_false(filter_set_glob(filter.uuid, ""));
    assert_true(filter_set_glob(filter.uuid, NULL));
    assert_true(filter_takes_device(&filter, "a*", NULL));
}

/* A resume by others has its mark; that uevents were dropped is told whatever the names are. */
static void test_foreign(void **state)
{
    struct world *world = *state;
    struct events *events = world->rig.dispatcher.events;
    const struct dmi_info info = {.name = "n", .device = {254, 7}, .event_nr = 3};
    struct filter filter = {0};

    assert_true(filter_set_glob(filter.name, "n"));
    subscribe(world, &filter);
    events_resumed_by_others(events, &info, 5);
    expect(world, "\"event_nr\":3,\"diskseq\":5,\"foreign\":true}");
    events_resumed_by_others(events, &info, 0);
    expect(world, "\"event_nr\":3,\"foreign\":true}");
    events_uevents_lost(events, 12);
    expect(world, "\"kind\":\"uevents_lost\",\"count\":12}");
    assert_int_equal(world->rig.dispatcher.counters.stats.uevents_lost, 12);
    events_drain(events);
    events_drain(NULL);
}

static void flood(struct world *world, int count)
{
    const struct dmi_info info = {.name = "n", .device = {254, 7}};

    for (int i = 0; i < count; i++) {
        events_suspended(world->rig.dispatcher.events, &info);
    }
}

/* What waits is bounded; then the count, then a snapshot, then what came while it was printed. */
static void test_overflow(void **state)
{
    struct world *world = *state;
    const struct stats *stats = &world->rig.dispatcher.counters.stats;

    world->rig.dispatcher.host.limits.event_bytes = 4096;
    subscribe(world, &all);
    flood(world, 100);
    assert_true(world->rig.budget.used < 16384);
    assert_int_equal(stats->events_lost, 100);
    char *text = take(world);
    assert_string_equal(text, "");
    free(text);
    flood(world, 2);
    text = await(world);
    const char *lost = strstr(text, "event: lost\n");
    const char *snapshot = strstr(text, "event: snapshot\n");
    const char *after = strstr(text, "event: suspended\n");
    assert_true(lost && snapshot && after && lost < snapshot && snapshot < after);
    assert_non_null(strstr(lost, "\"count\":100"));
    assert_non_null(strstr(snapshot, "\"devices\":[{\"name\":\"x\","));
    free(text);
    assert_int_equal(stats->events_lost, 100);
}

/* Overflows again while the snapshot is printed, or before it is read: nothing is forgotten. */
static void test_overflow_twice(void **state)
{
    struct world *world = *state;

    world->rig.dispatcher.host.limits.event_bytes = 4096;
    subscribe(world, &all);
    flood(world, 100);
    free(take(world));
    flood(world, 50); /* behind a snapshot that is being printed */
    expect(world, "\"count\":100");
    free(take(world));
    rig_until_idle(&world->rig);
    flood(world, 60); /* on top of the next one, which nobody has read */
    free(take(world));
    expect(world, "\"count\":110");
}

/* There is no memory for an event, nor for the snapshot: it is tried again. */
static void test_no_memory(void **state)
{
    struct world *world = *state;

    subscribe(world, &all);
    world->rig.budget.limit = world->rig.budget.used;
    flood(world, 3);
    free(take(world));
    rig_until_idle(&world->rig);
    free(take(world));
    rig_until_idle(&world->rig); /* that was another try */
    world->rig.budget.limit = SIZE_MAX;
    expect(world, "\"count\":3");
}

/* What comes while the first snapshot is printed, or before, is told after it. */
static void test_snapshot_comes_first(void **state)
{
    struct world *world = *state;
    struct events *events = world->rig.dispatcher.events;
    const struct dmi_info info = {.name = "n"};

    assert_int_equal(events_stream(events, &world->sink, &(struct peer){0}, &all, true), 0);
    rig_until(&world->rig, is_open, world);
    events_suspended(events, &info);
    char *text = await(world);
    char *snapshot = strstr(text, "event: snapshot\n");
    assert_ptr_equal(strstr(text, "event: "), snapshot);
    if (!strstr(text, "event: suspended\n")) {
        expect(world, "event: suspended\n");
    }
    assert_null(strstr(text, "event: lost\n"));
    free(text);
}

/* One that has more each time lets the others have theirs. */
static void test_turns(void **state)
{
    struct world *world = *state;
    struct greedy greedy = {.left = 1000000};

    sink_init(&greedy.sink, world->rig.dispatcher.events, on_greedy);
    events_ready(&world->sink);
    events_ready(&greedy.sink);
    rig_until(&world->rig, is_ready, world);
    assert_true(greedy.left > 0);
    sink_done(&greedy.sink);
}

static void test_gone_while_printing(void **state)
{
    struct world *world = *state;

    world->rig.dispatcher.host.limits.event_bytes = 4096;
    subscribe(world, &all);
    flood(world, 100);
    free(take(world));
    sink_done(&world->sink);
    rig_until_idle(&world->rig);
}

static void test_too_many(void **state)
{
    struct world *world = *state;

    world->rig.dispatcher.host.limits.subscriptions = 1;
    subscribe(world, &all);
    assert_int_equal(
        events_stream(world->rig.dispatcher.events, &world->sink, &(struct peer){0}, &all, true),
        -EAGAIN);
}

static void test_arm_fails(void **state)
{
    struct world *world = *state;

    rig_fault(&world->rig, DMI_DEV_ARM_POLL, EIO, 1);
    assert_int_equal(
        events_stream(world->rig.dispatcher.events, &world->sink, &(struct peer){0}, &all, true),
        -EIO);
    assert_false(sink_is_used(&world->sink));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_filter),
        TEST(test_told),
        TEST(test_numbers),
        TEST(test_foreign),
        TEST(test_overflow),
        TEST(test_overflow_twice),
        TEST(test_no_memory),
        TEST(test_snapshot_comes_first),
        TEST(test_turns),
        TEST(test_gone_while_printing),
        TEST(test_too_many),
        TEST(test_arm_fails),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
