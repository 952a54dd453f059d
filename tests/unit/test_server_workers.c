/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of workers.c. To be clean under ThreadSanitizer as well. */
#include "server_rig.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "protect.h"
#include "workers.h"

/* --- what the workers are given to wait with, and to be made of --- */

static atomic_int threads_made;
static atomic_bool no_threads;
static atomic_int hurry; /* seconds that the clock is behind: who waits until then need not wait */

int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                          void *(*main)(void *), void *argument);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                          void *(*main)(void *), void *argument);
int __real_clock_gettime(clockid_t clock, struct timespec *time);
int __wrap_clock_gettime(clockid_t clock, struct timespec *time);

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                          void *(*main)(void *), void *argument)
{
    if (atomic_load(&no_threads)) {
        return EAGAIN;
    }
    atomic_fetch_add(&threads_made, 1);
    return __real_pthread_create(thread, attributes, main, argument);
}

int __wrap_clock_gettime(clockid_t clock, struct timespec *time)
{
    int rc = __real_clock_gettime(clock, time);
    time->tv_sec -= atomic_load(&hurry);
    return rc;
}

/* --- jobs --- */

struct pool {
    struct ev_loop *loop;
    ev_timer tick;
    struct workers *workers;
    pthread_mutex_t gate; /* jobs pass through it: a test may hold it */
    atomic_int running, most_running, ran;
    int ended;
    int order[64];
    pthread_t loop_thread;
};

struct pool_job {
    struct job job; /* first: the callbacks cast */
    struct pool *pool;
    int id;
    bool ran, ended;
};

static void on_tick(struct ev_loop *loop, ev_timer *watcher, int events)
{
    (void)loop;
    (void)watcher;
    (void)events;
}

static void on_run(struct job *job)
{
    struct pool_job *self = (struct pool_job *)(void *)job;
    struct pool *pool = self->pool;
    int running = atomic_fetch_add(&pool->running, 1) + 1;
    int most = atomic_load(&pool->most_running);

    while (running > most && !atomic_compare_exchange_weak(&pool->most_running, &most, running)) {
    }
    assert_false(pthread_equal(pthread_self(), pool->loop_thread));
    (void)pthread_mutex_lock(&pool->gate);
    (void)pthread_mutex_unlock(&pool->gate);
    self->ran = true; /* unguarded: the end on the loop thread comes after */
    atomic_fetch_add(&pool->ran, 1);
    atomic_fetch_sub(&pool->running, 1);
}

static void on_end(struct job *job)
{
    struct pool_job *self = (struct pool_job *)(void *)job;
    struct pool *pool = self->pool;

    assert_true(pthread_equal(pthread_self(), pool->loop_thread));
    assert_true(self->ran);
    assert_false(self->ended);
    self->ended = true;
    pool->order[pool->ended++ % 64] = self->id;
}

static void pool_init(struct pool *pool, size_t most)
{
    memset(pool, 0, sizeof(*pool));
    atomic_store(&threads_made, 0);
    atomic_store(&hurry, 0);
    pool->loop_thread = pthread_self();
    (void)pthread_mutex_init(&pool->gate, NULL);
    pool->loop = ev_loop_new(EVFLAG_AUTO);
    ev_timer_init(&pool->tick, on_tick, 0.002, 0.002);
    ev_timer_start(pool->loop, &pool->tick);
    assert_int_equal(workers_new(pool->loop, most, &pool->workers), 0);
}

static void pool_done(struct pool *pool)
{
    pool->workers = workers_free(pool->workers);
    assert_null(pool->workers);
    ev_timer_stop(pool->loop, &pool->tick);
    ev_loop_destroy(pool->loop);
    (void)pthread_mutex_destroy(&pool->gate);
}

static struct pool_job *submit(struct pool *pool, int count)
{
    struct pool_job *jobs = calloc((size_t)count, sizeof(*jobs));

