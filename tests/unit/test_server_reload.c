/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of reload.c: SIGHUP, a file that changes, leases, and what holds then. */
#include "server_rig.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "json_memory.h"
#include "keeper.h"
#include "lease.h"
#include "log.h"
#include "reload.h"
#include "server_said.h"

static char path[64];
static unsigned minutes; /* that have passed besides */

uint64_t __real_stats_clock(void);
uint64_t __wrap_stats_clock(void);

uint64_t __wrap_stats_clock(void)
{
    return __real_stats_clock() + minutes * UINT64_C(60000000000);
}

static void write_file(const char *text)
{
    FILE *stream = fopen(path, "w");

    assert_non_null(stream);
    assert_true(fputs(text, stream) >= 0);
    assert_int_equal(fclose(stream), 0);
}

/* A daemon that was started with the file, or without one. */
struct daemon {
    struct rig rig;
    struct options options;
    struct reload *reload;
    struct lease_table *leases;
};

static void begin(struct daemon *daemon, bool with_file)
{
    static char program[] = "dmrpcd";
    static char option[] = "--config";
    static char socket_option[] = "--socket=/line";
    char *argv[] = {program, socket_option, option, path, NULL};
    struct dispatcher *dispatcher = &daemon->rig.dispatcher;

    rig_init(&daemon->rig);
    assert_int_equal(options_read(with_file ? 4 : 2, argv, &daemon->options), OPTIONS_RUN);
    dispatcher->host.limits = daemon->options.start.limits;
    if (daemon->options.file.rules) {
        dispatcher_set_rules(dispatcher, rules_ref(daemon->options.file.rules));
    }
    assert_int_equal(lease_table_new(&daemon->leases), 0);
    assert_int_equal(keeper_new(dispatcher, daemon->leases, NULL, &dispatcher->host.keeper), 0);
    assert_int_equal(reload_new(dispatcher, &daemon->options, &daemon->reload), 0);
}

static void end(struct daemon *daemon)
{
    struct dispatcher *dispatcher = &daemon->rig.dispatcher;

    rig_until_idle(&daemon->rig);
    daemon->reload = reload_free(daemon->reload);
    dispatcher->host.keeper = keeper_free(dispatcher->host.keeper);
    daemon->leases = lease_table_free(daemon->leases);
    options_done(&daemon->options);
    rig_done(&daemon->rig);
}

static bool is_read(void *data)
{
    const struct daemon *daemon = data;

    return workers_busy(daemon->rig.dispatcher.workers) == 0;
}

/* Sends SIGHUP, and turns the loop until it has been heeded. What was said. */
static const char *hangup(struct daemon *daemon)
{
    said_start();
    assert_int_equal(raise(SIGHUP), 0);
    rig_turns(&daemon->rig, 3);
    rig_until(&daemon->rig, is_read, daemon);
    return said_end();
}

static void assert_said(const char *said, const char *part)
{
    if (!strstr(said, part)) {
        fail_msg("'%s' is not in: %s", part, said);
    }
}

#define RULE(name) "{\"name\":\"" name "\",\"who\":[{\"any\":true}],\"what\":[\"read\"]}"

static void test_without_file(void **state)
{
    static struct daemon daemon;

    (void)state;
    begin(&daemon, false);
    const struct rules *before = daemon.rig.dispatcher.rules;
    assert_said(hangup(&daemon), "there is nothing to read again");
    assert_ptr_equal(daemon.rig.dispatcher.rules, before);
    end(&daemon);
}

static void test_rules_and_limits(void **state)
{
    static struct daemon daemon;
    struct dispatcher *dispatcher = &daemon.rig.dispatcher;

    (void)state;
    write_file("{\"rules\":[" RULE("one") "],\"limits\":{\"batch\":5}}");
    begin(&daemon, true);
    assert_string_equal(rules_at(dispatcher->rules, 0)->name, "one");
    /* Whoever still uses the old ones keeps them. */
    struct rules *old = rules_ref(dispatcher->rules);
    write_file("{\"rules\":[" RULE("two") "," RULE("three") "],\"limits\":{\"batch\":6}}");
    assert_said(hangup(&daemon), "read again: 2 rules.");
    assert_string_equal(rules_at(dispatcher->rules, 0)->name, "two");
    assert_string_equal(rules_at(old, 0)->name, "one");
    (void)rules_unref(old);
    assert_int_equal(dispatcher->host.limits.batch, 6);
    write_file("{}");
    assert_said(hangup(&daemon), "no rules of its own");
    assert_false(rules_configured(dispatcher->rules));
    assert_int_equal(dispatcher->host.limits.batch, 1000);
    write_file("{\"rules\":[]}");
    assert_said(hangup(&daemon), "everybody is denied everything");
    assert_int_equal(rules_count(dispatcher->rules), 0);
    assert_true(rules_configured(dispatcher->rules));
    end(&daemon);
}

