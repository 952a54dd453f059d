/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The list of calls that run or wait, and the ways to end one early. It knows the
 * stages of a call, not what it does.
 */
#include "calls.h"

#include <errno.h>
#include <stdio.h>

#include "call.h"
#include "container_of.h"
#include "dispatch.h"

/* A thread that a signal can free is free by then; in between nobody waits longer than asked. */
static const ev_tstamp NUDGE = 0.01, GRACE = 0.25, NUDGE_LATER = 0.1;

/* What is left of the time of a wait, or of what is tried again, may be nothing, and its answer is
 * still to be made. */
static const ev_tstamp TO_ANSWER = 1.;

static struct ev_loop *loop_of(const struct call *call)
{
    return call->dispatcher->loop;
}

/* --- what is told --- */

/* "its time of 500 ms was over", "call 7 cancelled it" */
static void put_reason(const struct call *call, enum error_id why, uint64_t by, char *to,
                       size_t size)
{
    if (why == ERROR_TIMED_OUT) {
        (void)snprintf(to, size, "its time of %u ms was over", call->life.timeout_ms);
    } else if (by == 0) {
        (void)snprintf(to, size, "its lease was over");
    } else {
        (void)snprintf(to, size, "call %llu ended it", (unsigned long long)by);
    }
}

static void set_failure(const struct call *call, struct failure *failure, enum error_id why,
                        uint64_t by, const char *what, const char *state, const char *hint)
{
    char reason[64];

    put_reason(call, why, by, reason, sizeof(reason));
    failure_set(failure, why, "%s%s%s %s: %s.", call->method->name, call->subject[0] ? " of " : "",
                call->subject, what, reason);
    failure->data.state = state;
    failure->data.hint = hint;
}

void calls_explain(struct call *call)
{
    struct failure *failure = &call->failure;
    const struct failure was = *failure;
    char state[sizeof(was.state)];

    failure_copy(state, sizeof(state), was.data.state ? was.data.state : "it had no effect");
    set_failure(call, failure, (enum error_id)atomic_load(&call->life.why),
                atomic_load(&call->life.by), "was interrupted", NULL, NULL);
    failure->data.errnum = was.data.errnum;
    failure->data.has_errnum = was.data.has_errnum;
    failure->data.errno_name = was.data.errno_name;
    failure->data.ioctl = was.data.ioctl;
    failure_copy(failure->state, sizeof(failure->state), state);
    failure->data.state = failure->state;
}

/* --- the list --- */

static void on_deadline(struct ev_loop *loop, ev_timer *watcher, int events)
{
    (void)loop;
    (void)events;
    (void)calls_stop(watcher->data, ERROR_TIMED_OUT, 0);
}

void calls_add(struct call *call, enum call_stage stage)
{
    struct calls *calls = &call->dispatcher->calls;
    struct call_life *life = &call->life;

    life->stage = stage;
    life->listed = true;
    life->previous = NULL;
    life->next = calls->first;
    if (calls->first) {
        calls->first->life.previous = call;
    }
    calls->first = call;
    calls->count++;
    ev_init(&life->nudge, NULL);
    ev_timer_init(&life->deadline, on_deadline, life->timeout_ms / 1000., 0.);
    life->deadline.data = life->nudge.data = call;
    if (life->has_timeout_ms) {
        ev_now_update(loop_of(call));
        ev_timer_start(loop_of(call), &life->deadline);
    }
}

void calls_awoke(struct call *call)
{
    struct call_life *life = &call->life;
    struct ev_loop *loop = loop_of(call);

    if (life->has_timeout_ms && ev_timer_remaining(loop, &life->deadline) < TO_ANSWER) {
        ev_timer_stop(loop, &life->deadline);
        ev_timer_set(&life->deadline, TO_ANSWER, 0.);
        ev_timer_start(loop, &life->deadline);
    }
}

void calls_remove(struct call *call)
{
    struct calls *calls = &call->dispatcher->calls;
    struct call_life *life = &call->life;

    if (!life->listed) {
        return;
    }
    life->listed = false;
    ev_timer_stop(loop_of(call), &life->deadline);
    ev_timer_stop(loop_of(call), &life->nudge);
    if (life->previous) {
        life->previous->life.next = life->next;
    } else {
        calls->first = life->next;
    }
    if (life->next) {
        life->next->life.previous = life->previous;
    }
    calls->count--;
}

struct call *calls_find(const struct calls *calls, uint64_t number)
{
    struct call *call = calls->first;

