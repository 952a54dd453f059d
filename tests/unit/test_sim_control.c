/* SPDX-License-Identifier: Apache-2.0 */
/* What every ioctl goes through: versions, sizes, flags, what is copied out and what is wiped. */
#include "test_sim_rig.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void version_is_written_back_even_if_refused(void **state)
{
    static const uint32_t wrong[][3] = {{3, 0, 0}, {5, 0, 0}, {4, 48, 0}};
    struct raw raw = raw_new(512);

    assert_int_equal(raw_call(*state, DMI_VERSION, &raw), 0);
    assert_int_equal(raw.head->version[1], 47);
    for (size_t i = 0; i < 3; i++) {
        memcpy(raw.head->version, wrong[i], sizeof(wrong[i]));
        assert_int_equal(raw_call(*state, DMI_VERSION, &raw), -EINVAL);
        assert_int_equal(raw.head->version[0], 4);
        assert_int_equal(raw.head->version[1], 47);
        assert_int_equal(raw.head->version[2], 0);
    }
    raw_done(&raw);
}

static void a_version_from_the_future_but_for_its_patch_level_passes(void **state)
{
    struct raw raw = raw_new(512);
    raw.head->version[1] = 47;
    raw.head->version[2] = 99;
    assert_int_equal(raw_call(*state, DMI_VERSION, &raw), 0);
    raw_done(&raw);
}

static void unknown_ioctls_are_enotty(void **state)
{
    struct raw raw = raw_new(512);
    assert_int_equal(raw_call(*state, (enum dmi_ioctl)18, &raw), -ENOTTY);
    assert_int_equal(raw_call(*state, (enum dmi_ioctl)255, &raw), -ENOTTY);
    raw_done(&raw);
}

static void data_size_has_limits(void **state)
{
    static const struct {
        uint32_t size;
        int rc;
    } cases[] = {{0, -EINVAL}, {304, -EINVAL}, {305, 0}, {(1U << 30) + 1, -EINVAL}};
    struct raw raw = raw_new(512);

    for (size_t i = 0; i < 4; i++) {
        raw.head->data_size = cases[i].size;
        assert_int_equal(raw_call(*state, DMI_DEV_ARM_POLL, &raw), cases[i].rc);
    }
    raw_done(&raw);
}

static void an_error_copies_nothing_but_the_version(void **state)
{
    struct raw raw = raw_new(512), before;

    raw_name(&raw, "nobody");
    raw.head->flags = DM_READONLY_FLAG | DM_BUFFER_FULL_FLAG;
    before = raw_new(512);
    memcpy(before.head, raw.head, 512);
    assert_int_equal(raw_call(*state, DMI_TABLE_STATUS, &raw), -ENXIO);
    before.head->version[1] = 47;
    assert_memory_equal(before.head, raw.head, 512);
    raw_done(&raw);
    raw_done(&before);
}

static void flags_come_back_but_for_the_kernels_own(void **state)
{
    struct raw raw = raw_new(512);

    rig_create(*state, "a");
    raw_name(&raw, "a");
    raw.head->flags = 0xffffffff & ~(uint32_t)DM_SECURE_DATA_FLAG;
    assert_int_equal(raw_call(*state, DMI_DEV_STATUS, &raw), 0);
    assert_int_equal(raw.head->flags,
                     0xffffffff &
                         ~(uint32_t)(DM_BUFFER_FULL_FLAG | DM_UEVENT_GENERATED_FLAG |
                                     DM_SECURE_DATA_FLAG | DM_DATA_OUT_FLAG | DM_SUSPEND_FLAG |
                                     DM_READONLY_FLAG | DM_ACTIVE_PRESENT_FLAG |
                                     DM_INTERNAL_SUSPEND_FLAG | DM_INACTIVE_PRESENT_FLAG));
    assert_int_equal(raw.head->data_size, offsetof(struct dm_ioctl, data));
    raw_done(&raw);
}

