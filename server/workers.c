/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The worker threads. It knows jobs, not what they do. One lock guards all lines (to run,
 * to end); the loop is woken once for any number of ends.
 */
#include "workers.h"

#include <errno.h>
#include <ev.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "protect.h"
#include "registers.h"

enum {
    IDLE_SECONDS = 10,
#ifdef PROTECT_SANITIZED
    STACK_BYTES = 512 * 1024,
#else
    /* All of it is there at once, as memory is locked: twice what the deepest request takes. */
    STACK_BYTES = 192 * 1024,
#endif
    INTERRUPT = SIGUSR1,
    /* So deep a job's system calls lie, and the registers of the widest CPU. */
    SIGNAL_BYTES = 32 * 1024,
    /* Below the loop, which has short calls to answer while long ones are worked on. */
    NICENESS = 10,
    MOST_SHORT = 4, /* more only share the processors */
};

struct line {
    struct job *first, *last;
};

/* All of it with the lock held. */
struct pool {
    struct workers *workers;
    int niceness;
    size_t most;         /* threads */
    size_t kept;         /* threads that stay when there is nothing to do */
    pthread_cond_t work; /* a job is there, or it is time to go */
    struct line waiting;
    size_t threads, idle, queued;
};

struct workers {
    struct ev_loop *loop;
    ev_async wake;
    size_t busy; /* loop thread only */
    pthread_attr_t attributes;

    pthread_mutex_t lock;
    pthread_cond_t gone; /* a thread has gone */
    struct pool pools[POOLS];
    struct line ended;
    bool closing;
};

static struct pool *pool_of(struct workers *workers, const struct job *job)
{
    return &workers->pools[job->pool];
}

static void line_push(struct line *line, struct job *job)
{
    job->next = NULL;
    if (line->last) {
        line->last->next = job;
    } else {
        line->first = job;
    }
    line->last = job;
}

static struct job *line_pop(struct line *line)
{
    struct job *job = line->first;
    if (job) {
        line->first = job->next;
        if (!line->first) {
            line->last = NULL;
        }
    }
    return job;
}

/* With the lock held; NULL: nothing came for a while, or it is time to go. */
static struct job *job_wait(struct pool *pool)
{
    struct workers *workers = pool->workers;
    struct timespec until;

    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += IDLE_SECONDS;
    pool->idle++;
    while (!pool->waiting.first && !workers->closing) {
        if (pool->threads <= pool->kept) {
            (void)pthread_cond_wait(&pool->work, &workers->lock);
        } else if (pthread_cond_timedwait(&pool->work, &workers->lock, &until) == ETIMEDOUT &&
                   pool->threads > pool->kept) { /* still: another may have gone just now */
            break;
        }
    }
    pool->idle--;
    if (workers->closing) {
        return NULL;
    }
    struct job *job = line_pop(&pool->waiting);
    pool->queued -= job != NULL;
    return job;
}

/* With the lock held. */
static void end_later(struct workers *workers, struct job *job)
{
    bool first = !workers->ended.first;

    job->state = JOB_IDLE;
    line_push(&workers->ended, job);
    if (first) {
        ev_async_send(workers->loop, &workers->wake);
    }
}

/* Of a worker: a signal came, from here or from somebody else. */
static _Thread_local volatile sig_atomic_t interrupted;

/*
 * A signal leaves the thread's registers on its stack, with what was copied or compared last:
 * that may be a key.
 */
__attribute__((noinline)) static void wipe_stack(void)
{
    char below[SIGNAL_BYTES];

    explicit_bzero(below, sizeof(below));
}

static void *worker_main(void *argument)
{
    struct pool *pool = argument;
    struct workers *workers = pool->workers;
    struct job *job;

    (void)setpriority(PRIO_PROCESS, (id_t)gettid(), pool->niceness); /* on Linux: of this thread */
    pthread_mutex_lock(&workers->lock);
    while ((job = job_wait(pool))) {
        job->state = JOB_RUNS;
        job->thread = pthread_self();
        pthread_mutex_unlock(&workers->lock);
        job->run(job);
        registers_clear();
        if (interrupted) {
            interrupted = 0;
            wipe_stack();
        }
        pthread_mutex_lock(&workers->lock);
        end_later(workers, job);
    }
    pool->threads--;
    pthread_cond_signal(&workers->gone);
    pthread_mutex_unlock(&workers->lock);
    return NULL;
}

static void on_wake(struct ev_loop *loop, ev_async *watcher, int events)
{
    struct workers *workers = watcher->data;
    struct line ended;
    struct job *job;

    (void)loop;
    (void)events;
    pthread_mutex_lock(&workers->lock);
    ended = workers->ended;
    workers->ended = (struct line){0};
    pthread_mutex_unlock(&workers->lock);
    while ((job = line_pop(&ended))) {
        workers->busy--;
        job->end(job);
    }
}

static void on_interrupt(int signal)
{
    (void)signal; /* that it came is all */
    interrupted = 1;
}

/* Without SA_RESTART, so that the system call it meets ends. It is for workers alone. */
static void catch_interrupt(void)
{
    const struct sigaction action = {.sa_handler = on_interrupt};
    sigset_t set;

    (void)sigaction(INTERRUPT, &action, NULL);
    (void)sigemptyset(&set);
    (void)sigaddset(&set, INTERRUPT);
    (void)pthread_sigmask(SIG_BLOCK, &set, NULL);
}

