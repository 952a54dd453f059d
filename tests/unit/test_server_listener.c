/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of listener.c, in a folder of their own. */
#include "server_rig.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "listener.h"
#include "server_said.h"

struct place {
    char folder[64], path[128], lock[160];
    struct ev_loop *loop;
    ev_timer tick;
};

static int accepted[300];
static int accepted_count;
static struct peer accepted_peer;
static atomic_bool answering; /* a byte to each, at once */

static void on_accepted(struct listener *listener, int fd, const struct peer *peer)
{
    (void)listener;
    assert_true(accepted_count < 300);
    assert_int_equal(fcntl(fd, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
    assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
    accepted[accepted_count++] = fd;
    accepted_peer = *peer;
    if (answering) {
        assert_int_equal(send(fd, "x", 1, MSG_NOSIGNAL), 1);
    }
}

static void on_tick(struct ev_loop *loop, ev_timer *watcher, int events)
{
    (void)loop;
    (void)watcher;
    (void)events;
}

static int setup(void **state)
{
    static struct place place;

    (void)strcpy(place.folder, "/tmp/dmrpc-listener-XXXXXX");
    if (!mkdtemp(place.folder)) {
        return -1;
    }
    (void)snprintf(place.path, sizeof(place.path), "%s/sock", place.folder);
    (void)snprintf(place.lock, sizeof(place.lock), "%s.lock", place.path);
    place.loop = ev_loop_new(EVFLAG_AUTO);
    ev_timer_init(&place.tick, on_tick, 0.002, 0.002);
    ev_timer_start(place.loop, &place.tick);
    accepted_count = 0;
    *state = &place;
    return 0;
}

static int teardown(void **state)
{
    struct place *place = *state;

    for (int i = 0; i < accepted_count; i++) {
        (void)close(accepted[i]);
    }
    ev_timer_stop(place->loop, &place->tick);
    ev_loop_destroy(place->loop);
    (void)unlink(place->path);
    (void)unlink(place->lock);
    return rmdir(place->folder);
}

int __real_lchown(const char *path, uid_t owner, gid_t group);
int __wrap_lchown(const char *path, uid_t owner, gid_t group);
static bool lchown_fails;

int __wrap_lchown(const char *path, uid_t owner, gid_t group)
{
    if (lchown_fails) {
        errno = EPERM;
        return -1;
    }
    return __real_lchown(path, owner, group);
}

static int connect_to(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    (void)strcpy(address.sun_path, path);
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
        (void)close(fd);
        return -errno;
    }
    return fd;
}

static void until_accepted(struct place *place, int count)
{
    for (int i = 0; accepted_count < count; i++) {
        assert_true(i < 2000);
        (void)ev_run(place->loop, EVRUN_ONCE);
    }
}

/* Opens where it must fail; what is said is checked for `word`. */
static int open_badly(struct place *place, const char *path, gid_t group, const char *word)
{
    struct listener listener;

    said_start();
    int rc = listener_open(&listener, place->loop, path, group, on_accepted);
    const char *said = said_end();
    assert_true(rc < 0);
    if (!strstr(said, word)) {
        fail_msg("'%s' is not in: %s", word, said);
    }
    assert_ptr_equal(strchr(said, '\n'), said + strlen(said) - 1); /* one line */
    assert_int_equal(listener.fd, -1);
    assert_int_equal(listener.claim.fd, -1);
    return rc;
}

/* Has a node been made, in the folder that is watched, and then been given another mode or owner?
 * The lock's file does not count. */
static bool is_changed(int watch)
{
    alignas(struct inotify_event) char events[4096];
    ssize_t length = read(watch, events, sizeof(events));
    bool changed = length <= 0;

    for (ssize_t at = 0; at < length;) {
        const struct inotify_event *event = (const void *)(events + at);
        changed = changed || (event->mask & IN_ATTRIB && !strstr(event->name, ".lock"));
        at += (ssize_t)(sizeof(*event) + event->len);
    }
    return changed;
}

static void test_open(void **state)
{
    struct place *place = *state;
    struct listener listener;
    struct stat st;

    int watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    assert_true(inotify_add_watch(watch, place->folder, IN_ALL_EVENTS) >= 0);
    mode_t before = umask(0);
    assert_int_equal(listener_open(&listener, place->loop, place->path, (gid_t)-1, on_accepted), 0);
    assert_false(is_changed(watch)); /* its mode is its first one */
    (void)close(watch);
    assert_int_equal(umask(before), 0); /* it puts the mask back */
    assert_int_equal(lstat(place->path, &st), 0);
    assert_true(S_ISSOCK(st.st_mode));
    assert_int_equal(st.st_mode & 07777, 0660);
    assert_int_equal(lstat(place->lock, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);

    int client = connect_to(place->path);
    assert_true(client >= 0);
    until_accepted(place, 1);
    assert_int_equal(accepted_peer.pid, getpid());
    assert_int_equal(accepted_peer.uid, geteuid());

    listener_close(&listener);
    assert_int_equal(lstat(place->path, &st), -1);
    assert_int_equal(lstat(place->lock, &st), 0); /* stays: to remove it would be a race */
    (void)close(client);
}

static void test_folder_made(void **state)
{
    struct place *place = *state;
    struct listener listener;
    char path[128], lock[160], folder[80];

    (void)snprintf(folder, sizeof(folder), "%s/new", place->folder);
    (void)snprintf(path, sizeof(path), "%s/sock", folder);
    (void)snprintf(lock, sizeof(lock), "%s.lock", path);
    assert_int_equal(listener_open(&listener, place->loop, path, (gid_t)-1, on_accepted), 0);
    listener_close(&listener);
    (void)unlink(lock);
    assert_int_equal(rmdir(folder), 0);
    (void)snprintf(path, sizeof(path), "%s/none/none/sock", place->folder);
    assert_int_equal(open_badly(place, path, (gid_t)-1, "--socket"), -ENOENT);
}

static void leave_stale(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    (void)strcpy(address.sun_path, path);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    (void)close(fd);
}

static void test_stale(void **state)
{
    struct place *place = *state;
    struct listener listener;

    leave_stale(place->path);
    assert_int_equal(connect_to(place->path), -ECONNREFUSED);
    assert_int_equal(listener_open(&listener, place->loop, place->path, (gid_t)-1, on_accepted), 0);
    int client = connect_to(place->path);
    assert_true(client >= 0);
    (void)close(client);
    listener_close(&listener);
}

static void *turn_loop(void *argument)
{
    struct place *place = argument;

    while (answering) {
        (void)ev_run(place->loop, EVRUN_ONCE);
    }
    return NULL;
}

static void test_second(void **state)
{
    struct place *place = *state;
    struct listener listener;
    pthread_t thread;

    assert_int_equal(listener_open(&listener, place->loop, place->path, (gid_t)-1, on_accepted), 0);
    answering = true;
    assert_int_equal(pthread_create(&thread, NULL, turn_loop, place), 0);
    assert_int_equal(open_badly(place, place->path, (gid_t)-1, "Another dmrpcd"), -EAGAIN);
    answering = false;
    assert_int_equal(pthread_join(thread, NULL), 0);
    int before = accepted_count;
    int client = connect_to(place->path); /* the first serves on */
    assert_true(client >= 0);
    until_accepted(place, before + 1);
    (void)close(client);
    listener_close(&listener);
    assert_int_equal(listener_open(&listener, place->loop, place->path, (gid_t)-1, on_accepted), 0);
    listener_close(&listener);
}

/* One whose loop does not turn is as one that is stuck. */
static void open_over(struct place *place, struct listener *listener, gid_t group)
{
    said_start();
    int rc = listener_open(listener, place->loop, place->path, group, on_accepted);
    const char *said = said_end();
    assert_int_equal(rc, 0);
    assert_non_null(strstr(said, "taken over from"));
    assert_true(listener->claim.taken_over);
}

static void test_taken_over(void **state)
{
    struct place *place = *state;
    struct listener first;
    struct listener second;
    struct stat st;

    assert_int_equal(listener_open(&first, place->loop, place->path, (gid_t)-1, on_accepted), 0);
    open_over(place, &second, getegid());
    assert_int_equal(lstat(place->path, &st), 0);
    assert_int_equal(st.st_ino, second.ino);
    assert_int_not_equal(second.ino, first.ino);
    assert_int_equal(st.st_mode & 07777, 0660);
    assert_int_equal(lstat(place->lock, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);

    listener_close(&first); /* it goes on after all: what is there is not its own */
    int before = accepted_count;
    int client = connect_to(place->path);
    assert_true(client >= 0);
    until_accepted(place, before + 1);
    (void)close(client);
    listener_close(&second);
    assert_int_equal(lstat(place->path, &st), -1); /* and teardown finds nothing else */
}

/* The one that is there stays if the next one fails. */
static void test_not_taken_over(void **state)
{
    struct place *place = *state;
    struct listener first;
    struct listener second;
    struct stat st;

    assert_int_equal(listener_open(&first, place->loop, place->path, (gid_t)-1, on_accepted), 0);
    lchown_fails = true;
    said_start();
    int rc = listener_open(&second, place->loop, place->path, getegid(), on_accepted);
    const char *said = said_end();
    lchown_fails = false;
    assert_int_equal(rc, -EPERM);
    assert_non_null(strstr(said, "--group"));
    assert_int_equal(lstat(place->path, &st), 0);
    assert_int_equal(st.st_ino, first.ino);
    listener_close(&first);
    assert_int_equal(unlink(place->path), 0); /* its lock was not its own any more */
}

static void test_other_file(void **state)
{
    struct place *place = *state;
    struct stat st;
    int fd = open(place->path, O_CREAT | O_WRONLY, 0600);

    assert_true(fd >= 0);
    (void)close(fd);
    assert_int_equal(open_badly(place, place->path, (gid_t)-1, "another kind"), -EEXIST);
    assert_int_equal(lstat(place->path, &st), 0);
    assert_true(S_ISREG(st.st_mode));

    assert_int_equal(unlink(place->path), 0); /* nor is a link followed */
    assert_int_equal(symlink("elsewhere", place->path), 0);
    assert_int_equal(open_badly(place, place->path, (gid_t)-1, "another kind"), -EEXIST);
}

static void test_lock_is_link(void **state)
{
    struct place *place = *state;

    assert_int_equal(symlink("elsewhere", place->lock), 0);
    assert_int_equal(open_badly(place, place->path, (gid_t)-1, "cannot open"), -ELOOP);
}

static void test_long_path(void **state)
{
    struct place *place = *state;
    char path[160];
    char lock[176];
    size_t length = strlen(place->folder);

    memset(path, 'x', sizeof(path));
    memcpy(path, place->folder, length);
    path[length] = '/';
    path[108] = '\0';
    assert_int_equal(open_badly(place, path, (gid_t)-1, "107 bytes"), -ENAMETOOLONG);
    (void)snprintf(lock, sizeof(lock), "%s.lock", path);
    (void)unlink(lock);
    path[107] = '\0';
    struct listener listener;
    assert_int_equal(listener_open(&listener, place->loop, path, (gid_t)-1, on_accepted), 0);
    /* Nor is there any trouble with a temporary name. */
    struct listener next;
    struct stat st;
    said_start();
    int rc = listener_open(&next, place->loop, path, (gid_t)-1, on_accepted);
    (void)said_end();
    assert_int_equal(rc, 0);
    assert_true(next.claim.taken_over);
    assert_int_equal(lstat(path, &st), 0);
    assert_int_equal(st.st_ino, next.ino);
    listener_close(&next);
    listener_close(&listener);
    (void)snprintf(lock, sizeof(lock), "%s.lock", path);
    (void)unlink(lock);
}

static void test_group(void **state)
{
    struct place *place = *state;
    struct listener listener;
    struct stat st;
    gid_t group = getegid();

    assert_int_equal(listener_open(&listener, place->loop, place->path, group, on_accepted), 0);
    assert_int_equal(lstat(place->path, &st), 0);
    assert_int_equal(st.st_gid, group);
    assert_int_equal(st.st_mode & 07777, 0660);
    listener_close(&listener);
}

/* A start that fails leaves no socket behind. */
static void test_group_refused(void **state)
{
    struct place *place = *state;
    struct stat st;

    lchown_fails = true;
    assert_int_equal(open_badly(place, place->path, getegid(), "--group"), -EPERM);
    lchown_fails = false;
    assert_int_equal(lstat(place->path, &st), -1);
}

/* Who has put a socket of their own in the place keeps it. */
static void test_replaced(void **state)
{
    struct place *place = *state;
    struct listener listener;
    struct stat st;

    assert_int_equal(listener_open(&listener, place->loop, place->path, (gid_t)-1, on_accepted), 0);
    assert_int_equal(unlink(place->path), 0);
    leave_stale(place->path);
    listener_close(&listener);
    assert_int_equal(lstat(place->path, &st), 0);
}

static void test_stop(void **state)
{
    struct place *place = *state;
    struct listener listener;
    struct stat st;

    assert_int_equal(listener_open(&listener, place->loop, place->path, (gid_t)-1, on_accepted), 0);
    listener_stop(&listener);
    assert_int_equal(accepted_count, 0);
    assert_int_equal(lstat(place->path, &st), -1); /* nobody can wait in it in vain */
    assert_int_equal(errno, ENOENT);
    /* The lock is still ours, until what runs has ended; who wants the path need not wait so long.
     */
    struct listener next;
    open_over(place, &next, (gid_t)-1);
    listener_close(&listener);
    assert_int_equal(lstat(place->path, &st), 0);
    listener_close(&next);
}

static void test_many(void **state)
{
    struct place *place = *state;
    struct listener listener;
    int clients[200];

    assert_int_equal(listener_open(&listener, place->loop, place->path, (gid_t)-1, on_accepted), 0);
    for (int i = 0; i < 200; i++) {
        clients[i] = connect_to(place->path);
        assert_true(clients[i] >= 0);
    }
    until_accepted(place, 200);
    for (int i = 0; i < 200; i++) {
        (void)close(clients[i]);
    }
    listener_close(&listener);
}

int __real_accept4(int fd, struct sockaddr *address, socklen_t *length, int flags);
int __wrap_accept4(int fd, struct sockaddr *address, socklen_t *length, int flags);
static int accept_error;

int __wrap_accept4(int fd, struct sockaddr *address, socklen_t *length, int flags)
{
    if (accept_error) {
        errno = accept_error;
        return -1;
    }
    return __real_accept4(fd, address, length, flags);
}

/* Without descriptors it rests rather than spins, and goes on when there are some again. */
static void test_no_descriptors(void **state)
{
    static const int errors[] = {EMFILE, ENFILE, ENOMEM, ENOBUFS};
    struct place *place = *state;
    struct listener listener;

    assert_int_equal(listener_open(&listener, place->loop, place->path, (gid_t)-1, on_accepted), 0);
    for (int i = 0; i < 4; i++) {
        int client = connect_to(place->path);
        assert_true(client >= 0);
        accept_error = errors[i];
        for (int turn = 0; turn < 20 && !ev_is_active(&listener.pause); turn++) {
            (void)ev_run(place->loop, EVRUN_ONCE);
        }
        accept_error = 0;
        assert_true(ev_is_active(&listener.pause));
        assert_false(ev_is_active(&listener.readable));
        assert_int_equal(accepted_count, i);
        until_accepted(place, i + 1);
        (void)close(client);
    }
    listener_close(&listener);
}

/* One that went before it was accepted is no reason to rest. */
static void test_aborted(void **state)
{
    struct place *place = *state;
    struct listener listener;

    assert_int_equal(listener_open(&listener, place->loop, place->path, (gid_t)-1, on_accepted), 0);
    int client = connect_to(place->path);
    accept_error = ECONNABORTED;
    for (int turn = 0; turn < 5; turn++) {
        (void)ev_run(place->loop, EVRUN_ONCE);
    }
    accept_error = 0;
    assert_false(ev_is_active(&listener.pause));
    until_accepted(place, 1);
    (void)close(client);
    listener_close(&listener);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_open, setup, teardown),
        cmocka_unit_test_setup_teardown(test_folder_made, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stale, setup, teardown),
        cmocka_unit_test_setup_teardown(test_second, setup, teardown),
        cmocka_unit_test_setup_teardown(test_taken_over, setup, teardown),
        cmocka_unit_test_setup_teardown(test_not_taken_over, setup, teardown),
        cmocka_unit_test_setup_teardown(test_other_file, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lock_is_link, setup, teardown),
        cmocka_unit_test_setup_teardown(test_long_path, setup, teardown),
        cmocka_unit_test_setup_teardown(test_group, setup, teardown),
        cmocka_unit_test_setup_teardown(test_group_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_replaced, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stop, setup, teardown),
        cmocka_unit_test_setup_teardown(test_many, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_descriptors, setup, teardown),
        cmocka_unit_test_setup_teardown(test_aborted, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
