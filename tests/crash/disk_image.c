/*
 * disk_image.c - from a journal to platters, from platters to images.
 *
 * Knows the journal; must never know what a store is.
 */
#include "disk_image.h"

#include "test_random.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SECTOR = 512 };

enum data_choice {
    DATA_NOW,
    DATA_SYNCED,
    DATA_ZEROS,
    DATA_PREFIX,
    DATA_SUBSET,
    DATA_SECTORS,
    DATA_LAST,
    DATA_UNCUT,
    DATA_STALE,
};

enum names_choice {
    NAMES_NOW,
    NAMES_SYNCED,
    NAMES_PREFIX,
    NAMES_SUBSET,
    NAMES_DOUBLED,
};

static const struct {
    const char *name;
    enum data_choice data;
    enum names_choice names;
} kinds[] = {

#define DISK_IMAGE_CHOICES(kind, name, data, names) {name, data, names},
    DISK_IMAGES(DISK_IMAGE_CHOICES)
#undef DISK_IMAGE_CHOICES
};

const char *disk_image_kind_name(disk_image_kind kind) {
    return kinds[kind].name;
}

disk_image_kind disk_image_kind_of(const char *name) {
    unsigned kind = 0;
    while (kind < IMAGE_KINDS && strcmp(kinds[kind].name, name) != 0)
        kind++;
    return (disk_image_kind)kind;
}

/* ------------------------------------------------------------------- bytes */

static void *must(void *allocated) {
    if (allocated == NULL)
        abort();
    return allocated;
}

static void set_size(toon_buf *buf, size_t size) {
    if (size > buf->size) {
        if (!toon_buf_reserve(buf, size - buf->size))
            abort();
        memset(buf->data + buf->size, 0, size - buf->size);
    }
    buf->size = size;
}

static void put_at(toon_buf *buf, uint64_t offset, const char *bytes,
                   size_t size) {
    if (size == 0)
        return;
    if (buf->size < offset + size)
        set_size(buf, offset + size);
    memcpy(buf->data + offset, bytes, size);
}

static void copy_bytes(toon_buf *to, const toon_buf *from) {
    to->size = 0;
    put_at(to, 0, from->data, from->size);
}

static void apply(toon_buf *buf, const disk_op *op) {
    if (op->kind == DISK_WRITE)
        put_at(buf, op->offset, op->bytes, op->size);
    else if (op->kind == DISK_TRUNCATE)
        set_size(buf, op->offset);
}

/* Where the sector of `offset` ends, or the write does. */
static size_t sector_end(const disk_op *op, size_t done) {
    size_t to = done + SECTOR - (op->offset + done) % SECTOR;
    return to < op->size ? to : op->size;
}

/* ---------------------------------------------------------------- platters */

static void push(size_t **items, size_t *count, size_t *capacity, size_t item) {
    if (*count == *capacity) {
        *capacity = *capacity * 2 + 16;
        *items = must(realloc(*items, *capacity * sizeof **items));
    }
    (*items)[(*count)++] = item;
}

void disk_platters_init(const disk_journal *journal, disk_platters *out) {
    size_t nodes = (size_t)journal->nodes;
    *out = (disk_platters){.journal = journal, .lie = SIZE_MAX};
    out->nodes = must(calloc(nodes, sizeof *out->nodes));
    out->nodes[0].is_dir = true;
}

void disk_platters_free(disk_platters *platters) {
    for (int i = 0; i < platters->journal->nodes; i++) {
        toon_buf_free(&platters->nodes[i].now);
        toon_buf_free(&platters->nodes[i].synced);
        free(platters->nodes[i].unsynced);
    }
    free(platters->nodes);
    free(platters->unsynced);
    disk_names_free(&platters->names);
    disk_names_free(&platters->names_synced);
    *platters = (disk_platters){0};
}

static bool lied(const disk_platters *platters, size_t at) {
    return at == platters->lie || platters->journal->ops[at].lied;
}

/* Names that were lied about are never there for good. */
static void sync_names(disk_platters *platters, int dir) {
    size_t kept = 0;
    for (size_t i = 0; i < platters->unsynced_count; i++) {
        size_t at = platters->unsynced[i];
        const disk_op *op = &platters->journal->ops[at];
        if (op->dir != dir)
            platters->unsynced[kept++] = at;
        else if (!lied(platters, at))
            disk_names_apply(&platters->names_synced, op);
    }
    platters->unsynced_count = kept;
}

static void sync_node(disk_platters *platters, size_t at) {
    const disk_op *op = &platters->journal->ops[at];
    disk_platter *node = &platters->nodes[op->node];
    if (lied(platters, at))
        return;
    if (node->is_dir) {
        sync_names(platters, op->node);
        return;
    }
    copy_bytes(&node->synced, &node->now);
    node->unsynced_count = 0;
}