/* With the lock held. Signals are the loop thread's: a worker has all but one blocked. */
static int thread_add(struct pool *pool)
{
    sigset_t all;
    sigset_t before;
    pthread_t thread;

    (void)sigfillset(&all);
    (void)sigdelset(&all, INTERRUPT);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&thread, &pool->workers->attributes, worker_main, pool);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    pool->threads += rc == 0;
    return -rc;
}

static void pools_init(struct workers *workers, size_t most)
{
    pthread_condattr_t monotonic;

    (void)pthread_condattr_init(&monotonic);
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    for (int i = 0; i < POOLS; i++) {
        bool is_short = i == POOL_SHORT && most > MOST_SHORT;
        workers->pools[i].workers = workers;
        workers->pools[i].most = is_short ? MOST_SHORT : most;
        workers->pools[i].niceness = i == POOL_RELEASES ? 0 : NICENESS;
        (void)pthread_cond_init(&workers->pools[i].work, &monotonic);
    }
    (void)pthread_cond_init(&workers->gone, &monotonic);
    (void)pthread_condattr_destroy(&monotonic);
}

int workers_new(struct ev_loop *loop, size_t most, struct workers **ret_workers)
{
    struct workers *workers = calloc(1, sizeof(*workers));
    if (!workers) {
        return -ENOMEM;
    }
    catch_interrupt();
    workers->loop = loop;
    (void)pthread_mutex_init(&workers->lock, NULL);
    pools_init(workers, most);
    (void)pthread_attr_init(&workers->attributes);
    (void)pthread_attr_setdetachstate(&workers->attributes, PTHREAD_CREATE_DETACHED);
    (void)pthread_attr_setstacksize(&workers->attributes, STACK_BYTES);
    ev_async_init(&workers->wake, on_wake);
    workers->wake.data = workers;
    ev_async_start(loop, &workers->wake);
    ev_unref(loop); /* waiting for jobs keeps no loop running */
    *ret_workers = workers;
    return 0;
}

int workers_reserve(struct workers *workers)
{
    struct pool *pool = &workers->pools[POOL_RELEASES];

    pthread_mutex_lock(&workers->lock);
    int rc = thread_add(pool);
    pool->kept = rc == 0;
    pthread_mutex_unlock(&workers->lock);
    return rc;
}

struct workers *workers_free(struct workers *workers)
{
    if (!workers) {
        return NULL;
    }
    pthread_mutex_lock(&workers->lock);
    workers->closing = true;
    for (int i = 0; i < POOLS; i++) {
        pthread_cond_broadcast(&workers->pools[i].work);
        while (workers->pools[i].threads > 0) {
            pthread_cond_wait(&workers->gone, &workers->lock);
        }
    }
    pthread_mutex_unlock(&workers->lock);
    ev_ref(workers->loop);
    ev_async_stop(workers->loop, &workers->wake);
    (void)pthread_attr_destroy(&workers->attributes);
    (void)pthread_cond_destroy(&workers->gone);
    for (int i = 0; i < POOLS; i++) {
        (void)pthread_cond_destroy(&workers->pools[i].work);
    }
    (void)pthread_mutex_destroy(&workers->lock);
    free(workers);
    return NULL;
}

int workers_submit(struct workers *workers, struct job *job)
{
    struct pool *pool = pool_of(workers, job);
    int rc = 0;

    pthread_mutex_lock(&workers->lock);
    if (pool->idle <= pool->queued && pool->threads < pool->most) {
        rc = thread_add(pool);
    }
    if (pool->threads > 0) {
        rc = 0;
        line_push(&pool->waiting, job);
        job->state = JOB_WAITS;
        pool->queued++;
        workers->busy++;
        pthread_cond_signal(&pool->work);
    }
    pthread_mutex_unlock(&workers->lock);
    return rc;
}

static void line_remove(struct line *line, struct job *job)
{
    struct job *before = NULL;

    for (struct job *at = line->first; at != job; at = at->next) {
        before = at;
    }
    if (before) {
        before->next = job->next;
    } else {
        line->first = job->next;
    }
    if (line->last == job) {
        line->last = before;
    }
}

bool workers_withdraw(struct workers *workers, struct job *job)
{
    pthread_mutex_lock(&workers->lock);
    bool waits = job->state == JOB_WAITS;
    if (waits) {
        line_remove(&pool_of(workers, job)->waiting, job);
        job->state = JOB_IDLE;
        pool_of(workers, job)->queued--;
        workers->busy--;
    }
    pthread_mutex_unlock(&workers->lock);
    return waits;
}

void workers_end(struct workers *workers, struct job *job)
{
    pthread_mutex_lock(&workers->lock);
    workers->busy++;
    end_later(workers, job);
    pthread_mutex_unlock(&workers->lock);
}

void workers_interrupt(struct workers *workers, struct job *job)
{
    pthread_mutex_lock(&workers->lock);
    if (job->state == JOB_RUNS) {
        (void)pthread_kill(job->thread, INTERRUPT);
    }
    pthread_mutex_unlock(&workers->lock);
}

size_t workers_busy(const struct workers *workers)
{
    return workers->busy;
}

void workers_count(struct workers *workers, size_t *ret_threads, size_t *ret_running)
{
    pthread_mutex_lock(&workers->lock);
    const struct pool *pool = &workers->pools[POOL_CALLS];
    *ret_threads = pool->threads;
    *ret_running = pool->threads - pool->idle;
    pthread_mutex_unlock(&workers->lock);
}
