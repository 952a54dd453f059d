/* SPDX-License-Identifier: Apache-2.0 */
/* Messages to the core and to targets, and the statistics that some of them are about. */
#include "test_sim_rig.h"

#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static int ask(struct rig *rig, const char *message, const char *expected)
{
    const struct dmi_id id = by_name("a");
    struct dmi_message answer;

    int rc = dmi_target_msg(&rig->dm, &id, 0, message, 0, 0, &answer);
    if (rc == 0) {
        if (expected)
            assert_string_equal(answer.output, expected);
        else
            assert_null(answer.output);
        dmi_message_done(&answer);
    }
    return rc;
}

static void messages_need_a_target_that_takes_them(void **state)
{
    struct rig *rig = *state;
    const struct dmi_id id = by_name("a");
    struct dmi_message answer;

    assert_int_equal(rig_message(rig, "a", "hello"), -ENXIO);
    rig_create(rig, "a");
    assert_int_equal(rig_message(rig, "a", "hello"), -EINVAL);
    assert_logged(rig, "The device has no table.");
    assert_int_equal(rig_load(rig, "a", "zero", 8, ""), 0);
    assert_int_equal(rig_resume(rig, "a"), 0);
    assert_int_equal(rig_message(rig, "a", "hello"), -EINVAL);
    assert_logged(rig, "Target type does not support messages");
    assert_int_equal(dmi_target_msg(&rig->dm, &id, 8, "hello", 0, 0, &answer), -EINVAL);
    assert_logged(rig, "Target message sector outside device.");
    assert_int_equal(rig_message(rig, "a", "   "), -EINVAL);
    assert_logged(rig, "Empty message received.");
    assert_int_equal(rig_message(rig, "a", "@hello"), -EINVAL);
    assert_logged(rig, "Unsupported message sent to DM core: @hello");
}

static void messages_must_end_inside_the_request(void **state)
{
    struct raw raw = raw_new(340);

    rig_create(*state, "a");
    raw_name(&raw, "a");
    memset((char *)raw.head + 312, 'x', 28);
    assert_int_equal(raw_call(*state, DMI_TARGET_MSG, &raw), -EINVAL);
    raw.head->data_start = 304;
    assert_int_equal(raw_call(*state, DMI_TARGET_MSG, &raw), -EINVAL);
    raw.head->data_start = 333;
    assert_int_equal(raw_call(*state, DMI_TARGET_MSG, &raw), -EINVAL);
    raw_done(&raw);
}

static void statistics_work_without_a_table(void **state)
{
    struct rig *rig = *state;

    rig_create(rig, "a");
    assert_int_equal(ask(rig, "@stats_create - /1", "0"), 0);
    assert_int_equal(ask(rig, "@stats_create 0+100 10 program aux", "1"), 0);
    assert_int_equal(ask(rig, "@STATS_CREATE 8+8 4 2 precise_timestamps histogram:1,5 p", "2"), 0);
    assert_int_equal(ask(rig, "@stats_list",
                         "0: 0+1 1 - -\n1: 0+100 10 program aux\n"
                         "2: 8+8 4 p - precise_timestamps histogram:1,5\n"),
                     0);
    assert_int_equal(ask(rig, "@stats_list program", "1: 0+100 10 program aux\n"), 0);
    assert_int_equal(ask(rig, "@stats_delete 1", NULL), 0);
    assert_int_equal(ask(rig, "@stats_delete 1", NULL), -ENOENT);
    assert_int_equal(ask(rig, "@stats_create 0+7 5", "1"), 0);
    assert_int_equal(ask(rig, "@stats_print 1",
                         "0+5 0 0 0 0 0 0 0 0 0 0 0 0 0\n5+5 0 0 0 0 0 0 0 0 0 0 0 0 0\n"),
                     0);
    assert_int_equal(ask(rig, "@stats_print_clear 2 1 1", "12+4 0 0 0 0 0 0 0 0 0 0 0 0 0 0:0:0\n"),
                     0);
    assert_int_equal(ask(rig, "@stats_print 2 - 1", "8+4 0 0 0 0 0 0 0 0 0 0 0 0 0 0:0:0\n"), 0);
    assert_int_equal(ask(rig, "@stats_set_aux 2 new", NULL), 0);
    assert_int_equal(ask(rig, "@stats_clear 9", NULL), -ENOENT);
}

static void bad_statistics_messages(void **state)
{
    static const char *const messages[] = {
        "@stats_create",
        "@stats_create -",
        "@stats_create x 1",
        "@stats_create 0+0 1",
        "@stats_create 0+10 0",
        "@stats_create 0+10 /0",
        "@stats_create 0+10 1 1 nonsense",
        "@stats_create 0+10 1 1",
        "@stats_create 0+10 1 1 histogram:5,1",
        "@stats_create 0+10 1 1 histogram:",
        "@stats_create 0+10 1 1 histogram:1,",
        "@stats_create 0+10 1 2 histogram:1 histogram:2",
        "@stats_create 0+10 1 p aux more",
        "@stats_delete",
        "@stats_delete x",
        "@stats_delete -1",
        "@stats_clear",
        "@stats_list a b",
        "@stats_print",
        "@stats_print 0 0",
        "@stats_print 0 x 1",
        "@stats_set_aux 0",
    };
    struct rig *rig = *state;

    rig_create(rig, "a");
    for (size_t i = 0; i < sizeof(messages) / sizeof(messages[0]); i++)
        assert_int_equal(ask(rig, messages[i], NULL), -EINVAL);
    assert_logged(rig, "stats: Invalid parameters for message @stats_set_aux");
    assert_int_equal(ask(rig, "@stats_create 0+18446744073709551615 1", NULL), -ENOMEM);
}

static void an_answer_that_does_not_fit_is_flagged(void **state)
{
    struct raw raw = raw_new(312 + 32);

    rig_create(*state, "a");
    raw_name(&raw, "a");
    raw_text(&raw, 8, "@stats_create - 1");
    raw.head->data_size = 312 + 32;
    assert_int_equal(raw_call(*state, DMI_TARGET_MSG, &raw), 0);
    assert_int_equal(raw.head->flags, DM_DATA_OUT_FLAG);
    assert_string_equal((char *)raw.head + 312, "0");
    assert_int_equal(raw.head->data_size, 314);

    raw.head->data_size = 312 + 30;
    raw.head->dev = 0;
    memset((char *)raw.head + 312, 0, 32);
    raw_text(&raw, 8, "@stats_print 0");
    assert_int_equal(raw_call(*state, DMI_TARGET_MSG, &raw), 0);
    assert_int_equal(raw.head->flags, DM_DATA_OUT_FLAG | DM_BUFFER_FULL_FLAG);
    assert_int_equal(raw.head->data_size, 305);
    raw_done(&raw);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RIG_TEST(messages_need_a_target_that_takes_them),
        RIG_TEST(messages_must_end_inside_the_request),
        RIG_TEST(statistics_work_without_a_table),
        RIG_TEST(bad_statistics_messages),
        RIG_TEST(an_answer_that_does_not_fit_is_flagged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