    assert_non_null(jobs);
    for (int i = 0; i < count; i++) {
        jobs[i] = (struct pool_job){.job = {.run = on_run, .end = on_end}, .pool = pool, .id = i};
        assert_int_equal(workers_submit(pool->workers, &jobs[i].job), 0);
    }
    return jobs;
}

static void until_ended(struct pool *pool, int count)
{
    for (int i = 0; pool->ended < count; i++) {
        assert_true(i < 10000);
        (void)ev_run(pool->loop, EVRUN_ONCE);
    }
}

static void until_running(struct pool *pool, int count)
{
    const struct timespec pause = {.tv_nsec = 1000000};

    for (int i = 0; atomic_load(&pool->running) < count; i++) {
        assert_true(i < 10000);
        (void)nanosleep(&pause, NULL);
    }
}

static void test_many(void **state)
{
    struct pool pool;

    (void)state;
    pool_init(&pool, 4);
    struct pool_job *jobs = submit(&pool, 500);
    assert_int_equal(workers_busy(pool.workers), 500);
    until_ended(&pool, 500);
    assert_int_equal(workers_busy(pool.workers), 0);
    assert_int_equal(pool.ran, 500);
    assert_in_range(threads_made, 1, 4);
    pool_done(&pool);
    free(jobs);
}

/* One worker takes them in the order they came. */
static void test_in_order(void **state)
{
    struct pool pool;

    (void)state;
    pool_init(&pool, 1);
    struct pool_job *jobs = submit(&pool, 50);
    until_ended(&pool, 50);
    for (int i = 0; i < 50; i++) {
        assert_int_equal(pool.order[i], i);
    }
    assert_int_equal(threads_made, 1);
    pool_done(&pool);
    free(jobs);
}

static void test_limit(void **state)
{
    struct pool pool;

    (void)state;
    pool_init(&pool, 3);
    (void)pthread_mutex_lock(&pool.gate);
    struct pool_job *jobs = submit(&pool, 10);
    until_running(&pool, 3);
    assert_int_equal(threads_made, 3);
    assert_int_equal(workers_busy(pool.workers), 10);
    (void)pthread_mutex_unlock(&pool.gate);
    until_ended(&pool, 10);
    assert_int_equal(pool.most_running, 3);
    pool_done(&pool);
    free(jobs);
}

/* Where all threads are taken, jobs that release have others; each kind in its own order. */
static void test_releases(void **state)
{
    struct pool pool;
    struct pool_job releasing[3];

    (void)state;
    pool_init(&pool, 2);
    (void)pthread_mutex_lock(&pool.gate);
    struct pool_job *jobs = submit(&pool, 5);
    until_running(&pool, 2);
    for (int i = 0; i < 3; i++) {
        releasing[i] =
            (struct pool_job){.job = {.run = on_run, .end = on_end, .pool = POOL_RELEASES},
                              .pool = &pool,
                              .id = 10 + i};
        assert_int_equal(workers_submit(pool.workers, &releasing[i].job), 0);
    }
    until_running(&pool, 4);
    assert_int_equal(threads_made, 4);
    assert_int_equal(workers_busy(pool.workers), 8);
    assert_true(workers_withdraw(pool.workers, &releasing[2].job));
    assert_true(workers_withdraw(pool.workers, &jobs[4].job));
    (void)pthread_mutex_unlock(&pool.gate);
    until_ended(&pool, 6);
    assert_int_equal(workers_busy(pool.workers), 0);
    pool_done(&pool);
    free(jobs);
}

