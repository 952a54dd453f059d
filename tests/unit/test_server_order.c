/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of order.c. */
#include "server_rig.h"

#include <stdlib.h>
#include <string.h>

#include "order.h"

/* A change in a small world where devices have names that renames move about. */
struct change {
    struct order_entry entry; /* first: the callbacks cast */
    int id;
    int refreshed;
    bool started, ended;
    int yielded_to;           /* id; 0: nobody */
    struct order *ends_in;    /* where it ends as soon as it is to yield; NULL: it goes on */
    struct dmi_device learns; /* minor 0: nothing; else this is what it finds out in its turn */
    const char *learns_name;
};

static int started[64]; /* ids in the order of their starts */
static size_t started_count;

static void on_refresh(struct order_entry *entry)
{
    struct change *change = (struct change *)(void *)entry;

    change->refreshed++;
    if (change->learns.minor) {
        order_add_device(entry, change->learns);
    }
    if (change->learns_name) {
        order_add_name(entry, change->learns_name);
    }
}

static void on_start(struct order_entry *entry)
{
    struct change *change = (struct change *)(void *)entry;

    assert_false(change->started);
    assert_true(entry->running);
    change->started = true;
    started[started_count++] = change->id;
}

static void on_yield(struct order_entry *entry, struct order_entry *by)
{
    struct change *change = (struct change *)(void *)entry;

    assert_int_equal(change->yielded_to, 0);
    change->yielded_to = ((struct change *)(void *)by)->id;
    if (change->ends_in) {
        change->ended = true;
        order_leave(change->ends_in, entry);
    }
}

static struct change change_of(int id, const char *name)
{
    struct change change = {.id = id};

    change.entry.refresh = on_refresh;
    change.entry.start = on_start;
    change.entry.yield = on_yield;
    if (name) {
        order_add_name(&change.entry, name);
    }
    return change;
}

static void enter(struct order *order, struct change *change)
{
    if (order_enter(order, &change->entry)) {
        on_start(&change->entry);
    }
}

static void assert_started(const char *ids)
{
    char found[65] = "";

    for (size_t i = 0; i < started_count; i++) {
        found[i] = (char)('0' + started[i]);
    }
    assert_string_equal(found, ids);
}

static int setup(void **state)
{
    (void)state;
    started_count = 0;
    return 0;
}

static void test_keys(void **state)
{
    struct order_entry entry = {0};

    (void)state;
    order_add_name(&entry, "x");
    order_add_name(&entry, "x"); /* once */
    assert_int_equal(entry.count, 1);
    order_add_uuid(&entry, "x"); /* another kind is another key */
    assert_int_equal(entry.count, 2);
    order_add_device(&entry, (struct dmi_device){254, 1});
    order_add_device(&entry, (struct dmi_device){1, 254});
    assert_int_equal(entry.count, 4);
    order_add_name(&entry, "");
    order_add_name(&entry, "y");
    order_add_name(&entry, "yy");
    order_add_name(&entry, "yyy");
    assert_int_equal(entry.count, ORDER_KEYS);
    assert_false(entry.all);
    order_add_name(&entry, "y");
    assert_false(entry.all);
    order_add_name(&entry, "one more"); /* rather wait too long than not at all */
    assert_int_equal(entry.count, ORDER_KEYS);
    assert_true(entry.all);
}

static void test_one_at_a_time(void **state)
{
    struct order order = {0};
    struct change a = change_of(1, "x"), b = change_of(2, "x"), c = change_of(3, "y"),
                  d = change_of(4, "x");

    (void)state;
    enter(&order, &a);
    enter(&order, &b);
    enter(&order, &c);
    enter(&order, &d);
    assert_started("13");
    assert_int_equal(order.count, 4);
    order_leave(&order, &c.entry);
    assert_started("13");
    order_leave(&order, &a.entry);
    assert_started("132");
    order_leave(&order, &b.entry);
    assert_started("1324");
    order_leave(&order, &d.entry);
    assert_int_equal(order.count, 0);
    assert_null(order.first);
    assert_null(order.last);
}

static void test_runs(void **state)
{
    struct order order = {0};
    struct change a = change_of(1, "x"), b = change_of(2, "x"), all = change_of(3, NULL);
    const struct dmi_device device = {254, 1};

    (void)state;
    all.entry.all = true;
    order_add_device(&b.entry, device);
    enter(&order, &a);
    enter(&order, &b);
    assert_false(order_runs(&order, device));
    order_leave(&order, &a.entry);
    assert_true(order_runs(&order, device));
    assert_false(order_runs(&order, (struct dmi_device){1, 254}));
    enter(&order, &all);
    order_leave(&order, &b.entry);
    assert_true(order_runs(&order, (struct dmi_device){1, 254}));
    order_leave(&order, &all.entry);
    assert_false(order_runs(&order, device));
}

/* Who waits holds up those behind it, though nothing that runs does. */
static void test_no_overtaking(void **state)
{
    struct order order = {0};
    struct change a = change_of(1, "x"), b = change_of(2, "x"), c = change_of(3, "y");

    (void)state;
    order_add_name(&b.entry, "y");
    enter(&order, &a);
    enter(&order, &b);
    enter(&order, &c); /* a free key of b, and b came first */
    assert_started("1");
    order_leave(&order, &a.entry);
    assert_started("12");
    order_leave(&order, &b.entry);
    assert_started("123");
    order_leave(&order, &c.entry);
}

