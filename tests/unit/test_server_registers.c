/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of registers.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "protect.h"
#include "registers.h"

enum { SECRET_BYTES = 256, FRAME_BYTES = 4096 };

static char *secret, *copy;
/* The library's: a compiler that sees the size might copy without such registers. */
static void *(*volatile copy_bytes)(void *to, const void *from, size_t size) = memcpy;
static size_t found;

/* The kernel has put the registers above this frame. */
static void on_signal(int number, siginfo_t *info, void *context)
{
    const volatile char *at = context;

    (void)number;
    (void)info;
    for (size_t i = 0; i < FRAME_BYTES; i++) {
        size_t same = 0;
        while (same < 8 && at[i + same] == secret[16 + same]) {
            same++;
        }
        found += same == 8;
    }
}

static void signal_with(bool cleared)
{
    found = 0;
    (void)copy_bytes(copy, secret, SECRET_BYTES);
    if (cleared) {
        registers_clear();
    }
    (void)raise(SIGUSR1);
}

static void test_clear(void **state)
{
    const struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO};

    (void)state;
#if defined(PROTECT_SANITIZED) || !defined(__x86_64__)
    skip(); /* sanitizers copy in their own way, and another CPU may have no such registers */
#endif
    assert_int_equal(sigaction(SIGUSR1, &action, NULL), 0);
    secret = malloc(SECRET_BYTES);
    copy = malloc(SECRET_BYTES);
    assert_true(secret && copy);
    for (int i = 0; i < SECRET_BYTES; i++) {
        secret[i] = (char)(i * 7 + 1);
    }
    signal_with(false);
    assert_int_not_equal(found, 0); /* else this test could not fail */
    signal_with(true);
    assert_int_equal(found, 0);
    free(secret);
    free(copy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clear),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