/* None stands behind jobs of another pool; of what is short only few run at a time. */
static void test_pools(void **state)
{
    struct pool pool;
    struct pool_job others[POOLS];
    struct pool_job shorts[8];

    (void)state;
    pool_init(&pool, 8);
    (void)pthread_mutex_lock(&pool.gate);
    struct pool_job *jobs = submit(&pool, 10);
    until_running(&pool, 8);
    for (int i = POOL_RELEASES; i < POOLS; i++) {
        others[i] = (struct pool_job){
            .job = {.run = on_run, .end = on_end, .pool = (enum workers_pool)i}, .pool = &pool};
        assert_int_equal(workers_submit(pool.workers, &others[i].job), 0);
    }
    until_running(&pool, 8 + POOLS - 1);
    for (int i = 0; i < 8; i++) {
        shorts[i] = (struct pool_job){.job = {.run = on_run, .end = on_end, .pool = POOL_SHORT},
                                      .pool = &pool};
        assert_int_equal(workers_submit(pool.workers, &shorts[i].job), 0);
    }
    until_running(&pool, 8 + POOLS - 1 + 3);
    assert_int_equal(threads_made, 8 + POOLS - 1 + 3);
    (void)pthread_mutex_unlock(&pool.gate);
    until_ended(&pool, 10 + POOLS - 1 + 8);
    pool_done(&pool);
    free(jobs);
}

/* A thread that was made in time: none need be made, and it stays. */
static void test_reserve(void **state)
{
    struct pool pool;
    struct pool_job job = {.job = {.run = on_run, .end = on_end, .pool = POOL_RELEASES},
                           .pool = &pool};
    size_t threads;
    size_t running;

    (void)state;
    pool_init(&pool, 1);
    atomic_store(&hurry, 60);
    assert_int_equal(workers_reserve(pool.workers), 0);
    assert_int_equal(threads_made, 1);
    atomic_store(&no_threads, true);
    for (int i = 1; i <= 20; i++) {
        job.ended = false;
        assert_int_equal(workers_submit(pool.workers, &job.job), 0);
        until_ended(&pool, i);
    }
    workers_count(pool.workers, &threads, &running);
    assert_int_equal(threads, 0); /* it is not one of those */
    atomic_store(&no_threads, false);
    assert_int_equal(threads_made, 1);
    pool_done(&pool);
}

static void test_no_reserve(void **state)
{
    struct pool pool;

    (void)state;
    pool_init(&pool, 1);
    atomic_store(&no_threads, true);
    assert_int_equal(workers_reserve(pool.workers), -EAGAIN);
    atomic_store(&no_threads, false);
    pool_done(&pool);
}

/* Threads are made on demand: as many as there is to do at once, and used again. */
static void test_on_demand(void **state)
{
    struct pool pool;

    (void)state;
    pool_init(&pool, 8);
    assert_int_equal(threads_made, 0);
    for (int i = 0; i < 20; i++) {
        struct pool_job *jobs = submit(&pool, 1);
        pool.ended = 0;
        until_ended(&pool, 1);
        free(jobs);
    }
    assert_in_range(threads_made, 1, 2); /* one that has just ended a job may not wait yet */
    (void)pthread_mutex_lock(&pool.gate);
    struct pool_job *jobs = submit(&pool, 5);
    until_running(&pool, 5); /* none waits behind another while there may be more threads */
    (void)pthread_mutex_unlock(&pool.gate);
    pool.ended = 0;
    until_ended(&pool, 5);
    assert_in_range(threads_made, 5, 6);
    pool_done(&pool);
    free(jobs);
}

/* Whoever had nothing to do for a while is gone; who is needed then is made anew. */
static void test_idle_exit(void **state)
{
    struct pool pool;

    (void)state;
    pool_init(&pool, 1);
    atomic_store(&hurry, 60);
    struct pool_job *jobs = submit(&pool, 1);
    until_ended(&pool, 1);
    for (int i = 0; atomic_load(&threads_made) < 3; i++) {
        assert_true(i < 2000);
        (void)ev_run(pool.loop, EVRUN_ONCE);
        pool.ended = 0;
        free(jobs);
        jobs = submit(&pool, 1);
        until_ended(&pool, 1);
    }
    pool_done(&pool);
    free(jobs);
}

static void test_free_unused(void **state)
{
    struct pool pool;

    (void)state;
    assert_null(workers_free(NULL));
    pool_init(&pool, 4);
    assert_int_equal(workers_busy(pool.workers), 0);
    pool_done(&pool);
    assert_int_equal(threads_made, 0);
}

