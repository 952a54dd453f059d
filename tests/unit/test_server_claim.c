/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of claim.c, in a folder of their own, with a socket at which nobody listens. */
#include "server_rig.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "claim.h"
#include "server_said.h"

enum { MANY = 12 };

struct place {
    char folder[64], path[128], lock[160];
};

static int leave_socket(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    (void)strcpy(address.sun_path, path);
    int rc = bind(fd, (struct sockaddr *)&address, sizeof(address));
    (void)close(fd);
    return rc;
}

static int setup(void **state)
{
    static struct place place;

    (void)strcpy(place.folder, "/tmp/dmrpc-claim-XXXXXX");
    if (!mkdtemp(place.folder)) {
        return -1;
    }
    (void)snprintf(place.path, sizeof(place.path), "%s/sock", place.folder);
    (void)snprintf(place.lock, sizeof(place.lock), "%s.lock", place.path);
    if (leave_socket(place.path) < 0) {
        return -1;
    }
    *state = &place;
    return 0;
}

/* The two files are all that is left. */
static int teardown(void **state)
{
    struct place *place = *state;

    (void)unlink(place->path);
    (void)unlink(place->lock);
    return rmdir(place->folder);
}

static void take_badly(const struct place *place, const char *word)
{
    struct claim claim;

    said_start();
    int rc = claim_take(&claim, place->path);
    const char *said = said_end();
    assert_true(rc < 0);
    assert_non_null(strstr(said, word));
    assert_int_equal(claim.fd, -1);
}

static void take_over(const struct place *place, struct claim *claim)
{
    said_start();
    int rc = claim_take(claim, place->path);
    const char *said = said_end();
    assert_int_equal(rc, 0);
    assert_true(claim->taken_over);
    assert_non_null(strstr(said, "taken over from a process"));
}

static ino_t inode(const char *path)
{
    struct stat st;

    assert_int_equal(lstat(path, &st), 0);
    return st.st_ino;
}

static void test_take(void **state)
{
    struct place *place = *state;
    struct claim claim;

    for (int i = 0; i < 3; i++) {
        assert_int_equal(claim_take(&claim, place->path), 0);
        assert_false(claim.taken_over);
        assert_true(claim_hold(&claim, place->path));
        claim_yield(&claim);
        claim_drop(&claim);
        assert_false(claim_hold(&claim, place->path));
        claim_drop(&claim);
    }
}

/* Who is starting, or has said that it holds the path, need not answer. */
static void test_held(void **state)
{
    struct place *place = *state;
    struct claim claim;
    ino_t before;

    assert_int_equal(claim_take(&claim, place->path), 0);
    before = inode(place->lock);
    take_badly(place, "is being started");
    claim_yield(&claim);
    assert_true(claim_hold(&claim, place->path));
    take_badly(place, "is being started");
    assert_int_equal(inode(place->lock), before);
    claim_drop(&claim);
}

static void test_taken_over(void **state)
{
    struct place *place = *state;
    struct claim first;
    struct claim second;
    struct claim third;

    assert_int_equal(claim_take(&first, place->path), 0);
    claim_yield(&first);
    ino_t before = inode(place->lock);
    take_over(place, &second);
    assert_int_not_equal(inode(place->lock), before);
    assert_false(claim_hold(&first, place->path));
    take_badly(place, "is being started");
    claim_yield(&second);
    assert_true(claim_hold(&second, place->path));
    claim_yield(&second);
    /* The first one's end is nothing to the second: it has the path until it is silent, too. */
    claim_drop(&first);
    take_over(place, &third);
    claim_drop(&second);
    assert_true(claim_hold(&third, place->path));
    claim_drop(&third);
}

/* A file that a killed one left half-way is no hindrance. */
static void test_left_behind(void **state)
{
    struct place *place = *state;
    struct claim first;
    struct claim second;
    char name[192];

    (void)snprintf(name, sizeof(name), "%s.new", place->lock);
    assert_int_equal(symlink("elsewhere", name), 0);
    assert_int_equal(claim_take(&first, place->path), 0);
    claim_yield(&first);
    take_over(place, &second);
    assert_int_equal(access(name, F_OK), -1);
    claim_drop(&second);
    claim_drop(&first);
}

