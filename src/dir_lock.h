/*
 * dir_lock.h - db.lock: one writer of a directory at a time.
 *
 * Readers take no lock: they keep nobody out, and a log that only grows needs
 * nobody kept out for them. They may ask whether somebody writes.
 *
 * Knows file locks and process numbers; must never know what is locked.
 */
#ifndef TOON_DIR_LOCK_H
#define TOON_DIR_LOCK_H

#include "io.h"

#define TOON_LOCK_NAME "db.lock"

/* The writer is alone and leaves its process number. Held until the file is
 * closed. TOON_LOCKED names the holder. */
toon_err toon_dir_lock(const toon_dir *dir, toon_file *out);

/* Is its file there, whoever made it? */
bool toon_dir_has_lock(const toon_dir *dir);

/* Has a process the lock now? Asked without taking it, so that a writer who
 * starts at this moment is not turned away. */
bool toon_dir_is_locked(const toon_dir *dir);

#endif
