/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tests of ioctl_reply.c: a table of broken replies, every cut and every changed
 * byte of valid ones, and seeded random damage. Buffers are exactly as large as
 * what is in them, so that a sanitizer sees one byte too many.
 */
#include "ioctl_reply.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ioctl.h"
#include "script.h"

enum reply_kind { NAMES, OLD_NAMES, VERSIONS, TARGETS, DEPS, OUTPUT, KINDS };

/* --- valid replies --- */

struct reply {
    enum reply_kind kind;
    struct dm_ioctl *buffer; /* malloc'ed, of exactly `size` bytes */
    size_t size;
};

static struct script_bytes payload_of(enum reply_kind kind)
{
    static const struct {
        uint32_t count, padding;
        uint64_t devices[2];
    } deps = {2, 0, {0x0700, 0x10fe00}};
    struct script_bytes out = {0};

    switch (kind) {
    case NAMES:
        script_add_device(&out, 0xfe00, "abc", 7, DM_NAME_LIST_FLAG_HAS_UUID, "LVM-1");
        script_add_device(&out, 0xfe01, "abcd", 8, DM_NAME_LIST_FLAG_DOESNT_HAVE_UUID, NULL);
        script_add_device(&out, 0xfe02, "a", 9, DM_NAME_LIST_FLAG_HAS_UUID, "CRYPT-22");
        break;
    case OLD_NAMES:
        script_add_device_old(&out, 0xfe00, "abc");
        script_add_device_old(&out, 0xfe01, "abcd");
        break;
    case VERSIONS:
        script_add_version(&out, "zero", 1, 2, 3);
        script_add_version(&out, "linear", 1, 4, 0);
        break;
    case TARGETS:
        script_add_target(&out, 0, 8, "zero", "");
        script_add_target(&out, 8, 16, "linear", "7:0 2048");
        script_add_target(&out, 24, 8, "striped", "2 8 7:0 0 7:1 0");
        break;
    case DEPS:
        script_bytes_add(&out, &deps, sizeof(deps));
        break;
    default:
        script_bytes_add(&out, "output\n", sizeof("output\n"));
    }
    return out;
}

static struct reply reply_new(enum reply_kind kind)
{
    struct script_bytes out = payload_of(kind);
    struct reply reply = {.kind = kind, .size = sizeof(struct dm_ioctl) + out.size};

    reply.buffer = malloc(reply.size);
    assert_non_null(reply.buffer);
    *reply.buffer = (struct dm_ioctl){
        .version = {4, kind == OLD_NAMES ? 36 : 47, 0},
        .data_size = (uint32_t)reply.size,
        .data_start = sizeof(struct dm_ioctl),
        .target_count = 3,
        .flags = DM_DATA_OUT_FLAG,
        .dev = 0xfe00,
        .name = "name",
        .uuid = "uuid",
    };
    memcpy(reply.buffer + 1, out.data, out.size);
    script_bytes_done(&out);
    return reply;
}

static void reply_free(struct reply *reply)
{
    free(reply->buffer);
}

/* --- reading any of them --- */

/* What is read must lie in the bytes that the header claims, and end there. */
static void check_string(const struct reply *reply, const char *string)
{
    const char *start = (const char *)reply->buffer;

    assert_true(string >= start && string < start + reply->buffer->data_size);
    assert_true(strlen(string) < (size_t)(start + reply->buffer->data_size - string));
}

static int read_names(const struct reply *reply, struct ioctl_payload *payload)
{
    struct dmi_device_entry entry;
    size_t count = 0;
    int rc;

    while ((rc = ioctl_reply_next_device(payload, reply->buffer->version[1], &entry)) > 0) {
        check_string(reply, entry.name);
        assert_true(strlen(entry.name) <= DMI_NAME_MAX);
        if (entry.uuid && *entry.uuid) {
            check_string(reply, entry.uuid);
            assert_true(strlen(entry.uuid) <= DMI_UUID_MAX);
        }
        assert_true(++count <= reply->size);
    }
    return rc;
}