static atomic_int gate_step; /* 1: it is held. 2: to be opened */

int __real_pthread_cond_broadcast(pthread_cond_t *condition);
int __wrap_pthread_cond_broadcast(pthread_cond_t *condition);

/* The pool has been told to close, and whoever runs hears of it no sooner than that. */
int __wrap_pthread_cond_broadcast(pthread_cond_t *condition)
{
    atomic_store(&gate_step, 2);
    return __real_pthread_cond_broadcast(condition);
}

static void *hold_and_open(void *argument)
{
    struct pool *pool = argument;

    (void)pthread_mutex_lock(&pool->gate);
    atomic_store(&gate_step, 1);
    while (atomic_load(&gate_step) < 2) {
        (void)sched_yield();
    }
    (void)pthread_mutex_unlock(&pool->gate);
    return NULL;
}

/* What runs is waited for; what was not begun is dropped. */
static void test_free_busy(void **state)
{
    struct pool pool;
    pthread_t opener;

    (void)state;
    pool_init(&pool, 2);
    atomic_store(&gate_step, 0);
    assert_int_equal(__real_pthread_create(&opener, NULL, hold_and_open, &pool), 0);
    while (atomic_load(&gate_step) < 1) {
        (void)sched_yield();
    }
    struct pool_job *jobs = submit(&pool, 6);
    until_running(&pool, 2);
    pool.workers = workers_free(pool.workers);
    (void)pthread_join(opener, NULL);
    pool_done(&pool);
    assert_int_equal(pool.ran, 2);
    assert_int_equal(pool.running, 0);
    assert_int_equal(pool.ended, 0);
    free(jobs);
}

static void test_no_thread(void **state)
{
    struct pool pool;
    struct pool_job job = {.job = {.run = on_run, .end = on_end}, .pool = &pool};

    (void)state;
    pool_init(&pool, 4);
    atomic_store(&no_threads, true);
    assert_int_equal(workers_submit(pool.workers, &job.job), -EAGAIN);
    assert_int_equal(workers_busy(pool.workers), 0);
    atomic_store(&no_threads, false);

    /* Where there is one already it has to do. */
    (void)pthread_mutex_lock(&pool.gate);
    struct pool_job *jobs = submit(&pool, 1);
    until_running(&pool, 1);
    atomic_store(&no_threads, true);
    assert_int_equal(workers_submit(pool.workers, &job.job), 0);
    (void)pthread_mutex_unlock(&pool.gate);
    until_ended(&pool, 2);
    assert_int_equal(threads_made, 1);
    atomic_store(&no_threads, false);
    pool_done(&pool);
    free(jobs);
}

/* An end may submit the next. */
static void on_end_again(struct job *job)
{
    struct pool_job *self = (struct pool_job *)(void *)job;

    if (++self->pool->ended < 100) {
        assert_int_equal(workers_submit(self->pool->workers, job), 0);
    }
}

static void test_chain(void **state)
{
    struct pool pool;
    struct pool_job job = {.job = {.run = on_run, .end = on_end_again}, .pool = &pool};

    (void)state;
    pool_init(&pool, 2);
    assert_int_equal(workers_submit(pool.workers, &job.job), 0);
    until_ended(&pool, 100);
    assert_int_equal(pool.ran, 100);
    assert_int_equal(workers_busy(pool.workers), 0);
    pool_done(&pool);
}

static void on_run_signals(struct job *job)
{
    struct pool_job *self = (struct pool_job *)(void *)job;
    sigset_t set;

    (void)pthread_sigmask(SIG_SETMASK, NULL, &set);
    self->ran = sigismember(&set, SIGTERM) == 1 && sigismember(&set, SIGINT) == 1;
}