    while (call && call->number != number) {
        call = call->life.next;
    }
    return call;
}

/* --- ending early --- */

static void give_up(struct call *call)
{
    struct failure failure;

    set_failure(call, &failure, (enum error_id)atomic_load(&call->life.why),
                atomic_load(&call->life.by),
                "goes on without you, since the kernel does not let it "
                "be interrupted",
                "still running",
                "calls_list shows it until it has ended; changes of the device wait for that");
    if (dispatch_give_up(call, &failure)) {
        ev_timer_stop(loop_of(call), &call->life.nudge);
        call->life.nudge.repeat = NUDGE_LATER;
        ev_timer_again(loop_of(call), &call->life.nudge);
    }
}

static void explain_wait(struct call *call, enum error_id why, uint64_t by)
{
    if (why == ERROR_TIMED_OUT) {
        (void)call_fail(call, why, "No event of %s came within %u ms.", call->subject,
                        call->life.timeout_ms);
    } else {
        set_failure(call, &call->failure, why, by, "waited for an event", NULL, NULL);
    }
}

/* False: it has begun. Else it has ended, and may have been freed. */
static bool take_back(struct call *call, enum error_id why, uint64_t by)
{
    bool waits = call->life.stage == CALL_PARKED;

    if (!dispatch_withdraw(call)) {
        return false;
    }
    if (waits) {
        explain_wait(call, why, by);
    } else if (call->tries > 0) {
        calls_explain_tries(call, why, by);
    } else {
        set_failure(call, &call->failure, why, by, "waited for its turn and was not begun",
                    "as before: the call was not begun", NULL);
    }
    dispatch_end(call);
    return true;
}

/*
 * A call that is tried again, and whose time is over before its last try has run. That one may
 * still run if it does so soon: it finds out who holds the device.
 */
static bool has_last_try(const struct call *call, enum error_id why)
{
    return why == ERROR_TIMED_OUT && call->paused &&
           (call->life.stage == CALL_WORKER || call->life.stage == CALL_PAUSED);
}

static void on_nudge(struct ev_loop *loop, ev_timer *watcher, int events)
{
    struct call *call = watcher->data;
    struct call_life *life = &call->life;
    enum error_id why = (enum error_id)atomic_load(&life->why);
    ev_tstamp grace = has_last_try(call, why) ? TO_ANSWER : GRACE;

    (void)events;
    workers_interrupt(call->dispatcher->workers, &call->job);
    if (!life->given_up && ev_now(loop) - life->since >= grace &&
        !take_back(call, why, atomic_load(&life->by))) {
        give_up(call);
    }
}

void calls_interrupt(struct call *call, enum error_id why, uint64_t by)
{
    struct call_life *life = &call->life;

    if (atomic_load(&life->why) != ERROR_NONE) {
        return;
    }
    atomic_store(&life->by, by);
    atomic_store(&life->why, (int)why);
    ev_now_update(loop_of(call));
    life->since = ev_now(loop_of(call));
    ev_timer_init(&life->nudge, on_nudge, NUDGE, NUDGE);
    ev_timer_start(loop_of(call), &life->nudge);
    workers_interrupt(call->dispatcher->workers, &call->job);
}

/* Who has it tried until its time is over has the last try's error; so has the server's end. */
void calls_explain_tries(struct call *call, enum error_id why, uint64_t by)
{
    struct failure *failure = &call->failure;
    const char *times = call->tries == 1 ? "time" : "times";
    char what[64];

    if (why == ERROR_CANCELLED) {
        (void)snprintf(what, sizeof(what), "was tried %u %s while the device was busy", call->tries,
                       times);
        set_failure(call, failure, why, by, what, NULL, NULL);
    }
    (void)snprintf(failure->state, sizeof(failure->state), "as before; tried %u %s", call->tries,
                   times);
    failure->data.state = failure->state;
}

enum calls_stopped calls_stop(struct call *call, enum error_id why, uint64_t by)
{
    bool last = has_last_try(call, why);

    if (!last && take_back(call, why, by)) {
        return CALLS_ENDED;
    }
    calls_interrupt(call, why, by);
    if (last && call->life.stage == CALL_PAUSED) {
        dispatch_try_now(call);
    }
    return CALLS_INTERRUPTED;
}

void calls_end_paused(struct calls *calls)
{
    for (struct call *call = calls->first, *next; call; call = next) {
        next = call->life.next;
        if (call->life.stage == CALL_PAUSED) {
            (void)calls_stop(call, ERROR_SHUTTING_DOWN, 0);
        }
    }
}