static int read_versions(const struct reply *reply, struct ioctl_payload *payload)
{
    struct dmi_target_version version;
    size_t count = 0;
    int rc;

    while ((rc = ioctl_reply_next_version(payload, &version)) > 0) {
        check_string(reply, version.name);
        assert_true(++count <= reply->size);
    }
    return rc;
}

static int read_targets(const struct reply *reply, struct ioctl_payload *payload)
{
    uint32_t count = reply->buffer->target_count;
    struct dmi_target target;
    int rc = 0;

    if (payload->end) {
        return 0;
    }
    if (!ioctl_reply_holds_targets(payload, count)) {
        return -EBADMSG;
    }
    for (uint32_t i = 0; i < count && rc == 0; i++) {
        rc = ioctl_reply_next_target(payload, i + 1 == count, &target);
        if (rc == 0) {
            check_string(reply, target.type);
            check_string(reply, target.params);
            assert_true(strlen(target.type) <= DMI_TYPE_MAX);
        }
    }
    return rc;
}

static int read_deps(const struct ioctl_payload *payload)
{
    struct dmi_device device;
    size_t count;
    int rc = ioctl_reply_deps_count(payload, &count);

    for (size_t i = 0; rc == 0 && i < count; i++) {
        rc = ioctl_reply_dep(payload, i, &device);
        if (rc == 0) {
            assert_true(device.major <= IOCTL_DEVICE_MAJOR_MAX);
            assert_true(device.minor <= IOCTL_DEVICE_MINOR_MAX);
        }
    }
    return rc;
}

static int reply_read(const struct reply *reply)
{
    struct ioctl_payload payload;
    struct dmi_info info;
    const char *output;
    int rc = ioctl_reply_check(reply->buffer, reply->size);

    if (rc < 0) {
        return rc;
    }
    ioctl_reply_info(reply->buffer, &info);
    assert_true(strlen(info.name) <= DMI_NAME_MAX);
    assert_true(strlen(info.uuid) <= DMI_UUID_MAX);
    rc = ioctl_reply_payload(reply->buffer, &payload);
    if (rc < 0) {
        return rc;
    }
    switch (reply->kind) {
    case NAMES:
    case OLD_NAMES:
        return read_names(reply, &payload);
    case VERSIONS:
        return read_versions(reply, &payload);
    case TARGETS:
        return read_targets(reply, &payload);
    case DEPS:
        return read_deps(&payload);
    default:
        rc = ioctl_reply_output(&payload, &output);
        if (rc == 0) {
            check_string(reply, output);
        }
        return rc;
    }
}

/* --- the tests --- */

static void test_valid(void **state)
{
    (void)state;
    for (int kind = 0; kind < KINDS; kind++) {
        struct reply reply = reply_new((enum reply_kind)kind);

        assert_int_equal(reply_read(&reply), 0);
        reply_free(&reply);
    }
}

static void test_info_flags(void **state)
{
    static const struct dm_ioctl buffer = {.flags = UINT32_MAX};
    struct dmi_info info;

    (void)state;
    ioctl_reply_info(&buffer, &info);
    /* States, and the bits that no header known here has a name for. */
    assert_int_equal(info.flags, DM_READONLY_FLAG | DM_SUSPEND_FLAG | DM_ACTIVE_PRESENT_FLAG |
                                     DM_INACTIVE_PRESENT_FLAG | DM_UEVENT_GENERATED_FLAG |
                                     DM_DATA_OUT_FLAG | DM_DEFERRED_REMOVE |
                                     DM_INTERNAL_SUSPEND_FLAG | (1U << 2) | (1U << 7) | 0xfff00000);
}

enum { PAYLOAD = 312 };

/* One number written somewhere into a valid reply, and what must come of it. */
struct mutation {
    const char *what;
    enum reply_kind kind;
    unsigned int width; /* bytes of `value`; with `all`, how many are set to its lowest */
    size_t offset;
    uint64_t value;
    bool all;
    int expected;
};