/* Signals are the loop thread's business; and its own mask is as it was. */
static void test_signals(void **state)
{
    struct pool pool;
    struct pool_job job = {.job = {.run = on_run_signals, .end = on_end}, .pool = &pool};
    sigset_t set;

    (void)state;
    pool_init(&pool, 1);
    assert_int_equal(workers_submit(pool.workers, &job.job), 0);
    until_ended(&pool, 1);
    (void)pthread_sigmask(SIG_SETMASK, NULL, &set);
    assert_int_equal(sigismember(&set, SIGTERM), 0);
    pool_done(&pool);
}

/* Threads that wait for jobs keep no loop running. */
static void test_loop_ends(void **state)
{
    struct pool pool;

    (void)state;
    pool_init(&pool, 1);
    ev_timer_stop(pool.loop, &pool.tick);
    assert_false(ev_run(pool.loop, 0));
    ev_timer_start(pool.loop, &pool.tick);
    pool_done(&pool);
}

#ifndef PROTECT_SANITIZED
/* --- what a signal leaves behind --- */

enum { SECRET_BYTES = 256, BELOW_BYTES = 20 * 1024 };

struct interrupted {
    struct job job; /* first: the callbacks cast */
    char *secret, *copy;
    bool ended;
    size_t found; /* places on the stack that show a part of it */
};

/* Copies it, so that it stands in the registers, and waits for the signal with those. */
static void copy_and_wait(struct job *job)
{
    struct interrupted *self = (struct interrupted *)(void *)job;

    memcpy(self->copy, self->secret, SECRET_BYTES);
    (void)pause();
}

/* Where the job before has been, on the same thread. */
static void look_below(struct job *job)
{
    struct interrupted *self = (struct interrupted *)(void *)job;
    const volatile char *here = __builtin_frame_address(0);
    const volatile char *end = here - 512; /* its own frame, and those of what it calls */

    for (const volatile char *at = end - BELOW_BYTES; at < end; at++) {
        size_t same = 0;
        while (same < 8 && at[same] == self->secret[16 + same]) {
            same++;
        }
        self->found += same == 8;
    }
}

static void on_interrupted_end(struct job *job)
{
    ((struct interrupted *)(void *)job)->ended = true;
}

static void run_interrupted(struct pool *pool, struct interrupted *self, bool interrupt)
{
    self->ended = false;
    self->job.end = on_interrupted_end;
    assert_int_equal(workers_submit(pool->workers, &self->job), 0);
    while (!self->ended) {
        ev_run(pool->loop, EVRUN_ONCE);
        if (interrupt) {
            workers_interrupt(pool->workers, &self->job);
        }
    }
}

/* A signal saves the registers on the stack, with what was copied last. */
static void test_interrupt_leaves_nothing(void **state)
{
    struct interrupted self = {.secret = malloc(SECRET_BYTES), .copy = malloc(SECRET_BYTES)};
    struct pool pool;

    (void)state;
    assert_true(self.secret && self.copy);
    for (int i = 0; i < SECRET_BYTES; i++) {
        self.secret[i] = (char)(i * 7 + 1);
    }
    pool_init(&pool, 1);
    self.job.run = copy_and_wait;
    run_interrupted(&pool, &self, true);
    self.job.run = look_below;
    run_interrupted(&pool, &self, false);
    assert_int_equal(self.found, 0);
    pool_done(&pool);
    free(self.secret);
    free(self.copy);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_many),
        cmocka_unit_test(test_in_order),
        cmocka_unit_test(test_limit),
        cmocka_unit_test(test_on_demand),
        cmocka_unit_test(test_idle_exit),
        cmocka_unit_test(test_free_unused),
        cmocka_unit_test(test_free_busy),
        cmocka_unit_test(test_no_thread),
        cmocka_unit_test(test_chain),
        cmocka_unit_test(test_signals),
        cmocka_unit_test(test_loop_ends),
        cmocka_unit_test(test_releases),
        cmocka_unit_test(test_pools),
        cmocka_unit_test(test_reserve),
        cmocka_unit_test(test_no_reserve),
#ifndef PROTECT_SANITIZED
        cmocka_unit_test(test_interrupt_leaves_nothing),
#endif
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
