/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of budget.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>

#include "budget.h"

static void test_limit(void **state)
{
    struct budget budget = {.limit = 100};

    (void)state;
    assert_true(budget_take(&budget, 0));
    assert_true(budget_take(&budget, 60));
    assert_false(budget_take(&budget, 41));
    assert_int_equal(budget.used, 60);
    assert_true(budget_take(&budget, 40));
    assert_false(budget_take(&budget, 1));
    assert_int_equal(budget.used, 100);
    budget_give(&budget, 1);
    assert_true(budget_take(&budget, 1));
    budget_give(&budget, 100);
    assert_int_equal(budget.used, 0);
}

static void test_none(void **state)
{
    (void)state;
    assert_true(budget_take(NULL, SIZE_MAX));
    budget_give(NULL, SIZE_MAX);
}

enum { ROUNDS = 20000, THREADS = 3 };

static void *take_and_give(void *argument)
{
    struct budget *budget = argument;
    uintptr_t refused = 0;

    for (int i = 0; i < ROUNDS; i++) {
        if (budget_take(budget, 40)) {
            budget_give(budget, 40);
        } else {
            refused++;
        }
    }
    return (void *)refused;
}

static void test_threads(void **state)
{
    struct budget budget = {.limit = 100};
    pthread_t threads[THREADS];
    uintptr_t all_refused = 0;

    (void)state;
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, take_and_give, &budget), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        void *refused = NULL;
        assert_int_equal(pthread_join(threads[i], &refused), 0);
        all_refused += (uintptr_t)refused;
    }
    /* One thread may be refused each time, while others hold it all; not all of them. */
    assert_true(all_refused < (uintptr_t)THREADS * ROUNDS);
    assert_int_equal(budget.used, 0);
    assert_true(budget_take(&budget, 100));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_limit),
        cmocka_unit_test(test_none),
        cmocka_unit_test(test_threads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
