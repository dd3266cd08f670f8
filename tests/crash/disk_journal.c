/*
 * disk_journal.c - the calls that changed a disk, and the names they made.
 *
 * Knows what is called what; must never know file descriptors.
 */
#include "lying_disk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A test without memory has nothing to say. */
static void *grow(void *items, size_t *capacity, size_t item_size) {
    *capacity = *capacity * 2 + 64;
    void *more = realloc(items, *capacity * item_size);
    if (more == NULL)
        abort();
    return more;
}

/* ------------------------------------------------------------------- names */

void disk_names_free(disk_names *names) {
    free(names->items);
    *names = (disk_names){0};
}

void disk_names_copy(disk_names *to, const disk_names *from) {
    while (to->capacity < from->count)
        to->items = grow(to->items, &to->capacity, sizeof *to->items);
    if (from->count > 0)
        memcpy(to->items, from->items, from->count * sizeof *to->items);
    to->count = from->count;
}

static disk_name *find(const disk_names *names, int dir, const char *name) {
    for (size_t i = 0; i < names->count; i++) {
        disk_name *item = &names->items[i];
        if (item->dir == dir && strcmp(item->name, name) == 0)
            return item;
    }
    return NULL;
}

int disk_names_find(const disk_names *names, int dir, const char *name) {
    const disk_name *found = find(names, dir, name);
    return found == NULL ? -1 : found->node;
}

/* A name that is taken goes to the new one. */
static void add(disk_names *names, int dir, const char *name, int node) {
    disk_name *item = find(names, dir, name);
    if (item == NULL) {
        if (names->count == names->capacity)
            names->items =
                grow(names->items, &names->capacity, sizeof *names->items);
        item = &names->items[names->count++];
    }
    item->dir = dir;
    item->node = node;
    (void)snprintf(item->name, sizeof item->name, "%s", name);
}

/* Only if it is still this node's: with some calls lost, it may not be. */
static void take_away(disk_names *names, int dir, const char *name, int node) {
    disk_name *item = find(names, dir, name);
    if (item != NULL && item->node == node)
        *item = names->items[--names->count];
}

bool disk_op_is_naming(const disk_op *op) {
    return op->kind == DISK_CREATE || op->kind == DISK_RENAME ||
           op->kind == DISK_LINK || op->kind == DISK_UNLINK;
}

void disk_names_apply(disk_names *names, const disk_op *op) {
    if (op->kind == DISK_CREATE) {
        add(names, op->dir, op->name, op->node);
    } else if (op->kind == DISK_UNLINK) {
        take_away(names, op->dir, op->name, op->node);
    } else if (op->kind == DISK_RENAME || op->kind == DISK_LINK) {
        if (op->kind == DISK_RENAME)
            take_away(names, op->dir, op->name, op->node);
        add(names, op->dir, op->to, op->node);
    }
}

/* ----------------------------------------------------------------- journal */

void disk_journal_init(disk_journal *journal) {
    *journal = (disk_journal){.nodes = 1};
}

void disk_journal_free(disk_journal *journal) {
    for (size_t i = 0; i < journal->count; i++)
        free(journal->ops[i].bytes);
    free(journal->ops);
    disk_names_free(&journal->names);
    disk_journal_init(journal);
}

void disk_journal_push(disk_journal *journal, const disk_op *op) {
    if (journal->count == journal->capacity)
        journal->ops =
            grow(journal->ops, &journal->capacity, sizeof *journal->ops);
    journal->ops[journal->count++] = *op;
    if (op->kind == DISK_CREATE && op->node >= journal->nodes)
        journal->nodes = op->node + 1;
    disk_names_apply(&journal->names, op);
}

void disk_journal_copy(const disk_journal *from, size_t count,
                       disk_journal *to) {
    disk_journal_init(to);
    for (size_t i = 0; i < count; i++) {
        disk_op op = from->ops[i];
        if (op.bytes != NULL) {
            op.bytes = malloc(op.size + 1);
            if (op.bytes == NULL)
                abort();
            memcpy(op.bytes, from->ops[i].bytes, op.size);
        }
        disk_journal_push(to, &op);
    }
    to->nodes = from->nodes;
}

/* ------------------------------------------------------------------- words */

void disk_op_text(const disk_op *op, char *out, size_t size) {
    static const char *const verbs[] = {
        [DISK_CREATE] = "create",     [DISK_WRITE] = "write",
        [DISK_SYNC] = "sync",         [DISK_TRUNCATE] = "truncate",
        [DISK_ALLOCATE] = "allocate", [DISK_RENAME] = "rename",
        [DISK_LINK] = "link",         [DISK_UNLINK] = "unlink",
    };
    const char *verb = verbs[op->kind];
    const char *lied = op->lied ? " (a lie)" : "";
    unsigned long long offset = op->offset;
    if (op->kind == DISK_RENAME || op->kind == DISK_LINK)
        (void)snprintf(out, size, "%s %s to %s%s", verb, op->name, op->to,
                       lied);
    else if (op->kind == DISK_WRITE)
        (void)snprintf(out, size, "%s %zu bytes at %llu of %s%s", verb,
                       op->size, offset, op->name, lied);
    else if (op->kind == DISK_TRUNCATE)
        (void)snprintf(out, size, "%s %s to %llu%s", verb, op->name, offset,
                       lied);
    else
        (void)snprintf(out, size, "%s %s%s%s", verb,
                       op->is_dir ? "directory " : "", op->name, lied);
}