/* A write that claimed more than it took. */
static disk_op half_of(const disk_op *op) {
    disk_op half = *op;
    half.size = op->size / 2;
    return half;
}

static void change_node(disk_platters *platters, size_t at) {
    const disk_op *op = &platters->journal->ops[at];
    disk_platter *node = &platters->nodes[op->node];
    if (at == platters->lie && op->kind == DISK_WRITE) {
        disk_op half = half_of(op);
        apply(&node->now, &half);
        return; /* what is there is as good as synced: the rest never comes */
    }
    apply(&node->now, op);
    push(&node->unsynced, &node->unsynced_count, &node->unsynced_capacity, at);
}

static void step(disk_platters *platters, size_t at) {
    const disk_op *op = &platters->journal->ops[at];
    if (op->kind == DISK_SYNC) {
        sync_node(platters, at);
    } else if (disk_op_is_naming(op)) {
        if (op->kind == DISK_CREATE)
            platters->nodes[op->node].is_dir = op->is_dir;
        disk_names_apply(&platters->names, op);
        push(&platters->unsynced, &platters->unsynced_count,
             &platters->unsynced_capacity, at);
    } else if (op->kind != DISK_ALLOCATE) {
        change_node(platters, at);
    }
}

void disk_platters_advance(disk_platters *platters, size_t at) {
    while (platters->at < at)
        step(platters, platters->at++);
}

bool disk_platters_are_clean(const disk_platters *platters) {
    bool clean = platters->unsynced_count == 0;
    for (int i = 0; clean && i < platters->journal->nodes; i++)
        clean = platters->nodes[i].unsynced_count == 0;
    return clean;
}

/* ------------------------------------------------------------ data, chosen */

/* What choosing needs of one file. */
struct choosing {
    const disk_platters *platters;
    const disk_platter *node;
    uint64_t *random;
    toon_buf *out; /* begins as what was synced */
};

static bool toss(const struct choosing *self) {
    return random_below(self->random, 2) == 0;
}

static const disk_op *unsynced(const struct choosing *self, size_t i) {
    return &self->platters->journal->ops[self->node->unsynced[i]];
}

/* Some sectors of a write: with `whole` the first ones, else any. */
static void apply_torn(const struct choosing *self, const disk_op *op,
                       bool first_ones) {
    bool keeps = true;
    for (size_t done = 0; done < op->size;) {
        size_t end = sector_end(op, done);
        keeps = first_ones ? keeps && random_below(self->random, 4) != 0
                           : toss(self);
        if (keeps)
            put_at(self->out, op->offset + done, op->bytes + done, end - done);
        done = end;
    }
    if (self->out->size < op->offset + op->size && toss(self))
        set_size(self->out, op->offset + op->size);
}

/* The first calls, and some sectors of the next. */
static void choose_prefix(const struct choosing *self) {
    size_t count = random_below(self->random, self->node->unsynced_count + 1);
    for (size_t i = 0; i < count; i++)
        apply(self->out, unsynced(self, i));
    if (count == self->node->unsynced_count)
        return;
    if (unsynced(self, count)->kind == DISK_WRITE)
        apply_torn(self, unsynced(self, count), true);
}

static void choose_subset(const struct choosing *self) {
    size_t kept_of_8 = random_below(self->random, 9);
    for (size_t i = 0; i < self->node->unsynced_count; i++) {
        const disk_op *op = unsynced(self, i);
        if (random_below(self->random, 8) < kept_of_8)
            apply(self->out, op);
        else if (op->kind == DISK_WRITE && toss(self))
            apply_torn(self, op, false);
    }
}

/* The last few calls arrived, those before did not; or all but the first. */
static void choose_last(const struct choosing *self) {
    size_t count = self->node->unsynced_count;
    size_t few = 1 + random_below(self->random, 3);
    size_t first = toss(self) ? 1 : count > few ? count - few : 0;
    for (size_t i = first; i < count; i++)
        apply(self->out, unsynced(self, i));
}

/* What was written arrived, that it was cut did not. */
static void choose_uncut(const struct choosing *self) {
    for (size_t i = 0; i < self->node->unsynced_count; i++) {
        if (unsynced(self, i)->kind == DISK_WRITE)
            apply(self->out, unsynced(self, i));
    }
}