#define HEADER(member) offsetof(struct dm_ioctl, member)
#define NAME(member)   (PAYLOAD + offsetof(struct dm_name_list, member))
#define VERS(member)   (PAYLOAD + offsetof(struct dm_target_versions, member))
#define SPEC(member)   (PAYLOAD + offsetof(struct dm_target_spec, member))

/* The first record of NAMES takes 16 + 8 + 8 bytes, of VERSIONS 24, of TARGETS 48. */
static const struct mutation mutations[] = {
    {"major 3", NAMES, 4, HEADER(version[0]), 3, false, -EBADMSG},
    {"data_size under the header's", NAMES, 4, HEADER(data_size), 304, false, -EBADMSG},
    {"data_size 0", NAMES, 4, HEADER(data_size), 0, false, -EBADMSG},
    {"data_size past the buffer", NAMES, 4, HEADER(data_size), 4096, false, -EBADMSG},
    {"data_size of 4 GiB", NAMES, 4, HEADER(data_size), UINT32_MAX, false, -EBADMSG},
    {"data_start in the header", NAMES, 4, HEADER(data_start), 304, false, -EBADMSG},
    {"data_start 0", NAMES, 4, HEADER(data_start), 0, false, -EBADMSG},
    {"data_start past the end", NAMES, 4, HEADER(data_start), 8192, false, 0},
    {"device of 33 bits", NAMES, 8, HEADER(dev), UINT64_C(1) << 32, false, -EBADMSG},
    {"name without end", NAMES, DM_NAME_LEN, HEADER(name), 'n', true, -EBADMSG},
    {"uuid without end", NAMES, DM_UUID_LEN, HEADER(uuid), 'u', true, -EBADMSG},
    {"name of full length", NAMES, DM_NAME_LEN - 1, HEADER(name), 'n', true, 0},

    {"entry's device of 33 bits", NAMES, 8, NAME(dev), UINT64_C(1) << 32, false, -EBADMSG},
    {"first device 0: empty", NAMES, 8, NAME(dev), 0, false, 0},
    {"next odd", NAMES, 4, NAME(next), 33, false, -EBADMSG},
    {"next within the name", NAMES, 4, NAME(next), 8, false, -EBADMSG},
    {"next within the tail", NAMES, 4, NAME(next), 16, false, -EBADMSG},
    {"next within the uuid", NAMES, 4, NAME(next), 24, false, -EBADMSG},
    {"next at the very end", NAMES, 4, NAME(next), 104, false, -EBADMSG},
    {"next too near the end", NAMES, 4, NAME(next), 96, false, -EBADMSG},
    {"next past the end", NAMES, 4, NAME(next), 4096, false, -EBADMSG},
    {"next of 4 GiB", NAMES, 4, NAME(next), UINT32_MAX - 7, false, -EBADMSG},
    {"next 0: the others are skipped", NAMES, 4, NAME(next), 0, false, 0},
    {"entry's name without end", NAMES, 84, NAME(name), 'n', true, -EBADMSG},
    {"entry's uuid without end", NAMES, 8, PAYLOAD + 24, 'u', true, -EBADMSG},
    {"flags: no word of uuids", NAMES, 4, PAYLOAD + 20, 0, false, 0},
    {"old: next within the name", OLD_NAMES, 4, NAME(next), 8, false, -EBADMSG},
    {"old: read as new", OLD_NAMES, 4, HEADER(version[1]), 37, false, -EBADMSG},

    {"versions: next within the name", VERSIONS, 4, VERS(next), 16, false, -EBADMSG},
    {"versions: next odd", VERSIONS, 4, VERS(next), 20, false, -EBADMSG},
    {"versions: next past the end", VERSIONS, 4, VERS(next), 48, false, -EBADMSG},
    {"versions: next at the last byte", VERSIONS, 4, VERS(next), 40, false, -EBADMSG},
    {"versions: name without end", VERSIONS, 31, VERS(name), 'n', true, -EBADMSG},

    {"targets: none", TARGETS, 4, HEADER(target_count), 0, false, 0},
    {"targets: fewer", TARGETS, 4, HEADER(target_count), 1, false, 0},
    {"targets: one too many", TARGETS, 4, HEADER(target_count), 4, false, -EBADMSG},
    {"targets: 4 billion", TARGETS, 4, HEADER(target_count), UINT32_MAX, false, -EBADMSG},
    {"targets: next 0", TARGETS, 4, SPEC(next), 0, false, -EBADMSG},
    {"targets: next on itself", TARGETS, 4, SPEC(next) + 48, 48, false, -EBADMSG},
    {"targets: next backward", TARGETS, 4, SPEC(next) + 48, 8, false, -EBADMSG},
    {"targets: next within itself", TARGETS, 4, SPEC(next), 40, false, -EBADMSG},
    {"targets: next odd", TARGETS, 4, SPEC(next), 47, false, -EBADMSG},
    {"targets: next past the end", TARGETS, 4, SPEC(next), 4096, false, -EBADMSG},
    {"targets: next of 4 GiB", TARGETS, 4, SPEC(next), UINT32_MAX - 7, false, -EBADMSG},
    {"targets: the last one's next", TARGETS, 4, SPEC(next) + 104, 3, false, 0},
    {"targets: type without end", TARGETS, DM_MAX_TYPE_NAME, SPEC(target_type), 't', true, 0},
    {"targets: line into the next spec", TARGETS, 8, PAYLOAD + 40, 'p', true, -EBADMSG},
    {"targets: last line without end", TARGETS, 16, PAYLOAD + 104 + 40, 'p', true, -EBADMSG},

    {"deps: one too many", DEPS, 4, PAYLOAD, 3, false, -EBADMSG},
    {"deps: 4 billion", DEPS, 4, PAYLOAD, UINT32_MAX, false, -EBADMSG},
    {"deps: fewer", DEPS, 4, PAYLOAD, 1, false, 0},
    {"deps: device of 33 bits", DEPS, 8, PAYLOAD + 8, UINT64_C(1) << 32, false, -EBADMSG},
    {"deps: less than a head", DEPS, 4, HEADER(data_size), PAYLOAD + 7, false, -EBADMSG},

    {"output without end", OUTPUT, 8, PAYLOAD, 'o', true, -EBADMSG},
    {"no output at all", OUTPUT, 4, HEADER(data_size), PAYLOAD, false, -EBADMSG},
};

