/*
 * names.h - keys as paths, both ways (doc/mount.md, "Names").
 *
 * Pure: knows bytes only. Must never know the store, nodes or the kernel.
 *
 * A key is split at its slashes into components; a name is what the mount
 * shows for one. Every component has one name, and what a name stands for
 * may depend on whether it is a file or a directory.
 */
#ifndef TOON_NAMES_H
#define TOON_NAMES_H

#include "toonstore.h"

#define NAME_SIZE_MAX ((size_t)1024)
#define PATH_SIZE_MAX ((size_t)4095)

typedef enum name_kind {
    NAME_PLAIN,    /* a component that is not empty: file or directory */
    NAME_EMPTY,    /* `%`: an empty component inside a key: a directory */
    NAME_LAST,     /* `%2F`: an empty last component: a file */
    NAME_VALUE,    /* `%3D`: the value of the key that is this directory */
    NAME_OWN,      /* `.toon`, `.toonstore`: the mount's own */
    NAME_TOO_LONG, /* over NAME_SIZE_MAX */
} name_kind;

/* Its bytes are not followed by a NUL. */
typedef struct name_text {
    size_t size;
    char data[NAME_SIZE_MAX];
} name_text;

/* With `flat`, "component" is the whole key, whose slashes are coded too. */

/* The component that `text` names; empty but for NAME_PLAIN. With `flat`, an
 * empty key is NAME_PLAIN too. */
name_kind name_decode(toon_slice text, bool flat, name_text *component);

/* `last`: nothing follows in the key. False: the name would be too long. */
bool name_encode(toon_slice component, bool last, bool flat, name_text *out);

/* The name of the value of a key that is a directory as well. */
toon_slice name_of_value(void);

/*
 * The path of a key, without a slash in front; one byte past `capacity` is
 * never written. False: a component or the path is too long.
 */
bool path_encode(toon_slice key, bool flat, char *out, size_t capacity,
                 size_t *size);

/* Can the mount show this key? */
bool key_is_shown(toon_slice key, bool flat);

#endif
