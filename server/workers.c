/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pool of worker threads. It knows jobs, not what they do. One lock guards
 * both lines (to run, to end); the loop is woken once for any number of ends.
 */
#include "workers.h"

#include <errno.h>
#include <ev.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum {
    IDLE_SECONDS = 10,
    STACK_BYTES = 512 * 1024,
    NICENESS =
        10 /* below the loop, which has short calls to answer while long ones are worked on */
};

struct line {
    struct job *first, *last;
};

struct workers {
    struct ev_loop *loop;
    ev_async wake;
    size_t most;
    size_t busy; /* loop thread only */
    pthread_attr_t attributes;

    pthread_mutex_t lock;
    pthread_cond_t work; /* a job is there, or it is time to go */
    pthread_cond_t gone; /* a thread has gone */
    struct line waiting, ended;
    size_t threads, idle, queued;
    bool closing;
};

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
static struct job *job_wait(struct workers *workers)
{
    struct timespec until;

    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += IDLE_SECONDS;
    workers->idle++;
    while (!workers->waiting.first && !workers->closing) {
        if (pthread_cond_timedwait(&workers->work, &workers->lock, &until) == ETIMEDOUT) {
            break;
        }
    }
    workers->idle--;
    if (workers->closing) {
        return NULL;
    }
    struct job *job = line_pop(&workers->waiting);
    workers->queued -= job != NULL;
    return job;
}

static void *worker_main(void *argument)
{
    struct workers *workers = argument;
    struct job *job;

    (void)setpriority(PRIO_PROCESS, (id_t)gettid(), NICENESS); /* on Linux: of this thread */
    pthread_mutex_lock(&workers->lock);
    while ((job = job_wait(workers))) {
        pthread_mutex_unlock(&workers->lock);
        job->run(job);
        pthread_mutex_lock(&workers->lock);
        bool first = !workers->ended.first;
        line_push(&workers->ended, job);
        if (first) {
            ev_async_send(workers->loop, &workers->wake);
        }
    }
    workers->threads--;
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

/* With the lock held. Signals are the loop thread's: a worker has them blocked. */
static int thread_add(struct workers *workers)
{
    sigset_t all;
    sigset_t before;
    pthread_t thread;

    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&thread, &workers->attributes, worker_main, workers);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    workers->threads += rc == 0;
    return -rc;
}

int workers_new(struct ev_loop *loop, size_t most, struct workers **ret_workers)
{
    pthread_condattr_t monotonic;
    struct workers *workers = calloc(1, sizeof(*workers));
    if (!workers) {
        return -ENOMEM;
    }
    workers->loop = loop;
    workers->most = most;
    (void)pthread_mutex_init(&workers->lock, NULL);
    (void)pthread_condattr_init(&monotonic);
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&workers->work, &monotonic);
    (void)pthread_cond_init(&workers->gone, &monotonic);
    (void)pthread_condattr_destroy(&monotonic);
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

struct workers *workers_free(struct workers *workers)
{
    if (!workers) {
        return NULL;
    }
    pthread_mutex_lock(&workers->lock);
    workers->closing = true;
    pthread_cond_broadcast(&workers->work);
    while (workers->threads > 0) {
        pthread_cond_wait(&workers->gone, &workers->lock);
    }
    pthread_mutex_unlock(&workers->lock);
    ev_ref(workers->loop);
    ev_async_stop(workers->loop, &workers->wake);
    (void)pthread_attr_destroy(&workers->attributes);
    (void)pthread_cond_destroy(&workers->gone);
    (void)pthread_cond_destroy(&workers->work);
    (void)pthread_mutex_destroy(&workers->lock);
    free(workers);
    return NULL;
}

int workers_submit(struct workers *workers, struct job *job)
{
    int rc = 0;

    pthread_mutex_lock(&workers->lock);
    if (workers->idle <= workers->queued && workers->threads < workers->most) {
        rc = thread_add(workers);
    }
    if (workers->threads > 0) {
        rc = 0;
        line_push(&workers->waiting, job);
        workers->queued++;
        workers->busy++;
        pthread_cond_signal(&workers->work);
    }
    pthread_mutex_unlock(&workers->lock);
    return rc;
}

size_t workers_busy(const struct workers *workers)
{
    return workers->busy;
}

void workers_count(struct workers *workers, size_t *ret_threads, size_t *ret_running)
{
    pthread_mutex_lock(&workers->lock);
    *ret_threads = workers->threads;
    *ret_running = workers->threads - workers->idle;
    pthread_mutex_unlock(&workers->lock);
}