static void test_all(void **state)
{
    struct order order = {0};
    struct change a = change_of(1, "x"), b = change_of(2, "y"), all = change_of(3, NULL),
                  c = change_of(4, "z"), d = change_of(5, "x");

    (void)state;
    all.entry.all = true;
    enter(&order, &a);
    enter(&order, &b);
    enter(&order, &all);
    enter(&order, &c);
    enter(&order, &d);
    assert_started("12");
    order_leave(&order, &b.entry);
    assert_started("12");
    order_leave(&order, &a.entry);
    assert_started("123");
    order_leave(&order, &all.entry);
    assert_started("12345"); /* both at once, in the order they came */
    order_leave(&order, &c.entry);
    order_leave(&order, &d.entry);
}

/* One that waits may give up. */
static void test_leave_waiting(void **state)
{
    struct order order = {0};
    struct change a = change_of(1, "x"), b = change_of(2, "x"), c = change_of(3, "x");
    struct change never = change_of(4, "x");

    (void)state;
    enter(&order, &a);
    enter(&order, &b);
    enter(&order, &c);
    order_leave(&order, &never.entry); /* it never entered */
    order_leave(&order, &b.entry);
    assert_started("1");
    order_leave(&order, &a.entry);
    assert_started("13");
    order_leave(&order, &c.entry);
    order_leave(&order, &c.entry);
    assert_int_equal(order.count, 0);
}

/* By another name of the same device: found out in its turn, it waits on. */
static void test_refresh(void **state)
{
    struct order order = {0};
    struct change a = change_of(1, "x"), b = change_of(2, "y"), c = change_of(3, "z");

    (void)state;
    order_add_device(&a.entry, (struct dmi_device){254, 1});
    b.learns = (struct dmi_device){254, 1};
    c.learns = (struct dmi_device){254, 2};
    enter(&order, &a);
    enter(&order, &b);
    enter(&order, &c);
    assert_started("13");
    assert_int_equal(b.refreshed, 1);
    order_leave(&order, &a.entry);
    assert_started("132");
    order_leave(&order, &b.entry);
    order_leave(&order, &c.entry);
}

/* A rename has run while it waited: it learns the new name, which another already waits for. */
static void test_refresh_after_rename(void **state)
{
    struct order order = {0};
    struct change rename = change_of(1, "x"), other = change_of(2, "w"),
                  by_name = change_of(3, "x");

    (void)state;
    order_add_name(&rename.entry, "y");
    enter(&order, &rename);
    enter(&order, &by_name);
    by_name.learns_name = "w";
    enter(&order, &other);
    assert_started("12");
    order_leave(&order, &rename.entry);
    assert_started("12"); /* "other" came later, but it runs already, on the same device */
    order_leave(&order, &other.entry);
    assert_started("123");
    order_leave(&order, &by_name.entry);
}

/* --- against a model that is too simple to be wrong --- */

enum { CHANGES = 40, NAMES = 5 };

struct model {
    struct change change;
    unsigned names;  /* bits: what it enters with */
    unsigned learns; /* what it finds out besides */
    bool entered;
};

static const char *const name_table[NAMES] = {"a", "b", "c", "d", "e"};
static struct model models[CHANGES];
static size_t entered_count;

static unsigned known(const struct model *m)
{
    return m->names | (m->change.refreshed ? m->learns : 0);
}

static void on_model_refresh(struct order_entry *entry)
{
    struct model *m = (struct model *)(void *)entry;

    m->change.refreshed++;
    for (int i = 0; i < NAMES; i++) {
        if (m->learns >> i & 1) {
            order_add_name(entry, name_table[i]);
        }
    }
}

static bool share(const struct model *a, const struct model *b)
{
    return a->change.entry.all || b->change.entry.all || (known(a) & known(b));
}

static void on_model_start(struct order_entry *entry)
{
    struct model *m = (struct model *)(void *)entry;

    assert_false(m->change.started);
    for (size_t i = 0; i < entered_count; i++) {
        const struct model *other = &models[i];
        if (other == m || !other->entered || !share(m, other)) {
            continue;
        }
        assert_false(other->change.started); /* never two of one device at once */
        assert_true(other > m);              /* and none overtakes one that waits */
    }
    m->change.started = true;
}

/* Nobody waits without somebody to wait for. */
static void check_nobody_forgotten(void)
{
    for (size_t i = 0; i < entered_count; i++) {
        const struct model *m = &models[i];
        bool excused = !m->entered || m->change.started;
        for (size_t j = 0; j < entered_count && !excused; j++) {
            const struct model *other = &models[j];
            excused = other != m && other->entered && (other < m || other->change.started) &&
                      share(m, other);
        }
        assert_true(excused);
    }
}

static unsigned random_of(uint32_t *seed, unsigned below)
{
    *seed = *seed * 1664525 + 1013904223;
    return (*seed >> 16) % below;
}