static void apply(const struct mutation *mutation, struct reply *reply)
{
    unsigned char *bytes = (unsigned char *)reply->buffer + mutation->offset;

    assert_true(mutation->offset + mutation->width <= reply->size);
    if (mutation->all) {
        memset(bytes, (int)mutation->value, mutation->width);
    } else {
        memcpy(bytes, &mutation->value, mutation->width); /* little endian, as all that test this */
    }
}

static void test_mutations(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(mutations) / sizeof(mutations[0]); i++) {
        struct reply reply = reply_new(mutations[i].kind);
        int rc;

        apply(&mutations[i], &reply);
        rc = reply_read(&reply);
        if (rc != mutations[i].expected) {
            fail_msg("%s: %d, not %d", mutations[i].what, rc, mutations[i].expected);
        }
        reply_free(&reply);
    }
}

/* Puts `gap` bytes between the first two records, and `next` right again. */
static void widen(struct reply *reply, size_t next_offset, size_t gap)
{
    unsigned char *payload;
    uint32_t next;

    reply->buffer = realloc(reply->buffer, reply->size + gap);
    assert_non_null(reply->buffer);
    payload = (unsigned char *)(reply->buffer + 1);
    memcpy(&next, payload + next_offset, sizeof(next));
    memmove(payload + next + gap, payload + next, reply->size - sizeof(struct dm_ioctl) - next);
    next += (uint32_t)gap;
    memcpy(payload + next_offset, &next, sizeof(next));
    reply->size += gap;
    reply->buffer->data_size = (uint32_t)reply->size;
    reply->buffer->target_count = 2;
}

