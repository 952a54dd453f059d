/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of transport.c. */
#include <errno.h>

#include "script.h"

static size_t freed;

static void count_free(struct dmi_transport *transport)
{
    (void)transport;
    freed++;
}

static void test_free_any(void **state)
{
    struct dmi_transport transport = {.free = count_free};

    (void)state;
    assert_null(dmi_transport_free(NULL));
    assert_int_equal(freed, 0);
    assert_null(dmi_transport_free(&transport));
    assert_int_equal(freed, 1);
}

static void test_reopen(void **state)
{
    struct dmi_transport *other = NULL;
    struct script script;

    (void)state;
    script_init_silent(&script);
    assert_int_equal(dmi_transport_reopen(&script.transport, &other), -ENODEV);
    assert_null(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_free_any),
        cmocka_unit_test(test_reopen),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