static void one_way_of_naming_at_a_time(void **state)
{
    struct raw raw = raw_new(512);

    rig_create(*state, "a");
    raw_name(&raw, "a");
    raw_uuid(&raw, "u");
    assert_int_equal(raw_call(*state, DMI_DEV_STATUS, &raw), -EINVAL);
    memset(raw.head->uuid, 0, sizeof(raw.head->uuid));
    raw.head->dev = 254 << 8;
    assert_int_equal(raw_call(*state, DMI_DEV_STATUS, &raw), -ENXIO);
    memset(raw.head->name, 0, sizeof(raw.head->name));
    assert_int_equal(raw_call(*state, DMI_DEV_STATUS, &raw), 0);
    assert_string_equal(raw.head->name, "a");
    raw.head->dev = 0;
    memset(raw.head->name, 0, sizeof(raw.head->name));
    assert_int_equal(raw_call(*state, DMI_DEV_STATUS, &raw), -ENXIO);
    raw_done(&raw);
}

static void secret_requests_are_wiped(void **state)
{
    struct raw raw = raw_new(512);
    const char zeros[512] = {0};

    rig_create(*state, "a");
    raw_name(&raw, "nobody");
    memset((char *)raw.head + 312, 'K', 200);
    raw.head->flags = DM_SECURE_DATA_FLAG;
    assert_int_equal(raw_call(*state, DMI_TABLE_LOAD, &raw), -ENXIO);
    assert_memory_equal(raw.head, zeros, 512); /* the version, too */

    raw.head->version[0] = 4;
    raw.head->data_size = 512;
    raw_name(&raw, "a");
    memset((char *)raw.head + 312, 'K', 200);
    raw.head->flags = DM_SECURE_DATA_FLAG;
    assert_int_equal(raw_call(*state, DMI_DEV_STATUS, &raw), 0);
    assert_int_equal(raw.head->flags & DM_SECURE_DATA_FLAG, 0);
    assert_int_equal(*((char *)raw.head + 312), 'K'); /* a header only: its 305 bytes */
    raw_done(&raw);
}

static void remove_all_and_geometry_leave_the_buffer_alone(void **state)
{
    struct raw raw = raw_new(512);

    rig_create(*state, "a");
    raw_name(&raw, "a");
    raw_text(&raw, 0, "1 2 3 4");
    assert_int_equal(raw_call(*state, DMI_DEV_SET_GEOMETRY, &raw), 0);
    assert_int_equal(raw.head->data_size, 512);
    assert_int_equal(raw.head->dev, 0);
    assert_int_equal(raw_call(*state, DMI_REMOVE_ALL, &raw), 0);
    assert_int_equal(raw.head->data_size, 512);
    raw_done(&raw);
}

static void a_small_buffer_moves_data_start_to_its_end(void **state)
{
    struct raw raw = raw_new(308);
    assert_int_equal(raw_call(*state, DMI_LIST_DEVICES, &raw), 0);
    assert_int_equal(raw.head->flags, DM_BUFFER_FULL_FLAG);
    assert_int_equal(raw.head->data_start, 308);
    assert_int_equal(raw.head->data_size, 305);
    raw_done(&raw);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RIG_TEST(version_is_written_back_even_if_refused),
        RIG_TEST(a_version_from_the_future_but_for_its_patch_level_passes),
        RIG_TEST(unknown_ioctls_are_enotty),
        RIG_TEST(data_size_has_limits),
        RIG_TEST(an_error_copies_nothing_but_the_version),
        RIG_TEST(flags_come_back_but_for_the_kernels_own),
        RIG_TEST(one_way_of_naming_at_a_time),
        RIG_TEST(secret_requests_are_wiped),
        RIG_TEST(remove_all_and_geometry_leave_the_buffer_alone),
        RIG_TEST(a_small_buffer_moves_data_start_to_its_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