static void test_a_fault_changes_nothing(void **state)
{
    static struct daemon daemon;
    struct dispatcher *dispatcher = &daemon.rig.dispatcher;

    (void)state;
    write_file("{\"rules\":[" RULE("one") "],\"limits\":{\"batch\":5}}");
    begin(&daemon, true);
    const struct rules *before = dispatcher->rules;
    write_file("{\"limits\":{\"batch\":6},\n\"rules\":[{}]}");
    const char *said = hangup(&daemon);
    assert_said(said, "line 2: at \"/rules/0/name\": missing. Mend the file. Nothing has changed.");
    assert_ptr_equal(dispatcher->rules, before);
    assert_int_equal(dispatcher->host.limits.batch, 5);
    assert_int_equal(chmod(path, 0666), 0);
    assert_said(hangup(&daemon), "Nothing has changed.");
    assert_int_equal(chmod(path, 0600), 0);
    assert_ptr_equal(dispatcher->rules, before);
    end(&daemon);
}

/* Those that are fixed stay, and are named; so is what only a start can do. */
static void test_fixed(void **state)
{
    static struct daemon daemon;
    struct dispatcher *dispatcher = &daemon.rig.dispatcher;

    (void)state;
    write_file("{}");
    begin(&daemon, true);
    write_file(
        "{\"socket\":\"/other\",\"group\":\"daemon\",\"limits\":{\"workers\":3,\"depth\":9}}");
    const char *said = hangup(&daemon);
    assert_said(said,
                "only when dmrpcd is started anew: group, workers.\n"); /* the line has a socket */
    assert_int_equal(dispatcher->host.limits.workers, 128);
    assert_int_equal(dispatcher->host.limits.depth, 9);
    write_file("{\"limits\":{\"depth\":9}}");
    assert_null(strstr(hangup(&daemon), "anew"));
    end(&daemon);
}

static void test_put_off(void **state)
{
    static struct daemon daemon;
    struct dispatcher *dispatcher = &daemon.rig.dispatcher;

    (void)state;
    write_file("{\"limits\":{\"batch\":5}}");
    begin(&daemon, true);
    write_file("{\"limits\":{\"batch\":6}}");
    daemon.leases->head.live = 2; /* of which the keeper counts no more than that they are there */
    const char *said = hangup(&daemon);
    assert_said(said, "when the last lease of a suspended device has ended (2 now)");
    assert_string_equal(hangup(&daemon), "");
    rig_sleep(&daemon.rig, 150);
    assert_int_equal(dispatcher->host.limits.batch, 5);
    /* It is told again, each minute, and with another number. */
    daemon.leases->head.live = 1;
    for (int i = 0; i < 2; i++) {
        said_start();
        rig_sleep(&daemon.rig, 150);
        assert_string_equal(said_end(), "");
        minutes++;
        said_start();
        rig_sleep(&daemon.rig, 150);
        said = said_end();
        assert_said(said, "(1 now): it might lie on that device. Until then the old rules hold");
        assert_ptr_equal(strchr(said, '\n'), said + strlen(said) - 1);
    }
    daemon.leases->head.live = 0;
    said_start();
    rig_sleep(&daemon.rig, 150);
    rig_until(&daemon.rig, is_read, &daemon);
    assert_said(said_end(), "read again");
    assert_int_equal(dispatcher->host.limits.batch, 6);
    end(&daemon);
}

/* The server shuts down: nothing is begun, and what is put off is forgotten. */
static void test_closing(void **state)
{
    static struct daemon daemon;
    struct dispatcher *dispatcher = &daemon.rig.dispatcher;

    (void)state;
    write_file("{\"limits\":{\"batch\":5}}");
    begin(&daemon, true);
    write_file("{\"limits\":{\"batch\":6}}");
    daemon.leases->head.live = 1;
    assert_said(hangup(&daemon), "(1 now)");
    dispatcher->closing = true;
    daemon.leases->head.live = 0;
    rig_sleep(&daemon.rig, 150);
    assert_string_equal(hangup(&daemon), "");
    assert_int_equal(dispatcher->host.limits.batch, 5);
    dispatcher->closing = false;
    end(&daemon);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_without_file),
        cmocka_unit_test(test_rules_and_limits),
        cmocka_unit_test(test_a_fault_changes_nothing),
        cmocka_unit_test(test_fixed),
        cmocka_unit_test(test_put_off),
        cmocka_unit_test(test_closing),
    };

    json_memory_init();
    (void)strcpy(path, "/tmp/dmrpc-reload-XXXXXX");
    int fd = mkstemp(path);
    (void)close(fd);
    int failed = fd < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
    (void)unlink(path);
    return failed;
}