/* Whole records, but where no kernel puts them. */
static void test_misaligned(void **state)
{
    static const struct {
        enum reply_kind kind;
        size_t next_offset;
    } cases[] = {
        {OLD_NAMES, offsetof(struct dm_name_list, next)},
        {VERSIONS, offsetof(struct dm_target_versions, next)},
        {TARGETS, offsetof(struct dm_target_spec, next)},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        for (size_t gap = 1; gap <= 8; gap++) {
            struct reply reply = reply_new(cases[i].kind);

            widen(&reply, cases[i].next_offset, gap);
            assert_int_equal(reply_read(&reply), gap == 8 ? 0 : -EBADMSG);
            reply_free(&reply);
        }
    }
}

/* Callers copy them into a struct dmi_info's strings: the kernel's limits hold here too. */
static void test_long_strings(void **state)
{
    static const struct {
        int name, uuid, expected;
    } cases[] = {{127, 128, 1}, {128, 128, -EBADMSG}, {127, 129, -EBADMSG}};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct script_bytes out = {0};
        struct ioctl_payload payload = {0};
        struct dmi_device_entry entry;
        char name[200] = {0}, uuid[200] = {0};

        memset(name, 'n', (size_t)cases[i].name);
        memset(uuid, 'u', (size_t)cases[i].uuid);
        script_add_device(&out, 0xfe00, name, 7, DM_NAME_LIST_FLAG_HAS_UUID, uuid);
        payload.bytes = out.data;
        payload.size = out.size;
        assert_int_equal(ioctl_reply_next_device(&payload, 45, &entry), cases[i].expected);
        script_bytes_done(&out);
    }
}

/* Every length that a kernel might have reported. */
static void test_cut(void **state)
{
    (void)state;
    for (int kind = 0; kind < KINDS; kind++) {
        struct reply whole = reply_new((enum reply_kind)kind);

        for (size_t size = sizeof(struct dm_ioctl); size < whole.size; size++) {
            struct reply reply = {.kind = whole.kind, .buffer = malloc(size), .size = size};

            assert_non_null(reply.buffer);
            memcpy(reply.buffer, whole.buffer, size);
            /* The one reported is larger than the buffer; then it is not. */
            assert_int_equal(reply_read(&reply), -EBADMSG);
            reply.buffer->data_size = (uint32_t)size;
            (void)reply_read(&reply);
            reply_free(&reply);
        }
        reply_free(&whole);
    }
}

/* Every value of every byte. */
static void test_every_byte(void **state)
{
    (void)state;
    for (int kind = 0; kind < KINDS; kind++) {
        struct reply reply = reply_new((enum reply_kind)kind);
        unsigned char *copy = malloc(reply.size);

        assert_non_null(copy);
        memcpy(copy, reply.buffer, reply.size);
        for (size_t i = 0; i < reply.size; i++) {
            for (unsigned int value = 0; value < 256; value++) {
                ((unsigned char *)reply.buffer)[i] = (unsigned char)value;
                (void)reply_read(&reply);
                memcpy(reply.buffer, copy, reply.size);
            }
        }
        free(copy);
        reply_free(&reply);
    }
}

static uint64_t random_state = 20240229;

static uint32_t random_below(uint32_t limit)
{
    random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(random_state >> 33) % limit;
}

/* Small numbers, numbers near the sizes, and any. */
static uint32_t random_word(size_t size)
{
    switch (random_below(4)) {
    case 0:
        return random_below(64);
    case 1:
        return (uint32_t)size - random_below(64);
    case 2:
        return UINT32_MAX - random_below(64);
    default:
        return random_below(UINT32_MAX);
    }
}

