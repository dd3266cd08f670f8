/*
 * list.h - what is in a directory, in order, a piece at a time. Knows keys,
 * names and ranges of the store; must never know the kernel.
 *
 * The order is that of keys: a directory stands where its keys do, as if its
 * name ended in a slash.
 */
#ifndef TOON_LIST_H
#define TOON_LIST_H

#include "tree.h"

/* Entries in one piece, at most. */
#define LIST_PIECE 256

typedef enum list_kind {
    LIST_VALUE, /* `%3D` */
    LIST_LAST,  /* `%2F` */
    LIST_FILE,
    LIST_DIR,
} list_kind;

typedef struct list_entry {
    list_kind kind;
    uint32_t mode;   /* of the record; 0: the default */
    size_t at, size; /* of its component, in the piece's bytes */
} list_entry;

/* A place between two entries: all keys before `from` were listed. */
typedef struct list_place {
    bool value_listed; /* also that which is no key below the directory */
    key_text from;
} list_place;

typedef struct list_piece {
    list_entry entries[LIST_PIECE];
    size_t count;
    bool last;       /* nothing follows */
    list_place next; /* where what follows starts */
    char *bytes;
    size_t bytes_size, bytes_capacity;
} list_piece;

void list_piece_free(list_piece *piece);

void list_start(const tree *t, toon_slice dir, list_place *out);

/*
 * The piece that starts at `place`. Files that are only in `created` (keys of
 * this directory, sorted) are listed among the others.
 */
typedef struct list_created {
    const toon_slice *keys;
    size_t count;
} list_created;

toon_err list_read(const tree *t, toon_slice dir, const list_place *place,
                   const list_created *created, list_piece *out);

/* The place behind an entry. */
void list_place_after(toon_slice dir, const list_piece *piece, size_t index,
                      list_place *out);

static inline toon_slice list_component(const list_piece *piece, size_t index) {
    const list_entry *entry = &piece->entries[index];
    return toon_bytes(piece->bytes + entry->at, entry->size);
}

/* Its name in the directory. False: it cannot be shown. */
bool list_name(const tree *t, const list_piece *piece, size_t index,
               name_text *out);

/* What the name stands for. */
bool list_child(const tree *t, toon_slice dir, const list_piece *piece,
                size_t index, tree_child *out);

#endif