static void *drop_later(void *argument)
{
    const struct timespec pause = {.tv_sec = 2};

    (void)nanosleep(&pause, NULL);
    claim_drop(argument);
    return NULL;
}

/* One that has removed its socket has more time, and is not taken over when it ends in it. */
static void test_ends_meanwhile(void **state)
{
    struct place *place = *state;
    struct claim first;
    struct claim second;
    pthread_t thread;

    assert_int_equal(claim_take(&first, place->path), 0);
    claim_yield(&first);
    ino_t before = inode(place->lock);
    assert_int_equal(unlink(place->path), 0);
    assert_int_equal(pthread_create(&thread, NULL, drop_later, &first), 0);
    assert_int_equal(claim_take(&second, place->path), 0);
    assert_false(second.taken_over);
    assert_int_equal(inode(place->lock), before);
    assert_int_equal(pthread_join(thread, NULL), 0);
    claim_drop(&second);
}

/* In a child: takes, says how it went, and holds what it got until it is told to end. */
static pid_t contender(const struct place *place, int told, int until)
{
    pid_t pid = fork();
    struct claim claim;
    char byte;

    if (pid == 0) {
        if (!freopen("/dev/null", "w", stderr)) {
            _exit(1);
        }
        byte = claim_take(&claim, place->path) == 0 ? 'y' : 'n';
        (void)!write(told, &byte, 1);
        (void)!read(until, &byte, 1);
        _exit(0);
    }
    assert_true(pid > 0);
    return pid;
}

/* Of many at once exactly one gets it. */
static void contend(const struct place *place)
{
    pid_t pids[MANY];
    int told[2];
    int until[2];
    int winners = 0;
    char byte;

    assert_int_equal(pipe(told), 0);
    assert_int_equal(pipe(until), 0);
    for (int i = 0; i < MANY; i++) {
        pids[i] = contender(place, told[1], until[0]);
    }
    for (int i = 0; i < MANY; i++) {
        assert_int_equal(read(told[0], &byte, 1), 1);
        winners += byte == 'y';
    }
    for (int i = 0; i < MANY; i++) {
        assert_int_equal(write(until[1], "", 1), 1);
    }
    for (int i = 0; i < MANY; i++) {
        assert_int_equal(waitpid(pids[i], NULL, 0), pids[i]);
    }
    for (int i = 0; i < 2; i++) {
        (void)close(told[i]);
        (void)close(until[i]);
    }
    assert_int_equal(winners, 1);
}

/* One that has removed it, and goes on for ever, keeps the path a while, but not for ever. */
static void test_no_socket(void **state)
{
    struct place *place = *state;
    struct claim first;
    struct claim second;

    assert_int_equal(claim_take(&first, place->path), 0);
    claim_yield(&first);
    assert_int_equal(unlink(place->path), 0);
    time_t began = time(NULL);
    take_over(place, &second);
    assert_in_range(time(NULL) - began, 4, 15);
    claim_drop(&second);
    claim_drop(&first);
}

static void test_many(void **state)
{
    struct place *place = *state;
    struct claim claim;

    contend(place);
    assert_int_equal(claim_take(&claim, place->path), 0);
    claim_yield(&claim);
    contend(place); /* from one that is silent */
    claim_drop(&claim);
}

static void test_no_folder(void **state)
{
    struct claim claim;

    (void)state;
    said_start();
    int rc = claim_take(&claim, "/proc/none/sock");
    assert_non_null(strstr(said_end(), "--socket"));
    assert_int_equal(rc, -ENOENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_take, setup, teardown),
        cmocka_unit_test_setup_teardown(test_held, setup, teardown),
        cmocka_unit_test_setup_teardown(test_taken_over, setup, teardown),
        cmocka_unit_test_setup_teardown(test_left_behind, setup, teardown),
        cmocka_unit_test_setup_teardown(test_ends_meanwhile, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_socket, setup, teardown),
        cmocka_unit_test_setup_teardown(test_many, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_folder, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