static void model_enter(struct order *order, uint32_t *seed)
{
    struct model *m = &models[entered_count++];

    *m = (struct model){.names = 1U << random_of(seed, NAMES), .entered = true};
    if (random_of(seed, 3) == 0) {
        m->names |= 1U << random_of(seed, NAMES);
    }
    if (random_of(seed, 2) == 0) {
        m->learns = 1U << random_of(seed, NAMES);
    }
    m->change.entry = (struct order_entry){.refresh = on_model_refresh, .start = on_model_start};
    m->change.entry.all = random_of(seed, 12) == 0;
    for (int i = 0; i < NAMES; i++) {
        if (m->names >> i & 1) {
            order_add_name(&m->change.entry, name_table[i]);
        }
    }
    if (order_enter(order, &m->change.entry)) {
        on_model_start(&m->change.entry);
    }
}

static void model_leave(struct order *order, uint32_t *seed)
{
    size_t from = random_of(seed, (unsigned)entered_count);

    for (size_t i = 0; i < entered_count; i++) {
        struct model *m = &models[(from + i) % entered_count];
        if (m->entered && (m->change.started || random_of(seed, 20) == 0)) {
            m->entered = false;
            order_leave(order, &m->change.entry);
            return;
        }
    }
}

/* One that drains and runs yields to the first that is to release it, and to no other. */
static void test_yield(void **state)
{
    struct order order = {0};
    struct change drains = change_of(1, "a");
    struct change plain = change_of(2, "a");
    struct change elsewhere = change_of(3, "b");
    struct change releases = change_of(4, "a");

    (void)state;
    drains.entry.drains = true;
    elsewhere.entry.releases = releases.entry.releases = true;
    enter(&order, &drains);
    enter(&order, &plain);
    enter(&order, &elsewhere);
    assert_int_equal(drains.yielded_to, 0);
    enter(&order, &releases);
    assert_int_equal(drains.yielded_to, 4);
    assert_false(releases.started);
    order_leave(&order, &drains.entry);
    assert_true(plain.started);
    assert_int_equal(plain.yielded_to, 0);
    order_leave(&order, &plain.entry);
    assert_true(releases.started);
    order_leave(&order, &releases.entry);
    order_leave(&order, &elsewhere.entry);
    assert_int_equal(order.count, 0);
}

/* One that is waited for already when its turn comes yields right away; it may end in there. */
static void test_yield_at_start(void **state)
{
    for (int ends = 0; ends < 2; ends++) {
        struct order order = {0};
        struct change before = change_of(1, "a");
        struct change drains = change_of(2, "a");
        struct change releases = change_of(3, "a");
        drains.entry.drains = true;
        drains.ends_in = ends ? &order : NULL;
        releases.entry.releases = true;
        enter(&order, &before);
        enter(&order, &drains);
        enter(&order, &releases);
        assert_int_equal(drains.yielded_to, 0);
        order_leave(&order, &before.entry);
        assert_int_equal(drains.yielded_to, 3);
        assert_int_equal(releases.started, ends);
        if (!ends) {
            order_leave(&order, &drains.entry);
        }
        assert_true(releases.started);
        order_leave(&order, &releases.entry);
        assert_int_equal(order.count, 0);
    }
    (void)state;
}

/* One that ends as it yields lets the other start before order_enter returns. */
static void test_yield_ends_at_once(void **state)
{
    struct order order = {0};
    struct change drains = change_of(1, "a");
    struct change releases = change_of(2, "a");

    (void)state;
    drains.entry.drains = true;
    drains.ends_in = &order;
    releases.entry.releases = true;
    enter(&order, &drains);
    enter(&order, &releases);
    assert_true(releases.started);
    order_leave(&order, &releases.entry);
    assert_int_equal(order.count, 0);
}

static void test_model(void **state)
{
    (void)state;
    for (uint32_t round = 1; round <= 400; round++) {
        struct order order = {0};
        uint32_t seed = round;
        entered_count = 0;
        while (entered_count < CHANGES) {
            if (entered_count == 0 || random_of(&seed, 3) > 0) {
                model_enter(&order, &seed);
            } else {
                model_leave(&order, &seed);
            }
            check_nobody_forgotten();
        }
        for (int i = 0; order.count > 0; i++) {
            assert_true(i < CHANGES * 2);
            model_leave(&order, &seed);
            check_nobody_forgotten();
        }
        assert_null(order.first);
        assert_null(order.last);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys),
        cmocka_unit_test_setup(test_one_at_a_time, setup),
        cmocka_unit_test_setup(test_runs, setup),
        cmocka_unit_test_setup(test_no_overtaking, setup),
        cmocka_unit_test_setup(test_all, setup),
        cmocka_unit_test_setup(test_leave_waiting, setup),
        cmocka_unit_test_setup(test_refresh, setup),
        cmocka_unit_test_setup(test_refresh_after_rename, setup),
        cmocka_unit_test_setup(test_yield, setup),
        cmocka_unit_test_setup(test_yield_at_start, setup),
        cmocka_unit_test_setup(test_yield_ends_at_once, setup),
        cmocka_unit_test(test_model),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