/* Each sector, and the size, as it was at some moment since the sync. */
static void choose_sectors(const struct choosing *self) {
    size_t count = self->node->unsynced_count;
    size_t sectors = self->node->now.size / SECTOR + 1;
    size_t *moments = must(malloc(sectors * sizeof *moments));
    size_t size_moment = toss(self) ? count : random_below(self->random, count);
    toon_buf then = {0};
    for (size_t i = 0; i < sectors; i++)
        moments[i] = random_below(self->random, count + 1);
    self->out->size = 0;
    set_size(self->out, self->node->now.size);
    copy_bytes(&then, &self->node->synced);
    size_t size = then.size;
    for (size_t moment = 0; moment <= count; moment++) {
        if (moment > 0)
            apply(&then, unsynced(self, moment - 1));
        if (moment == size_moment)
            size = then.size;
        for (size_t i = 0; i < sectors; i++) {
            if (moments[i] != moment || i * SECTOR >= then.size)
                continue;
            size_t rest = then.size - i * SECTOR;
            put_at(self->out, i * SECTOR, then.data + i * SECTOR,
                   rest < SECTOR ? rest : SECTOR);
        }
    }
    set_size(self->out, size);
    toon_buf_free(&then);
    free(moments);
}

static bool has_name(const disk_names *names, int node) {
    for (size_t i = 0; i < names->count; i++) {
        if (names->items[i].node == node)
            return true;
    }
    return false;
}

/* A file that is gone, whose blocks may be given to others. */
static const toon_buf *freed_bytes(const struct choosing *self) {
    size_t nodes = (size_t)self->platters->journal->nodes;
    size_t start = random_below(self->random, nodes);
    for (size_t i = 0; i < nodes; i++) {
        size_t node = (start + i) % nodes;
        const toon_buf *bytes = &self->platters->nodes[node].now;
        if (bytes->size > SECTOR &&
            !has_name(&self->platters->names, (int)node))
            return bytes;
    }
    return NULL;
}

/* Grown, and other files' old blocks where the data should be. */
static void choose_stale(const struct choosing *self) {
    const toon_buf *other = freed_bytes(self);
    size_t synced = self->out->size;
    choose_prefix(self);
    if (self->out->size < self->node->now.size)
        set_size(self->out, self->node->now.size);
    size_t at = (synced + SECTOR - 1) / SECTOR * SECTOR;
    while (other != NULL && at < self->out->size) {
        size_t rest = self->out->size - at;
        size_t sectors = other->size / SECTOR;
        size_t from = toss(self) ? at / SECTOR % sectors
                                 : random_below(self->random, sectors);
        if (toss(self))
            put_at(self->out, at, other->data + from * SECTOR,
                   rest < SECTOR ? rest : SECTOR);
        at += SECTOR;
    }
}

static void choose_data(const disk_platters *platters, enum data_choice choice,
                        const disk_platter *node, uint64_t *random,
                        toon_buf *out) {
    struct choosing self = {platters, node, random, out};
    copy_bytes(out, choice == DATA_NOW ? &node->now : &node->synced);
    if (node->unsynced_count == 0 || choice == DATA_NOW ||
        choice == DATA_SYNCED) {
        if (node->unsynced_count == 0) /* a write that lied counts as synced */
            copy_bytes(out, &node->now);
        return;
    }
    switch (choice) {
    case DATA_ZEROS:
        if (node->now.size > out->size)
            set_size(out, node->now.size);
        break;
    case DATA_PREFIX:
        choose_prefix(&self);
        break;
    case DATA_SUBSET:
        choose_subset(&self);
        break;
    case DATA_SECTORS:
        choose_sectors(&self);
        break;
    case DATA_LAST:
        choose_last(&self);
        break;
    case DATA_UNCUT:
        choose_uncut(&self);
        break;
    case DATA_STALE:
        choose_stale(&self);
        break;
    case DATA_NOW:
    case DATA_SYNCED:
        break;
    }
}

/* ----------------------------------------------------------- names, chosen */

/* As on a disk where a rename is a link and then an unlink. */
static void link_only(disk_names *names, const disk_op *op) {
    disk_op link = *op;
    if (op->kind == DISK_RENAME)
        link.kind = DISK_LINK;
    disk_names_apply(names, &link);
}

static void choose_names(const disk_platters *platters,
                         enum names_choice choice, uint64_t *random,
                         disk_names *out) {
    size_t count = platters->unsynced_count;
    size_t first = random_below(random, count + 1);
    disk_names_copy(out, choice == NAMES_NOW ? &platters->names
                                             : &platters->names_synced);
    if (choice == NAMES_NOW || choice == NAMES_SYNCED)
        return;
    for (size_t i = 0; i < count; i++) {
        const disk_op *op = &platters->journal->ops[platters->unsynced[i]];
        bool there =
            choice == NAMES_SUBSET ? random_below(random, 2) == 0 : i < first;
        if (!there)
            continue;
        if (choice == NAMES_DOUBLED && random_below(random, 2) == 0)
            link_only(out, op);
        else
            disk_names_apply(out, op);
    }
}