static void damage(struct reply *reply)
{
    unsigned char *bytes = (unsigned char *)reply->buffer;
    uint32_t word = random_word(reply->size - PAYLOAD);
    size_t offset;

    /* Mostly behind the header, where the structure is. */
    offset = random_below(4) ? PAYLOAD + random_below((uint32_t)(reply->size - PAYLOAD))
                             : random_below((uint32_t)reply->size);
    if (random_below(2)) {
        bytes[offset] = (unsigned char)random_below(256);
    } else {
        offset -= offset % 4;
        memcpy(bytes + offset, &word,
               reply->size - offset < sizeof(word) ? reply->size - offset : sizeof(word));
    }
}

static void test_random_damage(void **state)
{
    enum { ROUNDS = 200000 };
    size_t refused = 0;

    (void)state;
    for (int kind = 0; kind < KINDS; kind++) {
        struct reply reply = reply_new((enum reply_kind)kind);
        unsigned char *copy = malloc(reply.size);

        assert_non_null(copy);
        memcpy(copy, reply.buffer, reply.size);
        for (int round = 0; round < ROUNDS / KINDS; round++) {
            for (uint32_t times = 1 + random_below(4); times > 0; times--) {
                damage(&reply);
            }
            refused += reply_read(&reply) == -EBADMSG;
            memcpy(reply.buffer, copy, reply.size);
        }
        free(copy);
        reply_free(&reply);
    }
    /* Neither all nor none: the damage is such as to be worth looking at. */
    assert_in_range(refused, ROUNDS / 10, ROUNDS - ROUNDS / 10);
}

/* --- the same through the calls, whose memory is their own --- */

struct damaged {
    struct dmi_transport transport;
    struct reply *reply;
};

static int damaged_ioctl(struct dmi_transport *transport, enum dmi_ioctl nr,
                         struct dm_ioctl *buffer)
{
    struct damaged *damaged = (struct damaged *)(void *)transport;
    size_t size = buffer->data_size;

    (void)nr;
    memcpy(buffer, damaged->reply->buffer,
           size < damaged->reply->size ? size : damaged->reply->size);
    return 0;
}

static void call_all(struct dmi *dm)
{
    struct dmi_id id = script_by_name("n");
    struct dmi_device_list list;
    struct dmi_target_versions versions;
    struct dmi_version version;
    struct dmi_table table;
    struct dmi_deps deps;
    struct dmi_message message;

    if (dmi_list_devices(dm, "a", NULL, &list) == 0) {
        dmi_device_list_done(&list);
    }
    if (dmi_list_versions(dm, &versions) == 0) {
        dmi_target_versions_done(&versions);
    }
    (void)dmi_target_version(dm, "zero", &version);
    if (dmi_table_status(dm, &id, 0, &table) == 0) {
        dmi_table_done(&table);
    }
    if (dmi_table_deps(dm, &id, 0, &deps) == 0) {
        dmi_deps_done(&deps);
    }
    if (dmi_target_msg(dm, &id, 0, "m", 0, 500, &message) == 0) {
        dmi_message_done(&message);
    }
}

static void test_random_damage_to_calls(void **state)
{
    enum { ROUNDS = 3000 };

    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        struct reply reply = reply_new((enum reply_kind)(round % KINDS));
        struct damaged damaged = {.transport = {.ioctl = damaged_ioctl}, .reply = &reply};
        struct dmi dm;

        for (uint32_t times = random_below(4); times > 0; times--) {
            damage(&reply);
        }
        dmi_init(&dm, &damaged.transport);
        dm.max_reply = 65536;
        call_all(&dm);
        reply_free(&reply);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_valid),
        cmocka_unit_test(test_info_flags),
        cmocka_unit_test(test_mutations),
        cmocka_unit_test(test_misaligned),
        cmocka_unit_test(test_cut),
        cmocka_unit_test(test_long_strings),
        cmocka_unit_test(test_every_byte),
        cmocka_unit_test(test_random_damage),
        cmocka_unit_test(test_random_damage_to_calls),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
