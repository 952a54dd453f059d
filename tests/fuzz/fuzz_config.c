/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzzes the reading of a configuration file. Whatever is in it, it is used as a whole and all
 * that it says is within its bounds, or it is refused with one line that says why.
 *
 * Input: which allocation fails (255: none), then the file.
 */
#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"
#include "config.h"
#include "fuzz.h"
#include "json_memory.h"
#include "scarce.h"
#include "text.h"

static char path[32]; /* of the one file, which is memory */
static int fd = -1;

static void open_once(void)
{
    if (fd < 0) {
        json_memory_init();
        fd = memfd_create("config", MFD_CLOEXEC);
        CHECK(fd >= 0 && fchmod(fd, 0600) == 0);
        (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    }
}

static void write_file(const uint8_t *bytes, size_t size)
{
    CHECK(ftruncate(fd, 0) == 0);
    CHECK(pwrite(fd, bytes, size, 0) == (ssize_t)size);
}

/* For whoever reads a log: one line, without its end. */
static void check_line(const char *line)
{
    CHECK(line[0] && text_is_utf8(line));
    for (const char *c = line; *c; c++) {
        CHECK((unsigned char)*c >= ' ' && *c != '\x7f');
    }
}

static void on_remark(void *data, const char *remark)
{
    (void)data;
    check_line(remark);
}

static void check_used(const struct config_file *file)
{
    const struct rules_who root = {0};
    const struct method *method = method_find("table_load");
    const char *const names[] = {"8:0", "/dev/sda"};

    CHECK(!file->fault[0]);
    CHECK(!file->rules == !json_object_get(file->json, "rules"));
    for (size_t i = 0; i < type_limits.count; i++) {
        const struct field *field = &type_limits.fields[i];
        uint64_t value = config_limit(&file->config.limits, field);
        CHECK(value >= field->min && value <= field->max);
    }
    if (file->rules) {
        CHECK(rules_count(file->rules) == json_array_size(json_object_get(file->json, "rules")));
        const struct rules_device device = {"name", "uuid"};
        (void)rules_device(file->rules, &root, method, device);
        (void)rules_under(file->rules, &root, method, device, names, 2);
    }
    config_remark(file, on_remark, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct config_file file;

    if (size < 1) {
        return 0;
    }
    open_once();
    write_file(data + 1, size - 1);
    const long held = scarce_held();
    scarce_begin(data[0], data[0] < UINT8_MAX);
    int rc = config_read(path, &file);
    size_t failed = scarce_end();
    if (rc == 0) {
        check_used(&file);
    } else {
        check_line(file.fault);
    }
    CHECK(failed > 0 || rc != -ENOMEM);
    config_done(&file);
    CHECK(scarce_held() == held);
    return 0;
}