/* ------------------------------------------------------------------ images */

/* The write that goes on when the process is killed. */
static void tear_next(const disk_platters *platters, uint64_t *random,
                      disk_image *image) {
    const disk_journal *journal = platters->journal;
    if (platters->at >= journal->count)
        return;
    const disk_op *op = &journal->ops[platters->at];
    if (op->kind != DISK_WRITE || op->size < 2)
        return;
    size_t size = 1 + random_below(random, op->size - 1);
    put_at(&image->nodes[op->node].now, op->offset, op->bytes, size);
}

void disk_image_build(const disk_platters *platters, disk_image_kind kind,
                      uint64_t seed, disk_image *out) {
    uint64_t random = (seed + 1) * 0x9e3779b97f4a7c15u | 1;
    size_t nodes = (size_t)platters->journal->nodes;
    *out = (disk_image){.node_count = platters->journal->nodes};
    out->nodes = must(calloc(nodes, sizeof *out->nodes));
    (void)random_next(&random);
    choose_names(platters, kinds[kind].names, &random, &out->names);
    for (size_t i = 0; i < nodes; i++) {
        const disk_platter *node = &platters->nodes[i];
        out->nodes[i].is_dir = node->is_dir;
        if (!node->is_dir && has_name(&out->names, (int)i))
            choose_data(platters, kinds[kind].data, node, &random,
                        &out->nodes[i].now);
    }
    if (kind == IMAGE_KILL_TORN)
        tear_next(platters, &random, out);
}

void disk_image_free(disk_image *image) {
    for (int i = 0; i < image->node_count; i++)
        toon_buf_free(&image->nodes[i].now);
    free(image->nodes);
    disk_names_free(&image->names);
    *image = (disk_image){0};
}

static void write_file(int dir, const char *name, const toon_buf *bytes) {
    int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    size_t done = 0;
    while (fd >= 0 && done < bytes->size) {
        ssize_t put = write(fd, bytes->data + done, bytes->size - done);
        if (put <= 0)
            break;
        done += (size_t)put;
    }
    if (fd < 0 || done < bytes->size || close(fd) != 0) {
        perror(name);
        abort();
    }
}

bool disk_image_write(const disk_image *image, const char *from,
                      const char *path) {
    int node = disk_names_find(&image->names, 0, from);
    if (node < 0)
        return false;
    if (mkdir(path, 0777) != 0 && access(path, W_OK) != 0) {
        perror(path);
        abort();
    }
    int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (size_t i = 0; i < image->names.count; i++) {
        const disk_name *name = &image->names.items[i];
        if (name->dir == node && !image->nodes[name->node].is_dir)
            write_file(dir, name->name, &image->nodes[name->node].now);
    }
    (void)close(dir);
    return true;
}

static void journal_file(const disk_image *image, const disk_name *name,
                         disk_journal *out) {
    const toon_buf *bytes = &image->nodes[name->node].now;
    disk_op op = {.kind = DISK_CREATE, .dir = 1, .node = out->nodes};
    memcpy(op.name, name->name, sizeof op.name);
    disk_journal_push(out, &op);
    if (bytes->size > 0) {
        op.kind = DISK_WRITE;
        op.size = bytes->size;
        op.bytes = must(malloc(bytes->size));
        memcpy(op.bytes, bytes->data, bytes->size);
        disk_journal_push(out, &op);
    }
    op.kind = DISK_SYNC;
    op.size = 0;
    op.bytes = NULL;
    disk_journal_push(out, &op);
}

void disk_image_journal(const disk_image *image, const char *from,
                        disk_journal *out) {
    int node = disk_names_find(&image->names, 0, from);
    disk_journal_init(out);
    if (node < 0)
        return;
    disk_op op = {.kind = DISK_CREATE, .is_dir = true, .node = 1};
    (void)snprintf(op.name, sizeof op.name, "%s", from);
    disk_journal_push(out, &op);
    for (size_t i = 0; i < image->names.count; i++) {
        const disk_name *name = &image->names.items[i];
        if (name->dir == node && !image->nodes[name->node].is_dir)
            journal_file(image, name, out);
    }
    op.kind = DISK_SYNC;
    disk_journal_push(out, &op);
    op.node = 0;
    disk_journal_push(out, &op);
}

void disk_remove(const char *path) {
    DIR *listing = opendir(path);
    const struct dirent *entry;
    if (listing == NULL)
        return;
    while ((entry = readdir(listing)) != NULL) { /* NOLINT: one thread */
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            (void)unlinkat(dirfd(listing), entry->d_name, 0);
    }
    (void)closedir(listing);
    (void)rmdir(path);
}
