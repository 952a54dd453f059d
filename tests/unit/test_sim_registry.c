/* SPDX-License-Identifier: Apache-2.0 */
/* The registry against a plain list: thousands of random names come, go and change. */
#include "test_sim_rig.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sim/minors.h"

enum { NAMES = 400, STEPS = 20000 };

static uint32_t random_below(uint32_t *seed, uint32_t limit)
{
    *seed = *seed * 1664525U + 1013904223U;
    return (*seed >> 8) % limit;
}

static void name_of(uint32_t number, char name[16])
{
    (void)snprintf(name, 16, "%c%u", (int)('a' + number % 7), number * 7919U % 1000U);
}

/* The list must be sorted and hold exactly what `there` says. */
static void compare(struct rig *rig, const bool *there, size_t count)
{
    struct dmi_device_list list;

    assert_int_equal(dmi_list_devices(&rig->dm, NULL, NULL, &list), 0);
    assert_int_equal(list.count, count);
    for (size_t i = 1; i < list.count; i++)
        assert_true(strcmp(list.entries[i - 1].name, list.entries[i].name) < 0);
    dmi_device_list_done(&list);
    for (uint32_t i = 0; i < NAMES; i++) {
        char name[16];
        struct dmi_info info;
        name_of(i, name);
        const struct dmi_id id = by_name(name);
        assert_int_equal(dmi_device_status(&rig->dm, &id, 0, &info), there[i] ? 0 : -ENXIO);
    }
}

static void random_names_come_and_go(void **state)
{
    struct rig *rig = *state;
    bool there[NAMES] = {false};
    uint32_t seed = 1;
    size_t count = 0;

    for (unsigned int step = 0; step < STEPS; step++) {
        uint32_t one = random_below(&seed, NAMES), other = random_below(&seed, NAMES);
        char name[16], new_name[16];
        struct dmi_info info;
        name_of(one, name);
        name_of(other, new_name);
        if (!there[one]) {
            rig_create(rig, name);
            there[one] = true;
            count++;
        } else if (step % 3) {
            assert_int_equal(rig_remove(rig, name), 0);
            there[one] = false;
            count--;
        } else {
            int rc = there[other] ? -EBUSY : 0;
            assert_int_equal(dmi_device_rename(&rig->dm, name, new_name, 0, &info), rc);
            if (rc == 0) {
                there[one] = false;
                there[other] = true;
            }
        }
        if (step % 2000 == 0)
            compare(rig, there, count);
    }
    compare(rig, there, count);
}

static void the_lowest_minor_is_found_at_every_level(void **state)
{
    static const uint32_t freed[] = {1048575, 300000, 262144, 262143, 5000, 4096, 64, 63, 0};
    struct sim_minors minors;
    uint32_t minor;
    (void)state;

    assert_int_equal(sim_minors_init(&minors), 0);
    for (uint32_t i = 0; i < SIM_MINOR_COUNT; i++) {
        assert_int_equal(sim_minors_take_lowest(&minors, &minor), 0);
        assert_int_equal(minor, i);
    }
    assert_int_equal(sim_minors_take_lowest(&minors, &minor), -ENOSPC);
    for (size_t i = 0; i < sizeof(freed) / sizeof(freed[0]); i++) {
        assert_int_equal(sim_minors_take(&minors, freed[i]), -EBUSY);
        sim_minors_free(&minors, freed[i]);
        assert_int_equal(sim_minors_take_lowest(&minors, &minor), 0);
        assert_int_equal(minor, freed[i]);
        sim_minors_free(&minors, freed[i]);
        assert_int_equal(sim_minors_take(&minors, freed[i]), 0);
    }
    sim_minors_done(&minors);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RIG_TEST(random_names_come_and_go),
        cmocka_unit_test(the_lowest_minor_is_found_at_every_level),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
